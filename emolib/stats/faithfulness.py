"""Faithfulness of sets of heads: a ratio of means over pairs, its curve, areas under it, intervals.

``F = (mean(found) − mean(empty)) / (mean(full) − mean(empty))``, from the metric of every pair
with some heads left (`found`), with none (`empty`) and with all (`full`), in any unit
(docs/science.md, "Circuits"; CPR and CMD as in Mueller et al. 2504.13151).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.stats.bootstrap import BOOTSTRAPS, student_quantile
from emolib.stats.noise import FLOAT_NOISE
from emolib.stats.summary import FEWEST, expanded_level

Array = NDArray[np.float64]
Quantities = Callable[[Array], Array]
"""From curves ``[…, K]`` to what is said of each, ``[…, Q]``."""


class Estimate(NamedTuple):
    """Numbers made of one curve, with their intervals.

    Attributes:
        values: Shape ``[Q]``; None where F is undefined.
        ends: 95 % intervals, each by itself, low and high, ``[2, Q]``; None where there are none.
        band: Intervals that hold all Q together in 95 %, ``[2, Q]``; None likewise.
        why: Why one of these is None, else empty.
    """

    values: Array | None
    ends: Array | None = None
    band: Array | None = None
    why: str = ""


def faithfulness(found: ArrayLike, empty: ArrayLike, full: ArrayLike) -> Array:
    """Return F of K sets, ``[K]``.

    Args:
        found: The metric of each pair under each set, ``[n, K]``.
        empty: The metric without any heads, ``[n]``.
        full: The metric with all of them, ``[n]``.
    """
    # The gap beside the sets, added up as they are: F of all heads is 1 to the last bit.
    columns = np.column_stack([found, full]) - np.asarray(empty)[:, None]
    means = columns.astype(np.float64).mean(0)
    return np.asarray(means[:-1] / means[-1])


def areas(shares: ArrayLike, *, log: bool = False) -> Quantities:
    """Return the function from curves to CPR and CMD, the areas of F and of |1 − F|, ``[…, 2]``.

    By trapezoids over the points of the curve. Over the share of heads itself from 0 to 1, or over
    its logarithm from the least share above 0, scaled to a width of 1: of a set that is as the
    whole model from its first head on CPR is 1 and CMD 0 there, and nearly so over the share.

    Args:
        shares: The share of heads in each set, ascending, ``[K]``; the last is 1.
        log: Whether the axis is logarithmic.

    Raises:
        ValueError: When `log` and there is no share between 0 and 1.
    """
    x = np.asarray(shares, dtype=np.float64)
    kept = x > 0 if log else np.full(len(x), True)
    x = x[kept]
    if log:
        if len(x) < 2:
            raise ValueError("a logarithmic axis needs a share between 0 and 1")
        x = 1 - np.log(x) / math.log(x[0])
    widths = np.diff(x)

    def measured(curves: Array) -> Array:
        values = curves[..., kept]

        def area(heights: Array) -> Array:
            return np.asarray(((heights[..., 1:] + heights[..., :-1]) / 2 * widths).sum(-1))

        return np.stack([area(values), area(np.abs(1 - values))], axis=-1)

    return measured


def estimate(
    found: ArrayLike,
    empty: ArrayLike,
    full: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    of: Quantities | None = None,
    floor: float = 0.0,
    seed: int = 0,
) -> Estimate:
    """Return F of K sets, or what is made of their curve, with intervals over templates.

    Whole templates are resampled, the same for all sets, and the curve is made anew of each
    resample: percentile intervals at the level that few clusters take (Hesterberg 2015), and a
    band for all values together (sup-t: the largest standardised distance of a resample). With
    fewer than 8 clusters, by the jackknife and Student's t, without a band.

    Args:
        found: The metric of each pair under each set, ``[n, K]``.
        empty: The metric without any heads, ``[n]``.
        full: The metric with all of them, ``[n]``.
        clusters: Per pair the template it comes from; None makes each pair its own.
        of: From curves to what is to be estimated; F itself by default.
        floor: The least ``|mean(full) − mean(empty)|`` that is a denominator, in the metric's
            unit.
        seed: Of the resamples.
    """
    none = np.asarray(empty, dtype=np.float64)
    gains = np.asarray(found, dtype=np.float64) - none[:, None]
    gaps = np.asarray(full, dtype=np.float64) - none
    of = of or (lambda curves: curves)
    if abs(gap := float(gaps.mean())) < floor or not gap:
        said = f"the gap between all heads and none, {gap:.2g}, is below {floor:g}"
        return Estimate(None, why=said)
    labels = np.unique(range(len(gaps)) if clusters is None else clusters, return_inverse=True)[1]
    count = int(labels.max()) + 1
    sums = np.zeros((count, gains.shape[1] + 2))
    # Beside the sums of each set those of the gap and the number of pairs.
    np.add.at(sums, labels, np.column_stack([gains, gaps, np.ones(len(gaps))]))
    values = of(_curves(sums.sum(0)))
    if count < 2:
        return Estimate(values, why="fewer than 2 templates: no interval")
    if count < FEWEST:
        parts, alpha = sums.sum(0) - sums, 0.0
    else:
        rng, alpha = np.random.default_rng(seed), (1 - expanded_level(count)) / 2
        parts = rng.multinomial(count, np.full(count, 1 / count), BOOTSTRAPS) @ sums
    # Of these F is undefined; where they are more than a tail, so are the ends.
    small = np.abs(parts[:, -2] / parts[:, -1]) <= floor
    if small.mean() > alpha:
        said = f"without some templates the gap is below {floor:g}: no interval"
        return Estimate(values, why=said)
    made = of(_curves(parts[~small]))
    if count < FEWEST:
        return Estimate(values, _jackknife(made, values), why="fewer than 8 templates: no band")
    ends = np.quantile(made, [alpha, 1 - alpha], axis=0)
    return Estimate(values, ends, _band(made, values, 1 - 2 * alpha))


def _curves(sums: Array) -> Array:
    """Return F of sums ``[…, K + 2]``, ``[…, K]``."""
    return np.asarray(sums[..., :-2] / sums[..., -2:-1])


def _jackknife(rest: Array, values: Array) -> Array:
    """Return the ends of intervals from the values without one of the clusters each."""
    count = len(rest)
    error = np.sqrt((count - 1) / count * ((rest - rest.mean(0)) ** 2).sum(0))
    reach = student_quantile(0.975, count - 1) * error
    return np.stack([values - reach, values + reach])


def _band(made: Array, values: Array, level: float) -> Array:
    """Return a band around values that as many resamples stay within altogether."""
    spread = made.std(0)
    moved = spread > FLOAT_NOISE
    reach = np.zeros_like(spread)
    if moved.any():
        furthest = (np.abs(made - values)[:, moved] / spread[moved]).max(1)
        reach[moved] = np.quantile(furthest, level) * spread[moved]
    return np.stack([values - reach, values + reach])
