"""Two runs beside each other: which effects moved, by the regression rule, and what differs.

An effect of the one run is that of the other where experiment, model, emotion, heads, kind and the
labels that tell its row from others are the same. What the file of the experiment is called and
where it lies does not matter, nor do settings: those that differ are told beside the effects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from emolib.errors import InputError
from emolib.results.abridged import abridged
from emolib.results.contexts import differences
from emolib.results.glossary import entry
from emolib.results.grounds import Ground, ground_of, replayable
from emolib.results.merging import find_results
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.runs import Run
from emolib.results.selection import StudyKey, study_of, subject
from emolib.stats.regression import Verdict, judge

Kind = Literal["drifted", "inconclusive", "not judged", "equivalent", "replayed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can become of an effect, in the order in which it is told."""
EFFECTS = ("logit_diff", "atp_ig", "denoise", "effect", "patch_effect", "difference")
"""Metrics that an experiment is compared by where none is named, the first that it records."""
# Labels that say something of a row which another run may find otherwise.
_FOUND = ("missed", "ranking", "unit_ranking", "circuit", "by", "random_units", "other_head",
          "precision")  # fmt: skip
_FOUND_TOO = ("why_",)
Name = tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        typed: What it was called by.
        folder: The results folder.
        run: The run whose rows are meant; None for all that can stand in one table.
    """

    typed: str
    folder: Path
    run: Run | None = None

    @property
    def store(self) -> Store:
        """The rows."""
        return Store(self.folder)

    @property
    def run_id(self) -> str | None:
        """The id of the run; None where none was named."""
        return self.run.id if self.run else None


def side_of(typed: str, results: Path, profile: str) -> Side:
    """Return what was called a results folder, or a run of one.

    Args:
        typed: A folder, or how the id of a run begins.
        results: The results folder whose runs these are.
        profile: The profile's name, for a folder that holds those of several.

    Raises:
        InputError: When it is neither.
    """
    if Path(typed).is_dir():
        return Side(typed, find_results(Path(typed), profile))
    try:
        return Side(typed, results, Store(results).find(typed))
    except InputError as error:
        raise InputError(f"{typed}: no such folder; taken for a run, {error}") from None


@dataclass(frozen=True)
class Effect:
    """An effect as one run has it.

    Attributes:
        experiment: Its experiment.
        study: Its model and emotion; empty where it has none.
        subject: What it is of: heads, units, or the parts of its item.
        parts: Model, emotion, heads, kind and labels, in order.
        metric: The metric.
        values: Per pair, in the metric's unit.
        ids: Of the pairs; empty where the row does not have them.
        ground: What it stands on; None where that is not a model and an emotion.
    """

    experiment: str
    study: StudyKey
    subject: str
    parts: tuple[str, ...]
    metric: str
    values: Sequence[float]
    ids: tuple[str, ...]
    ground: Ground | None

    @property
    def name(self) -> str:
        """What it is called: ``head_ablation[tiny-gpt2-gratitude-L0H2-mean]``."""
        return f"{self.experiment}[{'-'.join(self.parts)}]" if self.parts else self.experiment

    @property
    def mean(self) -> float:
        """Its mean over pairs."""
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class Moved:
    """One effect in both runs.

    Attributes:
        before: As A has it.
        after: As B has it.
        verdict: The rule's; None where it has none.
        why: What decided, or why there is no verdict.
    """

    before: Effect
    after: Effect
    verdict: Verdict | None
    why: str = ""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.before.name

    @property
    def kind(self) -> Kind:
        """What became of it."""
        return self.verdict.outcome if self.verdict else "not judged"

    @cached_property
    def drift(self) -> float:
        """B less A, mean over the pairs of each, in the metric's unit."""
        return self.after.mean - self.before.mean

    @property
    def size(self) -> float:
        """The drift in units of δ; where there is none, as a share of the larger effect."""
        larger = max(abs(self.before.mean), abs(self.after.mean))
        least = self.verdict.delta if self.verdict else larger
        return abs(self.drift) / least if least else 0.0


