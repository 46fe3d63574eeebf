"""What patching MLP units one by one does exactly, and how well scores rank units by it.

Formulas: docs/science.md, "Units".
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emolib.engine.costs import Planned, Runs
from emolib.inputs.prompts import Side
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import patch
from emolib.methods.scores import Vector
from emolib.methods.study import Study
from emolib.methods.unit_scores import UnitScores, UnitTable
from emolib.stats.summary import rank_correlation, two_halves

SCORES = ("atp", "relp")
"""Estimates of what patching a unit does, each of which is compared with exact effects."""
COMPARED = 12
"""Units that each score, and chance, bring in to be compared."""


def to_compare(scores: UnitScores) -> list[Unit]:
    """Return the units whose exact effects the scores are compared with, 36 or all.

    The strongest by either score and at least as many random others, so that neither decides alone
    on what it is judged.
    """
    chosen: dict[Unit, None] = {}
    for table in (scores.atp, scores.relp):
        if table is not None:
            order = np.argsort(-np.abs(table.mean(0)), kind="stable")[:COMPARED]
            chosen |= dict.fromkeys(scores.unit(int(place)) for place in order)
    rest = sorted({*range(scores.atp.shape[1])} - {scores.place(unit) for unit in chosen})
    count = _compared(scores.atp.shape[1]) - len(chosen)
    drawn = random.Random(scores.seed).sample(rest, count)
    return [*chosen, *map(scores.unit, sorted(drawn))]


def _compared(units: int) -> int:
    return min((len(SCORES) + 1) * COMPARED, units)


def exact_effects(study: Study, units: Sequence[Unit], read: UnitSet) -> dict[Unit, Vector]:
    """Return what ``atp`` and ``relp`` estimate: half of what patching a unit does either way.

    Args:
        study: The study.
        units: The units, of which each is patched alone.
        read: Units whose activations are read, these among them.

    Returns:
        Per unit ``(denoise − noise) / 2`` on ``logit_diff``, ``[n_pairs]``, in logits.
    """
    effects: dict[Unit, Vector] = {unit: np.zeros(len(study.pairs)) for unit in units}
    ways: tuple[tuple[Side, Side, int], ...] = (
        ("neutral", "emotion", 1),
        ("emotion", "neutral", -1),
    )
    for on, other, sign in ways:
        source, clean = study.activations(other, read), study.run(on=on).logit_diff
        study.expect([patch(unit, source) for unit in units], on=on)
        for unit in units:
            moved = study.run(patch(unit, source), on=on).logit_diff - clean
            effects[unit] += sign * np.asarray(moved) / 2
    return effects


@dataclass(frozen=True)
class Patched:
    """Exact effects of some units, and how well each score ranks the units by them.

    Attributes:
        effects: Per unit the effect on each pair, ``[n_pairs]``, in logits.
        scores: The scores.
        halves: 0 or 1 per pair, whole templates; of one half alone nothing is held out.
    """

    effects: Mapping[Unit, Vector]
    scores: UnitScores
    halves: NDArray[np.int64]

    def correlation(self, name: str) -> float | None:
        """Return Spearman's correlation of |score| with |effect|, on templates held out.

        The score is the mean over one half of the templates, the effect that over the other;
        averaged over both ways. None where a score is lacking, one side ties, or there is one
        template.
        """
        table: UnitTable | None = getattr(self.scores, name)
        if table is None or len(set(self.halves.tolist())) < 2:
            return None
        places = [self.scores.place(unit) for unit in self.effects]
        exact = np.stack(list(self.effects.values()), axis=1)
        found = []
        for half in (0, 1):
            here, there = self.halves == half, self.halves != half
            estimate = np.abs(table[:, places][here].mean(0, dtype=float))
            found.append(rank_correlation(estimate, np.abs(exact[there].mean(0))))
        known = [rho for rho in found if rho is not None]
        return float(np.mean(known)) if len(known) == len(found) else None


def halves_of(study: Study) -> NDArray[np.int64]:
    """Return 0 or 1 per pair: which half of the templates it is of."""
    return two_halves(len(study.pairs), study.pairs.emotion.clusters)


def exact_costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `exact_effects` of the units of `to_compare`, each both ways."""
    units = planned.spread(_compared(planned.n_layers * planned.n_units))
    for side in planned.prompts:
        yield planned.runs(side, units)
