"""What a run found and what it did not, in sentences with figures: from the store alone.

The experiments are read one after the other, row by row; of each no more is kept than what a
sentence says, so that the store of a large model is never in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from emolib.reporting import found_checks, found_heads, found_methods
from emolib.reporting.carriers import TAKEN, Carriers, carriers, rule
from emolib.reporting.experiments import (
    ABLATED,
    ATTENTION,
    CIRCUIT,
    CIRCUITS,
    CONTROLLED,
    KNOWN,
    PATCHED,
    PATHS,
    PROBED,
    SCREENED,
    SPECIFIC,
    STEERED,
    UNITS_CONFIRMED,
    UNITS_SCREENED,
)
from emolib.reporting.finding import ORDER, Finding
from emolib.reporting.notes import Designs, clusters_of
from emolib.reporting.wording import Estimate
from emolib.results.abridged import abridged
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, strongest, studies, study_of, subject
from emolib.results.tested import FLIPPED, tested
from emolib.stats.summary import unreliable

# Whose rows say which heads carry an emotion, what is asked first before the others.
_TESTED = (ABLATED, PATCHED)
_ALONE = {
    CIRCUITS: found_methods.circuit,
    PATHS: found_methods.paths,
    CONTROLLED: found_checks.controls,
    UNITS_CONFIRMED: found_methods.units,
    PROBED: found_methods.probes,
    STEERED: found_methods.steering,
}
# What each experiment looks at, where its rows are missing, and the file that makes them.
_LOOKS_AT = {
    SCREENED: ("Which heads to look at first", "head_screening"),
    ABLATED: ("What heads do when taken out", "head_ablation"),
    PATCHED: ("What heads carry from one prompt to another", "head_patching"),
    CONTROLLED: ("Controls", "head_controls"),
    ATTENTION: ("Where heads look", "attention_patterns"),
    SPECIFIC: ("Specificity to an emotion", "head_specificity"),
    CIRCUITS: ("Circuits", "head_circuit"),
    PATHS: ("Paths between heads", "head_paths"),
    STEERED: ("Steering", "steering"),
    UNITS_SCREENED: ("MLP units", "unit_screening"),
    PROBED: ("Probes of z", "head_probe"),
}


class Findings(NamedTuple):
    """What a run found.

    Attributes:
        in_short: A line per model and emotion: ``model``, ``emotion``, ``gap`` and ``effect``
            (``mean`` and ``ci``, None where not known), ``heads`` that carry the emotion, ``head``
            that does most, ``kind`` of intervention, ``share`` of the gap, ``reliability`` of
            screening's ranking and ``doubt`` about it.
        found: What was found.
        not_found: What was not, or cannot be told, with why.
        rule: When a head is said to carry an emotion; empty where no heads were looked at.
    """

    in_short: list[dict[str, Any]]
    found: list[Finding]
    not_found: list[Finding]
    rule: str = ""


def findings(store: Store, *, run: str | None = None, emotion: str | None = None) -> Findings:
    """Return what a run found, and what it did not.

    Args:
        store: Where its rows are.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default.
        emotion: Of this emotion alone.

    Raises:
        InputError: When there is no such run, or rows are damaged.
    """
    read = _Reading(store, run, emotion)
    told: list[Finding] = []
    # Before all others: its first row has the interval of the clean gap.
    read.experiment(CIRCUIT)
    screened = read.experiment(SCREENED)
    told += found_checks.ranking([row for row in screened if row.mean("atp_ig") is not None])
    ranked = studies(screened)
    ablated = carriers(read.experiment(ABLATED), read.gaps, _max_t(store, ABLATED, run))
    done = {one.study for one in ablated}
    rows = read.experiment(PATCHED)
    # Where ablation tells who carries, patching need not.
    tests = _max_t(store, PATCHED, run) if {*map(study_of, rows)} - done else {}
    patched = carriers(rows, read.gaps, tests)
    of_heads = [*ablated, *(one for one in patched if one.study not in done)]
    told += chain(
        found_heads.heads(of_heads),
        found_heads.effects(of_heads),
        found_heads.texts(ablated),
        found_heads.patching(patched, {one.study: one.strongest for one in of_heads}),
        found_heads.attention(read.experiment(ATTENTION), of_heads),
        found_methods.specificity(read.experiment(SPECIFIC), of_heads),
    )
    for name, tell in _ALONE.items():
        told += tell(read.experiment(name))
    for name in sorted(read.names - KNOWN):
        told += found_methods.own(name, read.experiment(name))
    told += found_heads.gaps(read.gaps)
    told += _of_designs(read)
    told += _not_run(read)
    told.sort(key=lambda one: ORDER.index(one.about))
    return Findings(
        list(_in_short(of_heads, ranked, read.gaps)),
        [one for one in told if one.found],
        [one for one in told if not one.found],
        rule(of_heads[0].tables) if of_heads else "",
    )


def in_short(store: Store, *, run: str | None = None) -> list[dict[str, Any]]:
    """Return `Findings.in_short` alone, for which less is read.

    Args:
        store: As for `findings`.
        run: As for `findings`.

    Raises:
        InputError: As `findings` does.
    """
    read = _Reading(store, run, None)
    read.experiment(CIRCUIT)
    ranked = studies(read.experiment(SCREENED))
    found: list[Carriers] = []
    for name in _TESTED:
        done = {one.study for one in found}
        rows = [row for row in read.experiment(name) if study_of(row) not in done]
        if rows:
            # What was tested is told over all rows that stand in one table, of this run or before.
            found += carriers(rows, read.gaps, _max_t(store, name))
    return list(_in_short(found, ranked, read.gaps))


def _max_t(store: Store, experiment: str, run: str | None = None) -> dict[tuple[str, int], float]:
    """Return what max-T says of ``logit_diff``, by item and number of the row."""
    if experiment not in store.experiments(run=run):
        return {}
    found = {
        place: columns.get(f"{TAKEN[0]}{FLIPPED[2]}")
        for place, columns in tested(store, experiment, run=run).items()
    }
    return {place: value for place, value in found.items() if value is not None}


class _Reading:
    """The rows that findings are on, abridged to what their sentences take.

    Attributes:
        names: The experiments that there are rows of.
        gaps: The clean gaps that rows told so far.
        designs: How many tests each table has.
    """

    def __init__(self, store: Store, run: str | None, emotion: str | None) -> None:
        self._store, self._run, self._emotion = store, run, emotion
        self.names = set(store.experiments(run=run))
        self.gaps: dict[StudyKey, Estimate] = {}
        self.designs = Designs()

    def experiment(self, name: str) -> list[Row]:
        """Return the rows of an experiment, none where it was not run."""
        if name not in self.names:
            return []
        taken = TAKEN if name in _TESTED else None
        rows = self._on(self._store.rows(name, run=self._run))
        found = list(abridged(rows, summaries=taken))
        if name in _TESTED:
            for row in found:
                self.designs.add(row)
        return found

    def _on(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            if self._emotion in (None, row.dims.get("emotion")):
                self._see(row)
                yield row

    def _see(self, row: Row) -> None:
        gap, study = row.provenance.get("clean_gap"), study_of(row)
        if isinstance(gap, float):
            self.gaps.setdefault(study, Estimate(gap))
            if (ci := _of_no_heads(row, gap)) is not None:
                self.gaps[study] = Estimate(gap, ci)

    def clusters(self, row: Row) -> tuple[int, str]:
        """Return how many templates a row stands on."""
        return clusters_of(self._store[row.key][row.row])


def _of_no_heads(row: Row, gap: float) -> tuple[float, float] | None:
    """Return the interval of the clean gap, which a circuit of no heads loses as a whole."""
    is_whole = row.experiment == CIRCUIT and row.mean("k") == 0
    effect, ends = row.mean("logit_diff"), row.interval("logit_diff")
    if not is_whole or effect is None or ends is None:
        return None
    # With heads outside at 0 or at their mean it loses more than what the prompts differ by.
    return (-ends[1], -ends[0]) if abs(effect + gap) <= 1e-3 * abs(gap) else None


def _in_short(
    found: list[Carriers], ranked: dict[StudyKey, list[Row]], gaps: dict[StudyKey, Estimate]
) -> Iterator[dict[str, Any]]:
    of_study = {one.study: one for one in found}
    scored = {s: rows for s, rows in ranked.items() if rows[0].mean("atp_ig") is not None}
    for study in sorted({*of_study, *scored}):
        line: dict[str, Any] = {"model": study.model, "emotion": study.emotion}
        line |= {"gap": _plain(gaps.get(study)), "heads": [], "head": None, "kind": None}
        line |= {"effect": None, "share": None, "reliability": None, "doubt": ""}
        if members := scored.get(study):
            line["reliability"] = members[0].mean("reliability")
            line["doubt"] = unreliable(line["reliability"])
            if not line["doubt"]:
                line["head"] = subject(strongest(members, "atp_ig", 1)[0])
        if one := of_study.get(study):
            line |= {"heads": list(one.heads), "head": one.strongest, "kind": one.kind}
            line |= {"effect": _plain(one.first[one.strongest].of)}
            line |= {"share": one.share(one.strongest)}
        yield line


def _plain(value: Estimate | None) -> dict[str, Any] | None:
    return value and {"mean": value.mean, "ci": value.ci and list(value.ci)}


def _of_designs(read: _Reading) -> Iterator[Finding]:
    for limit in read.designs.out_of_reach(read.clusters):
        yield Finding("", "", "design", f"{limit[:1].upper()}{limit[1:]}.", found=False)


def _not_run(read: _Reading) -> Iterator[Finding]:
    # Who runs experiments of their own alone is not told what else there would be.
    if not read.names & KNOWN:
        return
    for name, (what, file) in _LOOKS_AT.items():
        if name not in read.names:
            command = f"pytest experiments/exp_{file}.py"
            yield Finding("", "", "not run", f"{what}: not run; {command} does.", found=False)


__all__ = ["Finding", "Findings", "findings", "in_short"]