@dataclass(frozen=True)
class Diff:
    """Two runs beside each other.

    Attributes:
        a: The one.
        b: The other.
        effects: The effects of both, worst first.
        only_a: Names of effects of A alone.
        only_b: Names of effects of B alone.
        differing: What differs in what they stand on, a line each.
    """

    a: Side
    b: Side
    effects: list[Moved]
    only_a: list[str]
    only_b: list[str]
    differing: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many effects became what, worst first."""
        found = Counter(effect.kind for effect in self.effects)
        return {kind: found[kind] for kind in KINDS if found[kind]}


def diff(a: Side, b: Side, metrics: Sequence[str] = ()) -> Diff:
    """Return two runs beside each other.

    Args:
        a: The one, which the other is judged by.
        b: The other.
        metrics: What effects are compared by, in every experiment that records them; by default
            one of `EFFECTS`, or the first that has a value per prompt.

    Raises:
        InputError: When they are one, or have no effect in common.
    """
    if (a.folder.resolve(), a.run_id) == (b.folder.resolve(), b.run_id):
        raise InputError(
            f"{a.typed} and {b.typed} are the same results; name two folders, or two runs "
            "(`python -m emolib runs` lists them)"
        )
    both: list[tuple[Effect, Effect]] = []
    only: tuple[list[str], list[str]] = [], []
    stores = a.store, b.store
    known = [store.experiments(run=side.run_id) for store, side in zip(stores, (a, b), strict=True)]
    for experiment in dict.fromkeys([*known[0], *known[1]]):
        before = dict(_effects(stores[0], a, experiment, metrics))
        now = dict(_effects(stores[1], b, experiment, metrics))
        both += [(before[name], now[name]) for name in before if name in now]
        only[0].extend(before[name].name for name in before if name not in now)
        only[1].extend(now[name].name for name in now if name not in before)
    if not both:
        raise InputError(_nothing(a, b, known, metrics))
    judged = sum(_why_not(before, now) == "" for before, now in both)
    found = [_moved(before, now, judged) for before, now in both]
    found.sort(key=lambda effect: (KINDS.index(effect.kind), -effect.size, effect.name))
    rows = {"A": stores[0].rows(run=a.run_id), "B": stores[1].rows(run=b.run_id)}
    return Diff(a, b, found, *only, differing=differences(rows))


def _nothing(a: Side, b: Side, known: Sequence[Sequence[str]], metrics: Sequence[str]) -> str:
    asked = f" with {' or '.join(metrics)} per prompt" if metrics else ""
    has = [", ".join(names) or "no rows" for names in known]
    return (
        f"{a.typed} and {b.typed} have no effect in common{asked}: the first has {has[0]}, the "
        f"second {has[1]}; compare runs of the same experiments, models and heads"
    )


def _effects(
    store: Store, side: Side, experiment: str, metrics: Sequence[str]
) -> Iterator[tuple[Name, Effect]]:
    """Yield the effects of an experiment by what makes them the same in another run."""
    wanted = tuple(dict.fromkeys(metrics))
    rows = store.whole_rows(experiment, run=side.run_id)
    first = next(rows, None)
    if first is None:
        return
    if not wanted:
        # Of what a row records the same in every row: the first row tells.
        found = [name for name in EFFECTS if name in first.vectors] or list(first.vectors)
        wanted = tuple(found[:1])
    seen: Counter[Name] = Counter()
    grounds: dict[Any, Ground | None] = {}
    pairs, ids = first.pairs, tuple(first.pairs.get("ids", ()))
    for row in abridged(chain([first], rows), vectors=wanted, summaries=()):
        labels = {name: row.labels[name] for name in row.labels if not _is_found(name)}
        if row.pairs is not pairs:
            pairs, ids = row.pairs, tuple(row.pairs.get("ids", ()))
        # Rows are many, and those of one context and study all stand on the same.
        which = row.context, study_of(row), row.provenance.get("clean_gap")
        for metric, values in row.vectors.items():
            name = (metric, *(f"{k}={v}" for k, v in sorted((labels | row.dims).items())))
            # Rows of an item that nothing else tells apart are told apart by their order.
            seen[name] += 1
            if (*which, len(values)) not in grounds:
                grounds[*which, len(values)] = _ground(row, values)
            ground = grounds[*which, len(values)]
            parts = (*row.dims.values(), *labels.values())
            parts += (f"record {seen[name]}",) if seen[name] > 1 else ()
            about = experiment, study_of(row), subject(row), parts
            yield (*name, str(seen[name])), Effect(*about, metric, values, ids, ground)


def _is_found(label: str) -> bool:
    return label in _FOUND or label.startswith(_FOUND_TOO)


def _ground(row: Row, values: Sequence[float]) -> Ground | None:
    """Return what a row stands on; None where that is not a model and an emotion."""
    # Who reads no runs of the emotion's prompts has no gap between them.
    told = {"clean_gap": None} | row.provenance
    try:
        return ground_of(replace(row, provenance=told), len(values))
    except KeyError:
        return None


def _why_not(before: Effect, now: Effect) -> str:
    """Return why the rule has no verdict on an effect; empty where it has one."""
    if len(before.values) != len(now.values) or before.ids != now.ids:
        return f"of other pairs ({len(before.values)} in A, {len(now.values)} in B)"
    known = entry(before.metric, before.experiment)
    if known is None or known.unit != "logits":
        # The least change that matters to the rule is one in logits.
        return f"{before.metric} is not in logits"
    old, new = before.ground, now.ground
    if old is None or new is None:
        return "of no model and emotion"
    others = {
        "architecture": (old.type, new.type),
        "tokenizer": (old.tokenizer, new.tokenizer),
        "prompt set": (old.prompts, new.prompts),
    }
    found = [name for name, (one, other) in others.items() if one != other]
    return f"of another {' and '.join(found)}" if found else ""


def _moved(before: Effect, now: Effect, tests: int) -> Moved:
    """Return an effect of both with the rule's verdict, judged as one of so many."""
    old, new = before.ground, now.ground
    if (why := _why_not(before, now)) or old is None or new is None:
        return Moved(before, now, None, why)
    verdict = judge(
        before.values,
        now.values,
        gap=old.gap,
        tests=tests,
        replay=old.settings == new.settings and replayable(old, new),
    )
    return Moved(before, now, verdict, verdict.why)
