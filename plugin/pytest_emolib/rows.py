"""What a row says and what its numbers follow from; rows of one context can stand in one table."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emolib.files import hash_files, hash_json
from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import Top
from emolib.inputs.profiles import ITEMS, SETTINGS, TEXT_DRAWS, Profile
from emolib.methods import own_metrics
from emolib.models.classifiers import classifier
from emolib.results.provenance import code_hash, git_commit, package_hash, versions
from emolib.results.rows import sort_values
from pytest_emolib.cases import Case
from pytest_emolib.fixture_table import Reads, reads
from pytest_emolib.intact import Intact
from pytest_emolib.items import case_of, experiment_of, full_dims, output_of, own_parameters
from pytest_emolib.loaded import Loaded
from pytest_emolib.recorded import check_lengths

if TYPE_CHECKING:
    from emolib.methods.study import Study


class Rows:
    """From an item and what it recorded to its rows and their key."""

    def __init__(
        self,
        config: pytest.Config,
        profile: Profile,
        emotions: Mapping[str, Emotion],
        loaded: Loaded,
        intact: Intact,
    ) -> None:
        """Hold what rows follow from.

        Args:
            config: Of the run.
            profile: The settings.
            emotions: The emotions of the profile, read.
            loaded: The studies that items have run on.
            intact: What items had on the models.
        """
        self._config, self._profile = config, profile
        self._emotions, self._loaded, self._intact = emotions, loaded, intact
        self._contexts: dict[tuple[Path, str | None, str | None, Reads], str] = {}
        self._reads: dict[Any, Reads] = {}
        self._gaps: dict[tuple[str, str], float | None] = {}
        self._keyed: tuple[pytest.Item | None, str] = None, ""

    def context(self, item: pytest.Item) -> str:
        """Return the hash of all that an item's numbers follow from, but for which item it is.

        That is the settings, the content of model, tokenizer and prompt files and of classifiers,
        the code of the experiment, of metrics of one's own, of emolib and of this plugin, and the
        versions of python and the libraries.
        """
        case = case_of(item)
        name = case.source.name if case.source else None
        key = item.path, name, case.emotion, self._read_by(item)
        if key not in self._contexts:
            found = context_of(
                self._config, self._profile, self._emotions, case, item.path, key[-1]
            )
            self._contexts[key] = found
        return self._contexts[key]

    def _read_by(self, item: pytest.Item) -> Reads:
        """Return what of the profile the function of an item can read."""
        function = getattr(item, "function", None)
        if function not in self._reads:
            given = () if function is None else inspect.signature(function).parameters
            self._reads[function] = reads(getattr(item, "fixturenames", ()), given)
        return self._reads[function]

    def key(self, item: pytest.Item) -> str:
        """Return the key of an item's rows in the store."""
        # Asked for before an item runs and after it, so that the last one is kept.
        if self._keyed[0] is not item:
            found = hash_json([self.context(item), item.nodeid, full_dims(case_of(item))])
            self._keyed = item, found
        return self._keyed[1]

    def sorted(
        self, values: dict[str, Any], study: Study | None, on: Study | None = None
    ) -> dict[str, Any]:
        """Return recorded values sorted into the fields of a row, vectors summarised.

        Args:
            values: What an experiment gave ``record``.
            study: Its study when it has one.
            on: The study of whose prompts the values are, where that is not the item's: its
                templates are the clusters of the bootstrap.

        Raises:
            TypeError: When a value cannot be recorded.
            ValueError: When a vector has not a finite value for every pair.
        """
        of = study if on is None else on
        clusters = of.prompts("emotion").clusters if of else None
        if study and all(change.can_be_lifted for change in study.runner.under):
            # Read here, where an error is the item's own.
            self._gaps[study.model.name, study.emotion.name] = study.clean_gap

        def summary(vector: Any) -> dict[str, Any]:
            # Imported here: it loads numpy, which runs that record no vector do without.
            from emolib.stats.summary import summarize

            fits = clusters is not None and len(clusters) == len(vector)
            return summarize(vector, clusters if fits else None, seed=self._profile.seed)

        if study and study.half is not None:
            # Of scores alone: what is read of texts and clean runs is in full precision.
            values = values | {"precision": study.runner.precision or "float32"}
        row = sort_values(values, summary)
        if of is not None:
            from emolib.methods.scores import Apart

            apart = [name for name, value in values.items() if isinstance(value, Apart)]
            counted = {n: vector for n, vector in row["vectors"].items() if n not in apart}
            check_lengths(counted, of, named=on is not None)
        columns = [*row["vectors"].values(), *row["texts"].values(), *row["lists"].values()]
        if of and clusters and any(len(column) == len(clusters) for column in columns):
            ids = [pair.id for pair in of.pairs.pairs]
            row["pairs"] = {"ids": ids, "templates": list(clusters)}
        return row

    def of(self, item: pytest.Item, recorded: list[dict[str, Any]]) -> list[dict[str, Any]]:
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
            ranked["heads"] = str(self._loaded.heads(case))
        if isinstance(case.units, Top):
            ranked["units"] = str(self._loaded.units(case))
        return case.dims | ranked

    def _rank_labels(self, case: Case) -> dict[str, str]:
        labels: dict[str, str] = {}
        if not (isinstance(case.heads, Top) or isinstance(case.units, Top)):
            return labels
        from emolib.stats.summary import unreliable

        if isinstance(case.heads, Top) and case.source and case.emotion:
            doubt = unreliable(self._loaded.ranking(case.source, case.emotion)[1])
            labels |= {"spec": str(case.heads)} | ({"ranking": doubt} if doubt else {})
        if isinstance(case.units, Top) and case.source and case.emotion:
            doubt = unreliable(self._loaded.unit_ranking(case.source, case.emotion).reliability)
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
            found["prompts"] = self._emotions[case.emotion].hash
            if test := _test_hash(self._emotions[case.emotion]):
                found["probe_test"] = test
        if study := self._loaded.made(case.source, case.emotion):
            found["left_out"] = [list(pair) for pair in study.left_out]
            found["in_pieces"] = list(study.in_pieces)
            found["clean_gap"] = self._gaps.get((study.model.name, study.emotion.name))
        if case.heads:
            found["heads"] = [str(head) for head in self._loaded.heads(case)]
        if case.units:
            found["units"] = [str(unit) for unit in self._loaded.units(case)]
        if case.ablation:
            found["ablation"] = case.ablation
        if under := self._intact.under():
            found["under"] = under
        # Where nothing is the item's own, many items share one: the store keeps it of them all.
        return found | self._setting if found else self._setting

    @cached_property
    def _setting(self) -> dict[str, Any]:
        """The provenance that is the same for all items."""
        found = {name: getattr(self._profile, name) for name in SETTINGS}
        found["text_draws"] = TEXT_DRAWS
        if metrics := own_metrics.hashes():
            found["metrics"] = metrics
        if self._profile.classifiers:
            found["classifiers"] = _classifiers(self._profile)
        return found | {"versions": versions(), "commit": git_commit(self._config.rootpath)}


