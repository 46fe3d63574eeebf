"""The working part of the plugin: profile, models and store of one run. Loads no torch itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emolib.errors import InputError
from emolib.files import hash_json, results_folder
from emolib.inputs.emotions import Emotion, load_emotion
from emolib.inputs.heads import HeadSet, Top, expand
from emolib.inputs.profiles import SETTINGS, TEXT_DRAWS
from emolib.inputs.units import UnitSet, expand_units
from emolib.models.sources import Source, find
from emolib.reporting.notes import clusters_of, notes, out_of_reach
from emolib.reporting.tables import write_tables
from emolib.results.item_files import is_of, write_output
from emolib.results.provenance import git_commit, versions
from emolib.results.records import Row, Store, sort_values
from pytest_emolib.bench import Bench
from pytest_emolib.cases import Case, make_cases
from pytest_emolib.companions import Companions
from pytest_emolib.contexts import context_of
from pytest_emolib.fixture_table import needing
from pytest_emolib.gate import Gate
from pytest_emolib.items import case_of, experiment_of, full_dims, output_of, own_parameters
from pytest_emolib.options import get
from pytest_emolib.settings import check_writable, resolve
from pytest_emolib.summary import print_tables

if TYPE_CHECKING:
    from emolib.methods.study import Study

_SCORES = "alignment/head_scores_{model}.json"


class Lab:
    """What a run works with; everything is read when it is first needed, and once."""

    def __init__(self, config: pytest.Config) -> None:
        """Hold the config.

        Raises:
            InputError: When the profile or an option over it is wrong.
        """
        self._config = config
        self.profile, self._free = resolve(config)
        self._contexts: dict[tuple[Path, str | None, str | None], str] = {}
        self._gaps: dict[tuple[str, str], float | None] = {}
        self._keyed: tuple[pytest.Item | None, str] = None, ""
        self._shown: list[Row] = []
        self.companions: Companions | None = None

    @property
    def results(self) -> Path:
        """The results folder of the profile."""
        folder = get(self._config, "--results-dir")
        base = Path(folder) if folder else self._config.rootpath / "results"
        return results_folder(base, self.profile.name)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The profile's models by what the user typed.

        Raises:
            InputError: When one is not found, or two have one name.
        """
        found = {model: find(model) for model in self.profile.models}
        names: dict[str, str] = {}
        for model, source in found.items():
            if source.name in names:
                raise InputError(
                    f"models {names[source.name]!r} and {model!r} are both called "
                    f"{source.name!r}, so their results would mix; rename a folder"
                )
            names[source.name] = model
        return found

    @cached_property
    def emotions(self) -> dict[str, Emotion]:
        """The profile's emotions by name, their files read."""
        return {
            name: load_emotion(self.profile, name, free=self._free)
            for name in self.profile.emotions
        }

    @cached_property
    def bench(self) -> Bench:
        """The models and studies in memory."""
        return Bench(self.profile, self.emotions)

    def study(self, item: pytest.Item, source: Source, emotion: str) -> Study:
        """Return the study of an item, which computes the item's runs with its companions'."""
        study = self.bench.study(source, emotion)
        if self.companions is not None:
            study.batches.beside = self.companions.beside(item, study)
        return study

    @cached_property
    def gate(self) -> Gate:
        """The regression check."""
        return Gate(self._config, self)

    @cached_property
    def store(self) -> Store:
        """The rows recorded so far."""
        return Store(self.results / "records.jsonl")

    def check(self) -> None:
        """Read all input that can be read without a model.

        Raises:
            InputError: When any of it is wrong.
        """
        assert self.emotions
        for source in self.sources.values():
            for emotion in self.profile.emotions:
                self._head_sets(source, emotion)
                self._unit_sets(source, emotion)
        self.gate.check()
        check_writable(self.results)

    def check_items(self, items: Iterable[pytest.Item]) -> None:
        """Check that the prompts are such as the items need.

        Raises:
            InputError: When an item needs aligned pairs and free prompt lists stand in for them.
        """
        for item in items if self._free else ():
            if found := needing("pairs", set(getattr(item, "fixturenames", ()))):
                raise InputError(
                    f"{item.nodeid} needs aligned pairs ({found[0]}), got free prompt lists; drop "
                    "--emotion-prompts/--neutral-prompts, or name experiments that need none, as "
                    "experiments/exp_head_ablation.py"
                )

    def header(self) -> str:
        """Return the line on the profile for pytest's header."""
        models = ", ".join(source.name for source in self.sources.values())
        emotions = ", ".join(self.profile.emotions)
        free = "; free prompt lists in place of pairs" if self._free else ""
        return (
            f"emolib: profile {self.profile.name} ({models}; {emotions}{free}), to {self._written}"
        )

    @property
    def _written(self) -> str:
        try:
            return str(self.results.resolve().relative_to(Path.cwd()))
        except ValueError:
            return str(self.results)

    def cases(self, wanted: Iterable[str], marks: list[pytest.Mark]) -> list[Case]:
        """Return the cases of a function.

        Args:
            wanted: Names of the fixtures it asks for.
            marks: Its ``parametrize`` marks; what they name the user provides.
        """
        own: set[str] = set()
        for mark in marks:
            names = mark.args[0] if mark.args else mark.kwargs["argnames"]
            own |= {n.strip() for n in names.split(",")} if isinstance(names, str) else set(names)
        wanted = set(wanted) - own
        return make_cases(wanted, self.profile, self.sources, self._head_sets, self._unit_sets)

    def _head_sets(self, source: Source, emotion: str | None) -> list[HeadSet | Top]:
        sets: list[HeadSet | Top] = []
        for spec in self.profile.heads:
            shape, seed = (source.n_layers, source.n_heads), self.profile.seed
            found = expand(spec, *shape, model=source.name, seed=seed)
            _check_ranks(found, emotion, spec, "head")
            sets += found
        return sets

    def _unit_sets(self, source: Source, emotion: str | None) -> list[UnitSet | Top]:
        sets: list[UnitSet | Top] = []
        for spec in self.profile.units:
            shape, seed = (source.n_layers, source.n_units), self.profile.seed
            found = expand_units(spec, *shape, model=source.name, seed=seed)
            _check_ranks(found, emotion, spec, "unit")
            sets += found
        return sets

    def heads(self, case: Case) -> HeadSet:
        """Return the heads of a case; those of a rank are looked up in the ranking, made once."""
        assert case.heads is not None
        if isinstance(case.heads, HeadSet):
            return case.heads
        assert case.source is not None and case.emotion is not None
        heads, _ = self.bench.ranking(case.source, case.emotion)
        return HeadSet((heads[case.heads.rank - 1],))

    def units(self, case: Case) -> UnitSet:
        """Return the units of a case; those of a rank are looked up in the scores, made once."""
        assert case.units is not None
        if isinstance(case.units, UnitSet):
            return case.units
        assert case.source is not None and case.emotion is not None
        ranking = self.bench.unit_ranking(case.source, case.emotion)
        return UnitSet((ranking.unit(case.units.rank),))

    def context(self, item: pytest.Item) -> str:
        """Return the hash of all that an item's numbers follow from, but for which item it is.

        That is the settings, the content of model, tokenizer and prompt files, the code of the
        experiment, of emolib and of this plugin, and the versions of python and the libraries.
        """
        case = case_of(item)
        key = item.path, case.source.name if case.source else None, case.emotion
        if key not in self._contexts:
            found = context_of(self._config, self.profile, self.emotions, case, item.path)
            self._contexts[key] = found
        return self._contexts[key]

    def key(self, item: pytest.Item) -> str:
        """Return the key of an item's rows in the store."""
        # Asked for before an item runs and after it, so that the last one is kept.
        if self._keyed[0] is not item:
            found = hash_json([self.context(item), item.nodeid, full_dims(case_of(item))])
            self._keyed = item, found
        return self._keyed[1]

    def holds(self, key: str) -> bool:
        """Return whether an item need not run: its rows are in the store."""
        return not get(self._config, "--fresh") and key in self._stored

    @cached_property
    def _stored(self) -> frozenset[str] | Store:
        # A worker is told by the controller, which alone reads the store.
        told = getattr(self._config, "workerinput", {}).get("emolib_stored")
        return frozenset(told) if told is not None else self.store

    def sorted(self, values: dict[str, Any], study: Study | None) -> dict[str, Any]:
        """Return recorded values sorted into the fields of a row, vectors summarised.

        Args:
            values: What an experiment gave ``record``.
            study: Its study when it has one, whose templates are the clusters of the bootstrap.
        """
        clusters = study.prompts("emotion").clusters if study else None
        if study:
            # Read here, where an error is the item's own.
            self._gaps[study.model.name, study.emotion.name] = study.clean_gap

        def summary(vector: Any) -> dict[str, Any]:
            # Imported here: it loads numpy, which runs that record no vector do without.
            from emolib.stats.summary import summarize

            fits = clusters is not None and len(clusters) == len(vector)
            return summarize(vector, clusters if fits else None, seed=self.profile.seed)

        if study and study.half is not None:
            # Of scores alone: what is read of texts and clean runs is in full precision.
            values = values | {"precision": study.batches.precision or "float32"}
        row = sort_values(values, summary)
        columns = [*row["vectors"].values(), *row["texts"].values(), *row["lists"].values()]
        if study and clusters and any(len(column) == len(clusters) for column in columns):
            ids = [pair.id for pair in study.pairs.pairs]
            row["pairs"] = {"ids": ids, "templates": list(clusters)}
        return row

    def rows(self, item: pytest.Item, recorded: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of an item as plain data, ready to travel from a worker.

        Args:
            item: The item.
            recorded: What each call of ``record`` gave, sorted by `sorted`.
        """
        case = case_of(item)
        shared: dict[str, Any] = {
            "item": item.nodeid,
            "experiment": experiment_of(item),
            "key": self.key(item),
            "context": self.context(item),
            "of": len(recorded),
            "dims": self._dims(case) | own_parameters(item),
            "output": output_of(item),
            "provenance": self._provenance(case),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        named = self._rank_labels(case)
        rows = []
        for i, values in enumerate(recorded):
            labels = named | values["labels"]
            rows.append(shared | values | {"labels": labels, "row": i})
        return rows

    def _dims(self, case: Case) -> dict[str, str]:
        """Return the parts of a case by name, those of a rank by the name they turned out."""
        ranked = {}
        if isinstance(case.heads, Top):
            ranked["heads"] = str(self.heads(case))
        if isinstance(case.units, Top):
            ranked["units"] = str(self.units(case))
        return case.dims | ranked

    def _rank_labels(self, case: Case) -> dict[str, str]:
        labels: dict[str, str] = {}
        if not (isinstance(case.heads, Top) or isinstance(case.units, Top)):
            return labels
        from emolib.stats.summary import unreliable

        if isinstance(case.heads, Top) and case.source and case.emotion:
            doubt = unreliable(self.bench.ranking(case.source, case.emotion)[1])
            labels |= {"spec": str(case.heads)} | ({"ranking": doubt} if doubt else {})
        if isinstance(case.units, Top) and case.source and case.emotion:
            doubt = unreliable(self.bench.unit_ranking(case.source, case.emotion).reliability)
            # A function of both has two specs.
            before = "unit_" if labels else ""
            labels |= {f"{before}spec": str(case.units)}
            labels |= {f"{before}ranking": doubt} if doubt else {}
        return labels

    def _provenance(self, case: Case) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if source := case.source:
            found["model"] = {
                "id": source.id,
                "type": source.model_type,
                "weights": source.weights_hash,
                "config": source.config_hash,
                "tokenizer": source.tokenizer_hash,
            }
            found["shape"] = {"layers": source.n_layers, "heads": source.n_heads}
        if case.emotion:
            found["prompts"] = self.emotions[case.emotion].hash
        if study := self.bench.made(case.source, case.emotion):
            found["left_out"] = [list(pair) for pair in study.left_out]
            found["in_pieces"] = list(study.in_pieces)
            found["clean_gap"] = self._gaps.get((study.model.name, study.emotion.name))
        if case.heads:
            found["heads"] = [str(head) for head in self.heads(case)]
        if case.units:
            found["units"] = [str(unit) for unit in self.units(case)]
        if case.ablation:
            found["ablation"] = case.ablation
        # Where nothing is the item's own, many items share one: the store keeps it of them all.
        return found | self._setting if found else self._setting

    @cached_property
    def _setting(self) -> dict[str, Any]:
        """The provenance that is the same for all items."""
        found = {name: getattr(self.profile, name) for name in SETTINGS}
        found["text_draws"] = TEXT_DRAWS
        return found | {"versions": versions(), "commit": git_commit(self._config.rootpath)}

    def receive(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of an item to the store, and its results file."""
        made = [Row(**row) for row in rows]
        self.store.append(made)
        if _has_file(made[0]):
            write_output(self.results, made, ())
        self._shown += self.store.outline(made[0].key)

    def replay(self, key: str) -> None:
        """Take note of an item that the store held; write its results file if it is another's."""
        self.store.touch(key)
        rows = self.store.outline(key)
        if _has_file(rows[0]) and not is_of(self.results / rows[0].output["path"], key):
            write_output(self.results, self.store[key], ())
        self._shown += rows

    def finish(self) -> None:
        """Write the files that many items share, from the store, and close it."""
        if "store" not in self.__dict__:
            return
        try:
            if self._shown:
                experiments = {row.experiment for row in self._shown}
                current = [row for row in self.store.rows() if row.experiment in experiments]
                # A file that many items share is written once.
                shared = [row for row in self._shown if row.output and not _has_file(row)]
                for row in {row.output["path"]: row for row in shared}.values():
                    write_output(self.results, [row], current)
                write_tables(self.results / "tables", current)
        finally:
            self.store.close()

    def summarize(self, reporter: pytest.TerminalReporter, replayed: int) -> None:
        """Print what was repaired and left out, the tables of this run and where files are."""
        if "store" in self.__dict__ and self.store.repaired:
            reporter.write_line(self.store.repaired, yellow=True)
        for note in notes(self._shown):
            reporter.write_line(note, yellow=True)
        if not self._shown:
            return
        models = (source.name for source in self.sources.values())
        names = [*models, *self.profile.emotions, *self.profile.ablations]
        fmt = get(self._config, "--table-format") or "simple"
        print_tables(reporter, self._shown, names, fmt)
        for limit in out_of_reach(self._shown, self._clusters):
            reporter.write_line(limit, yellow=True)
        self.gate.summarize(reporter, fmt)
        kept = f", {replayed} items from the store (--fresh recomputes)" if replayed else ""
        reporter.write_line(f"written to {self._written}{kept}")

    def _clusters(self, row: Row) -> tuple[int, str]:
        """Return how many templates a row stands on; its outline does not say."""
        return clusters_of(self.store[row.key][row.row])

    def scope(self, nodeid: str) -> str:
        """Return what of an item decides which worker runs it: function, model and emotion."""
        function, bracket, parameters = nodeid.partition("[")
        if not bracket:
            return nodeid
        names = [source.name for source in self.sources.values()]
        parts = f"-{parameters.rstrip(']')}-"
        # The longest name first: one may be the beginning of another.
        for group_of in (sorted(names, key=len, reverse=True), self.profile.emotions):
            found = next((name for name in group_of if f"-{name}-" in parts), "")
            function += f"[{found}]"
        return function


def _has_file(row: Row) -> bool:
    """Tell whether an item has a results file that is its own."""
    return row.output.get("shape") == "item"


def _check_ranks(found: Sequence[object], emotion: str | None, spec: str, what: str) -> None:
    """Check that no rank is asked for where there is no emotion that would rank."""
    if emotion is None and any(isinstance(chosen, Top) for chosen in found):
        raise InputError(
            f"{what} spec {spec!r}: the top {what}s are those of an emotion, and a function "
            f"asks for none; let it ask for the fixture emotion, or name {what}s"
        )
