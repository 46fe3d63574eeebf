"""What is on a page, gathered from rows that are seen one by one."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from emolib.reporting.comparison import compare, overlap
from emolib.reporting.experiments import (
    ABLATED,
    ATTENTION,
    CIRCUIT,
    CIRCUITS,
    CONTROLLED,
    KNOWN,
    PATCHED,
    PATHS,
    SCREENED,
    STEERED,
    UNITS,
)
from emolib.reporting.page import study_views
from emolib.reporting.page.baseline_check import BaselineCheck, Compared
from emolib.reporting.page.head_details import Detail, HeadDetails
from emolib.reporting.page.head_maps import HeadMaps
from emolib.reporting.page.page_runs import Provenance
from emolib.reporting.page.page_words import Told, rounded, told_of
from emolib.reporting.page.study_prompts import Prompts
from emolib.results.abridged import abridged
from emolib.results.item_files import scores_file
from emolib.results.records import Store
from emolib.results.rows import Row, group
from emolib.results.selection import StudyKey, study_of
from emolib.results.tested import by_the_run

# Whose rows the comparison of models takes.
_COMPARED = (ABLATED, PATCHED, SCREENED)


class Views(NamedTuple):
    """What studies say beside the maps of their heads."""

    circuits: dict[StudyKey, dict[str, Any]]
    paths: dict[StudyKey, dict[str, Any]]
    steering: dict[StudyKey, dict[str, Any]]
    units: dict[StudyKey, dict[str, Any]]
    controls: dict[StudyKey, list[dict[str, Any]]]
    comparison: dict[str, Any] | None
    others: dict[str, list[Row]]


class PageParts:
    """What is on a page.

    Attributes:
        store: The rows.
        results: The results folder.
        run: Of this run; None of the last state.
        emotion: On this emotion alone; None on all.
        maps: Scores by head.
        prompts: Prompts by study.
        details: What heads do pair by pair.
        aside: What rows on heads say that no map shows.
        steered: Texts under steering.
        provenance: Models, and what was left out.
        experiments: Those that have rows, in the order in which they are read.
    """

    def __init__(
        self,
        store: Store,
        results: Path,
        run: str | None,
        emotion: str | None,
        baseline: Path | None,
    ) -> None:
        """Read nothing yet but the baseline and the names of experiments.

        Raises:
            InputError: When the baseline is none.
        """
        self.store, self.results, self.run, self.emotion = store, results, run, emotion
        self.maps, self.prompts, self.details = HeadMaps(), Prompts(), HeadDetails()
        self.aside, self.steered = study_views.Aside(), study_views.SteeredTexts()
        self.provenance, self._check = Provenance(), BaselineCheck(baseline)
        self._kept: dict[str, list[Row]] = {}
        self._side_by_side: dict[str, list[Row]] = {name: [] for name in _COMPARED}
        experiments = store.experiments(run=run)
        if emotion is not None:
            rows = store.rows(run=run)
            known = {row.experiment for row in rows if row.dims.get("emotion") == emotion}
            experiments = [name for name in experiments if name in known]
        # Where heads look is shown on the pairs that they move most, so it is read last.
        self.experiments = sorted(experiments, key=lambda n: (n == ATTENTION, n != ABLATED))

    def read(self) -> None:
        """See all rows."""
        for experiment in self.experiments:
            for row in self.store.whole_rows(experiment, run=self.run):
                if self.emotion in (None, row.dims.get("emotion")):
                    self._see(row)
            self.maps.test(by_the_run(self.store, experiment, run=self.run))

    def _see(self, row: Row) -> None:
        self.prompts.see(row)
        self.provenance.see(row)
        self.maps.see(row)
        self.details.see(row, self.prompts[study_of(row)])
        self.aside.see(row)
        self._check.see(row)
        name = row.experiment
        if name == STEERED:
            self.steered.see(row)
        if name in _COMPARED:
            of = ("logit_diff",) if name == ABLATED else ()
            self._side_by_side[name] += abridged([row], of, ("logit_diff",))
        elif study_views.is_kept(name):
            self._kept.setdefault(name, []).append(study_views.kept(row))
        elif name not in KNOWN:
            self._kept.setdefault(name, []).extend(abridged([row]))

    @cached_property
    def compared(self) -> Compared:
        """What became of the effects of the baseline."""
        return self._check.finish()

    @cached_property
    def views(self) -> Views:
        """What studies say beside the maps of their heads."""
        kept = self._kept
        return Views(
            study_views.circuits(kept.get(CIRCUITS, ()), kept.get(CIRCUIT, ())),
            study_views.paths(kept.get(PATHS, ())),
            study_views.steering(kept.get(STEERED, ())),
            study_views.units(
                {n: rows for n, rows in kept.items() if n in KNOWN and n.startswith(UNITS)}
            ),
            study_views.controls(kept.get(CONTROLLED, ())),
            self._comparison(),
            {n: rows for n, rows in kept.items() if not study_views.is_kept(n)},
        )

    def _comparison(self) -> dict[str, Any] | None:
        lines = compare(self._side_by_side[ABLATED], self._side_by_side[PATCHED])
        named = {"model", "emotion", "heads"}
        scored = [row for row in self._side_by_side[SCREENED] if named <= row.dims.keys()]
        of_models = group(scored, lambda row: row.dims["model"])
        ranks = overlap([scores_file(members) for members in of_models.values()])
        for line in lines:
            ends = line.pop("ci") or (None, None)
            line["effect"] = [rounded(line["effect"]), *map(rounded, ends)]
            line |= {key: rounded(value) for key, value in line.items()}
        ranks = [{key: rounded(value) for key, value in line.items()} for line in ranks]
        return {"lines": lines, "ranks": ranks} if lines or ranks else None

    @cached_property
    def words(self) -> dict[str, Told]:
        """What the glossary says of the metrics on the page."""
        metrics = {score.metric: score.experiment for score in self.maps.scores}
        for experiment, rows in self._kept.items():
            metrics |= {metric: experiment for metric in rows[0].values}
        told = {metric: told_of(metric, of) for metric, of in sorted(metrics.items())}
        # What tests say of any metric, told once.
        return {name: told_of(f"logit_diff_{name}", ABLATED) for name in ("q", "max_t")} | told

    def strongest(self) -> dict[StudyKey, tuple[str, Detail]]:
        """Return the first head of each study, with what it does."""
        found = {}
        for study in self.maps.studies:
            head = self.maps.ranked(study)[0]
            if detail := self.details.heads.get(study, {}).get(head):
                found[study] = head, detail
        return found

    def by_size(self) -> list[tuple[StudyKey, str, Detail]]:
        """Return all heads that have details, those first that do the most in their study."""
        score = self.maps.default()

        def share(study: StudyKey, head: str) -> float:
            grid = self.maps.grids[study].get(score) if score else None
            return abs(grid.of(head) or 0.0) / grid.largest if grid and grid.largest else 0.0

        found = [
            (study, head, self.details.heads[study][head])
            for study in self.maps.studies
            for head in self.maps.ranked(study)
            if head in self.details.heads.get(study, {})
        ]
        return sorted(found, key=lambda one: -share(one[0], one[1]))