def about_run(config: pytest.Config, profile: Profile) -> dict[str, Any]:
    """Return what the store is told of a run: its command, commit and settings."""
    return {
        "command": shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        "commit": git_commit(config.rootpath),
        "settings": {name: getattr(profile, name) for name in (*ITEMS, *SETTINGS)},
    }


def context_of(
    config: pytest.Config,
    profile: Profile,
    emotions: Mapping[str, Emotion],
    case: Case,
    file: Path,
    read: Reads = Reads(),  # noqa: B008
) -> str:
    """Return the hash of all that an item's numbers follow from, but for which item it is.

    Args:
        config: Of the run.
        profile: The settings.
        emotions: The emotions of the profile, read.
        case: What the item runs on.
        file: The experiment's file.
        read: What of the profile the experiment can read.
    """
    return hash_json(
        {
            "settings": {n: getattr(profile, n) for n in SETTINGS if n not in read.without},
            "weights": case.source and case.source.weights_hash,
            "config": case.source and case.source.config_hash,
            "tokenizer": case.source and case.source.tokenizer_hash,
            "prompts": case.emotion and emotions[case.emotion].hash,
            # What the user reads runs with beside emolib's own metrics.
            "metrics": case.emotion and own_metrics.hashes(),
            "classifiers": case.emotion and _classifiers(profile),
            "ranking": None if "ranking" in read.without else _ranking(profile, case),
            "probe_test": None
            if "probe_test" in read.without
            else case.emotion and _test_hash(emotions[case.emotion]),
            "across": read.across and {name: one.hash for name, one in emotions.items()},
            "kind": read.kind and profile.ablations[:1],
            # Texts are read with the lexicon of every emotion of the profile.
            "lexicons": case.emotion
            and {name: emotion.lexicon.words for name, emotion in emotions.items()},
            "code": _code(config, file),
            "emolib": [package_hash(), package_hash(Path(__file__).parent)],
            "versions": versions(),
        }
    )


def _classifiers(profile: Profile) -> dict[str, str]:
    """Return the hash of each classifier by its name."""
    found = map(classifier, profile.classifiers)
    return {one.name: one.hash for one in found}


def _ranking(profile: Profile, case: Case) -> str | None:
    """Return the hash of the file that ranks a case's heads, None where none was named."""
    path = profile.ranking(case.emotion) if case.emotion else None
    return None if path is None else hash_files([path])


def _test_hash(emotion: Emotion) -> str:
    return emotion.probe_test.hash if emotion.probe_test else ""


def _code(config: pytest.Config, file: Path) -> str:
    """Return the hash of an experiment's file and of what it may import beside it."""
    patterns = config.getini("python_files")
    beside = [
        path
        for path in file.parent.glob("*.py")
        if not any(fnmatch(path.name, pattern) for pattern in patterns)
    ]
    above = [folder / "conftest.py" for folder in file.parent.parents]
    root = config.rootpath
    return code_hash([file, *beside, *(path for path in above if path.is_relative_to(root))])
