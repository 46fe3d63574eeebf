"""The values of scores by head: what the maps of a study show, and whether it is chance."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emolib.inputs.heads import parse_head
from emolib.reporting.page.map_scores import Score, by_pair, scores_of
from emolib.reporting.page.page_words import is_head, rounded
from emolib.results.abridged import abridged
from emolib.results.chances import of_rows
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, chosen_by_rank, study_of
from emolib.results.tested import Tested

_ENDS = ("mean", "low", "high", "q", "max_t")
# Nothing here: what a map has no value of is null in the file.
_GAP = float("nan")


@dataclass
class Grid:
    """One score of a study by head: mean, ends of its CI, q, max-T; NaN where none.

    Attributes:
        layers: Layers of the model.
        heads: Heads a layer.
        values: By name of `_ENDS` a value a head, layer by layer.
    """

    layers: int
    heads: int
    values: dict[str, array[float]] = field(default_factory=dict)

    def put(self, head: str, **found: float | None) -> None:
        """Take note of what is known of a head."""
        place = parse_head(head).layer * self.heads + parse_head(head).index
        for name, value in found.items():
            if value is not None:
                empty = array("d", [_GAP]) * (self.layers * self.heads)
                self.values.setdefault(name, empty)[place] = value

    def at(self, layer: int, index: int, name: str = "mean") -> float | None:
        """Return what is known of a head, None where nothing is."""
        column = self.values.get(name)
        value = _GAP if column is None else column[layer * self.heads + index]
        return None if value != value else value

    def of(self, head: str, name: str = "mean") -> float | None:
        """Return what is known of a head by its name."""
        found = parse_head(head)
        return self.at(found.layer, found.index, name)

    @property
    def largest(self) -> float:
        """The largest |mean| of any head, 0 where there is none."""
        return max((abs(v) for v in self.values.get("mean", ()) if v == v), default=0.0)

    def told(self) -> dict[str, list[float | None]]:
        """Return it as JSON has it: a list a name, head by head."""
        return {
            name: [None if value != value else rounded(value) for value in self.values[name]]
            for name in _ENDS
            if name in self.values
        }


class HeadMaps:
    """The grids of every study, from rows seen one by one.

    Attributes:
        shapes: Layers and heads a layer of each study.
        grids: By study and score.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.shapes: dict[StudyKey, tuple[int, int]] = {}
        self.grids: dict[StudyKey, dict[Score, Grid]] = {}
        self._named: set[tuple[StudyKey, Score, str]] = set()
        self._tested: dict[tuple[StudyKey, Score], list[Row]] = {}

    def see(self, row: Row) -> None:
        """Take note of a whole row; of one that is on no single head, of nothing."""
        head, study = row.dims.get("heads", ""), study_of(row)
        if not is_head(head) or not self._fits(study, head, row):
            return
        shape = self.shapes[study]
        for score in scores_of(row):
            place = study, score, head
            if chosen_by_rank(row) and place in self._named:
                continue
            if not chosen_by_rank(row):
                self._named.add(place)
            ends = row.interval(score.metric) or (None, None)
            grid = self.grids.setdefault(study, {}).setdefault(score, Grid(*shape))
            grid.put(head, mean=row.mean(score.metric), low=ends[0], high=ends[1])
        tested = by_pair(row)
        if tested is not None and not chosen_by_rank(row):
            kept = list(abridged([row], (tested.metric,), ()))
            self._tested.setdefault((study, tested), []).extend(kept)

    def _fits(self, study: StudyKey, head: str, row: Row) -> bool:
        """Tell whether the model of a row has its head, by the shape that its provenance tells."""
        told: Mapping[str, Any] = row.provenance.get("shape", {})
        layers, heads = told.get("layers"), told.get("heads")
        if not isinstance(layers, int) or not isinstance(heads, int):
            return False
        self.shapes.setdefault(study, (layers, heads))
        found = parse_head(head)
        return found.layer < self.shapes[study][0] and found.index < self.shapes[study][1]

    def test(self, known: Tested | None = None) -> None:
        """Test what was seen since the last time, and let go of the values it takes.

        Called when the rows of an experiment have been seen, so that those of one experiment alone
        are held. max-T takes many times as long as q, and is shown where the run's table has it.

        Args:
            known: What `emolib.results.tested.by_the_run` gives of that experiment.
        """
        for (study, score), rows in self._tested.items():
            grid = self.grids[study][score]
            told = [(known or {}).get((row.item, row.row), {}) for row in rows]
            q = [columns.get(f"{score.metric}_q") for columns in told]
            if None in q:
                found = of_rows(rows, score.metric)
                q = [found.get((row.item, row.row), (None, None))[1] for row in rows]
            for row, one, columns in zip(rows, q, told, strict=True):
                grid.put(row.dims["heads"], q=one, max_t=columns.get(f"{score.metric}_max_t"))
        self._tested.clear()

    @property
    def studies(self) -> list[StudyKey]:
        """The studies that have grids, in order of model and emotion."""
        return sorted(self.grids)

    @property
    def scores(self) -> list[Score]:
        """All scores, in the order in which they are offered."""
        found = {score: None for grids in self.grids.values() for score in grids}
        known = {score: n for n, score in enumerate(found)}

        def place(score: Score) -> tuple[Any, ...]:
            return score.order[0], _kind(score), score.order[1], known[score]

        return sorted(found, key=place)

    def of(self, score: Score) -> Iterator[Grid]:
        """Yield the grids of a score, study by study."""
        for study in self.studies:
            if score in self.grids[study]:
                yield self.grids[study][score]

    def limit(self, score: Score) -> float:
        """Return the largest |mean| of a score over all studies: one scale for all its maps."""
        return max((grid.largest for grid in self.of(score)), default=0.0)

    def is_signed(self, score: Score) -> bool:
        """Tell whether any value of a score lies below 0."""
        means = (grid.values.get("mean", ()) for grid in self.of(score))
        return any(value < 0 for values in means for value in values)

    def default(self) -> Score | None:
        """Return the score shown first: what ablation does, else patching, else the first."""
        return min(self.scores, key=_first, default=None)

    def ranked(self, study: StudyKey, score: Score | None = None) -> list[str]:
        """Return the heads of a study, those first that a score is largest of."""
        chosen = score or self.default()
        grid = self.grids[study].get(chosen) if chosen else None
        layers, heads = self.shapes[study]
        places = [(layer, index) for layer in range(layers) for index in range(heads)]
        if grid is None:
            others = [g for s, g in self.grids[study].items() if not s.base]
            grid = others[0] if others else next(iter(self.grids[study].values()))
        known = grid

        def size(place: tuple[int, int]) -> float:
            return -abs(known.at(*place) or 0.0)

        return [f"L{layer}H{index}" for layer, index in sorted(places, key=size)]


def _first(score: Score) -> tuple[bool, ...]:
    return (
        score.metric != "logit_diff" or score.experiment != "head_ablation",
        score.metric != "recovery",
        score.metric != "atp_ig",
        bool(score.base),
    )


def _kind(score: Score) -> tuple[int, str]:
    order: Sequence[str] = ("zero", "mean", "resample", "optimal")
    return (order.index(score.kind), "") if score.kind in order else (len(order), score.kind)
