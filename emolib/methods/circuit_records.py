"""What is found of a study's sets of heads: curves, the circuit, and the rows made of them.

Formulas: docs/science.md, "Circuits": faithfulness, minimality and completeness as in Wang et al.
(2211.00593), CPR and CMD as in Mueller et al. (2504.13151).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emolib.inputs.heads import Head
from emolib.inputs.rankings import Ranking
from emolib.methods.head_sets import Chosen
from emolib.methods.patching import FLOOR
from emolib.methods.scores import Table, Vector
from emolib.stats.faithfulness import Estimate, Quantities, areas, estimate

# Heads that are named where a circuit is written out.
_NAMED = 12


@dataclass(frozen=True)
class Curve:
    """Sets of heads of growing size.

    Attributes:
        order: Which heads: ``ranking``, ``random`` or ``greedy``.
        steps: The size of each set, ascending, K of them.
        last: The head that comes last in each set; empty where there is no such.
        metric: ``logit_diff`` of each pair under each set, of random ones the mean over draws,
            logits, ``[n, K]``.
        draws: Of random ones F of each draw, ``[draws, K]``; None of others.
    """

    order: str
    steps: Sequence[int]
    last: Sequence[str]
    metric: Table
    draws: Table | None = None


@dataclass(frozen=True)
class Circuit:
    """The heads that are enough, and what is left without each or all of them.

    Attributes:
        heads: The heads, in the order of the ranking, k of them.
        chosen: F on the half of the templates that chose k.
        metric: ``logit_diff`` of each pair with these heads alone, logits, ``[n]``.
        without: The same without one of them each, ``[n, k]``.
        rest: The same with all heads but these, ``[n]``.
    """

    heads: tuple[Head, ...]
    chosen: float
    metric: Vector
    without: Table
    rest: Vector


@dataclass(frozen=True)
class Circuits:
    """Curves of a study's heads, and the circuit that is read from them.

    Attributes:
        ranking: The order of the heads.
        outside: What becomes of the heads outside a set.
        full: ``logit_diff`` of each pair with all heads, logits, ``[n]``.
        empty: The same with every head taken away, ``[n]``.
        curves: Of the ranking, of random heads, of the greedy order.
        circuit: The circuit; None where there is none to choose.
        why: Why `circuit` is None, else empty.
        held_out: The pairs that took no part in choosing it.
        clusters: Per pair its template.
        width: d_model.
        parallel: Whether MLPs read the stream before the heads of their layer wrote to it.
        seed: Of the resamples.
    """

    ranking: Ranking
    outside: str
    full: Vector
    empty: Vector
    curves: tuple[Curve, ...]
    circuit: Circuit | None
    why: str
    held_out: Chosen
    clusters: tuple[str, ...] | None
    width: int
    parallel: bool
    seed: int = 0

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each set: those of the curves, then what is said of the circuit."""
        for curve in self.curves:
            found = self._estimate(curve.metric)
            for place, step in enumerate(curve.steps):
                row: dict[str, Any] = {"order": curve.order}
                row |= {"head": curve.last[place]} if curve.last[place] else {}
                row |= {"k": step} | _told("faithfulness", found, place)
                if found.band is not None:
                    low, high = (float(ends[place]) for ends in found.band)
                    row |= {"band_low": low, "band_high": high}
                if curve.draws is not None:
                    draws = curve.draws[:, place]
                    row |= {"draws_low": float(draws.min()), "draws_high": float(draws.max())}
                yield row | self._effect(curve.metric[:, place])
        if self.circuit is not None:
            yield from self._members(self.circuit)

    def _members(self, circuit: Circuit) -> Iterator[dict[str, Any]]:
        """Yield the circuit, the circuit without each of its heads, and all heads but these."""
        count, every = len(circuit.heads), len(self.ranking.heads)
        yield {"order": "circuit", "k": count} | self._both(circuit.metric)
        for place, head in enumerate(circuit.heads):
            left = circuit.without[:, place]
            # F is linear in the metric: what is lost is the F of the difference.
            lost = self._estimate(circuit.metric - left + self.empty, held_out=True)
            row: dict[str, Any] = {"order": "without", "head": str(head), "k": count - 1}
            yield row | self._both(left) | _told("loss", lost)
        yield {"order": "rest", "k": every - count} | self._both(circuit.rest)

    def summary(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each whole curve: its areas; of the ranking also the circuit."""
        for curve in self.curves:
            if curve.steps[-1] < len(self.ranking.heads):
                continue
            row: dict[str, Any] = {"order": curve.order, "outside": self.outside}
            if curve.order == "ranking":
                row |= {"by": self.ranking.by} | self._of_circuit()
            yield row | self._areas(curve) | {"n_heads": len(self.ranking.heads)}

    def importances(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each head: its score and whether it is of the circuit.

        A ranking without scores gives each head the number of heads that it stands above.
        """
        heads, inside = self.ranking.heads, self.circuit.heads if self.circuit else ()
        scores = self.ranking.scores or tuple(float(len(heads) - 1 - i) for i in range(len(heads)))
        for head, score in zip(heads, scores, strict=True):
            row: dict[str, Any] = {"head": str(head), "by": self.ranking.by}
            row |= {"parallel": "yes" if self.parallel else "no"}
            yield (
                row
                | {"importance": score, "in_circuit": int(head in inside)}
                | {"d_model": self.width}
            )

    def _of_circuit(self) -> dict[str, Any]:
        doubt = {"ranking": self.ranking.doubt} if self.ranking.doubt else {}
        if self.circuit is None:
            return doubt | {"why_no_circuit": self.why, "k": None}
        heads, rest = self.circuit.heads, self.circuit.rest
        named = "+".join(map(str, heads)) if len(heads) <= _NAMED else f"{len(heads)} heads"
        row = doubt | {"circuit": named, "k": len(heads)}
        row |= _told("held_out", self._estimate(self.circuit.metric, held_out=True))
        row |= {"chosen": self.circuit.chosen}
        row |= _told("rest", self._estimate(rest, held_out=True))
        means = {"all": self.full, "none": self.empty, "rest": rest}
        return row | {
            f"logit_diff_{name}": float(values[self.held_out].mean())
            for name, values in means.items()
        }

    def _areas(self, curve: Curve) -> dict[str, Any]:
        shares = np.array(curve.steps) / curve.steps[-1]
        row: dict[str, Any] = {}
        for suffix in ("", "_log"):
            if suffix and len(shares) < 3:
                row |= {"why_no_cpr_log": "one head: there is no share between none and all"}
                continue
            found = self._estimate(curve.metric, of=areas(shares, log=bool(suffix)))
            row |= _told(f"cpr{suffix}", found) | _told(f"cmd{suffix}", found, 1)
        return row

    def _both(self, metric: Vector) -> dict[str, Any]:
        """Return F over all pairs and over those that took no part in choosing the circuit."""
        row = _told("faithfulness", self._estimate(metric))
        return row | _told("held_out", self._estimate(metric, held_out=True)) | self._effect(metric)

    def _effect(self, metric: Vector) -> dict[str, Any]:
        return {"logit_diff": metric - self.full}

    def _estimate(
        self, metric: Table | Vector, *, of: Quantities | None = None, held_out: bool = False
    ) -> Estimate:
        chosen = self.held_out if held_out else np.full(len(self.full), True)
        clusters = self.clusters and [c for c, is_in in zip(self.clusters, chosen, strict=True)
                                      if is_in]  # fmt: skip
        found = metric[:, None] if metric.ndim == 1 else metric
        of_pairs = found[chosen], self.empty[chosen], self.full[chosen]
        return estimate(*of_pairs, clusters or None, of=of, floor=FLOOR, seed=self.seed)


def _told(name: str, found: Estimate, place: int = 0) -> dict[str, Any]:
    """Return a value of an estimate with its interval, or why it has none."""
    if found.values is None:
        return {name: None, f"why_no_{name}": found.why}
    row: dict[str, Any] = {name: float(found.values[place])}
    if found.ends is None:
        return row | {
            f"{name}_ci_low": None,
            f"{name}_ci_high": None,
            f"why_no_{name}_ci": found.why,
        }
    low, high = (float(ends[place]) for ends in found.ends)
    return row | {f"{name}_ci_low": low, f"{name}_ci_high": high}
