"""Bootstraps of a ratio of sums over clusters, with draws that metrics share.

BCa (Efron 1987) has the numbers of `scipy.stats.bootstrap`, to the last bit. That one draws anew
for every metric, and takes half a second to load; here the resamples of one number of clusters and
one seed are drawn once, and what the sizes of the clusters come to in each of them is summed once.
Beside it the symmetric bootstrap-t (Hall 1988), of the same resamples.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 10_000
Vector = NDArray[np.float64]
# Resamples are 80 KB a cluster; a run has prompts of one or two kinds at a time.
_KEPT = 4
# Of the error, below which that of a resample is rounding.
_SAME = 1e-6


def _special() -> Any:
    # Not above: modules that read summaries, and make none, import this one.
    from scipy import special

    return special


def student_quantile(level: float, freedom: int) -> float:
    """Return the quantile of Student's t at a level in (0, 1)."""
    return float(_special().stdtrit(freedom, level))


def normal_tail(quantile: float) -> float:
    """Return the probability that a standard normal is above a quantile."""
    return float(_special().ndtr(-quantile))


def bca_interval(sums: Vector, sizes: Vector, *, level: float, seed: int) -> list[float]:
    """Return the interval of ``sum(sums) / sum(sizes)``, resampling the C clusters.

    Where BCa is undefined, since the resampled ratios tie with the ratio (few distinct clusters),
    it is the percentile interval.

    Args:
        sums: Of each cluster's values, shape ``[C]``.
        sizes: How many values each has, shape ``[C]``.
        level: In (0, 1).
        seed: Of the resamples.

    Returns:
        Its ends, low and high.
    """
    design = len(sums), seed, BOOTSTRAPS
    ratios = sums[_drawn(*design)].sum(axis=-1) / _sizes(*design, sizes.tobytes())
    ratios.sort()
    alpha = (1 - level) / 2
    # Undefined is NaN or an infinity on the way, and shows in what comes out.
    with np.errstate(all="ignore"):
        ends = _quantiles(ratios, _corrected(ratios, sums, sizes, alpha))
    if not np.isfinite(ends).all():
        ends = _quantiles(ratios, np.array([alpha, 1 - alpha]))
    return [float(end) for end in ends]


def t_interval(sums: Vector, sizes: Vector, *, level: float, seed: int) -> list[float]:
    """Return the symmetric bootstrap-t interval of ``sum(sums) / sum(sizes)`` over the C clusters.

    ``θ ± q · se``, q the quantile of ``|θ* − θ| / se*`` over the resamples, each with a standard
    error of its own, by the linear approximation of the ratio (Hall 1988, "On symmetric bootstrap
    confidence intervals", JRSS B 50). A resample whose clusters are all alike has no error, and
    counts as infinitely far.

    Args:
        sums: Of each cluster's values, shape ``[C]``.
        sizes: How many values each has, shape ``[C]``.
        level: In (0, 1).
        seed: Of the resamples, those of `bca_interval`.

    Returns:
        Its ends, low and high; infinite where too many resamples have no error.
    """
    design = len(sums), seed, BOOTSTRAPS
    ratio = sums.sum() / sizes.sum()
    # What is left of the sums has the ratio 0.
    rest = sums - ratio * sizes
    parts = np.column_stack([rest, sizes, rest**2, rest * sizes, sizes**2])
    written, total, of_rest, of_both, of_sizes = (_counts(*design) @ parts).T
    ratios = written / total
    squares = of_rest - 2 * ratios * of_both + ratios**2 * of_sizes
    error, length = np.linalg.norm(rest) / sizes.sum(), np.sqrt(np.maximum(squares, 0)) / total
    known = length > _SAME * error
    far = np.full(len(ratios), np.inf)
    far[known] = np.abs(ratios[known]) / length[known]
    # The factor √(C / (C − 1)) of both errors is the same.
    place = min(int(np.ceil(level * (len(far) + 1))), len(far)) - 1
    reach = float(np.partition(far, place)[place] * error)
    return [float(ratio) - reach, float(ratio) + reach]


@lru_cache(maxsize=_KEPT)
def _drawn(count: int, seed: int, resamples: int) -> NDArray[np.int64]:
    """Return the clusters of each resample, shape ``[resamples, count]``."""
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    drawn.flags.writeable = False
    return drawn


@lru_cache(maxsize=_KEPT)
def _counts(count: int, seed: int, resamples: int) -> Vector:
    """Return how often each cluster is in each resample, shape ``[resamples, count]``."""
    places = _drawn(count, seed, resamples) + count * np.arange(resamples)[:, None]
    times = np.bincount(places.ravel(), minlength=count * resamples).astype(np.float64)
    times.flags.writeable = False
    return times.reshape(resamples, count)


@lru_cache(maxsize=_KEPT)
def _sizes(count: int, seed: int, resamples: int, sizes: bytes) -> Vector:
    """Return how many values each resample has; the sizes come as bytes, to be told apart by."""
    drawn = np.frombuffer(sizes)[_drawn(count, seed, resamples)]
    total: Vector = drawn.sum(axis=-1)
    total.flags.writeable = False
    return total


def _corrected(ratios: Vector, sums: Vector, sizes: Vector, alpha: float) -> Vector:
    """Return the two quantiles to take of sorted resampled ratios, shape ``[2]``."""
    special = _special()
    found, count = np.array([sums.sum(axis=-1) / sizes.sum(axis=-1)]), len(sums)
    below = np.searchsorted(ratios, found, "left") + np.searchsorted(ratios, found, "right")
    bias = special.ndtri(below / (2 * len(ratios)))
    # Each ratio without one of the clusters.
    rest = np.broadcast_to(np.arange(count), (count, count))[~np.eye(count, dtype=bool)]
    rest = rest.reshape(count, count - 1)
    jackknife = sums[rest].sum(axis=-1) / sizes[rest].sum(axis=-1)
    steps = (count - 1) * (jackknife.mean(axis=-1, keepdims=True) - jackknife)
    cubes, squares = (steps**3).sum(axis=-1) / count**3, (steps**2).sum(axis=-1) / count**2
    skew = 1 / 6 * cubes / squares ** (3 / 2)
    reach = float(special.ndtri(alpha))
    ends = [bias + reach, bias - reach]
    return np.concatenate([special.ndtr(bias + end / (1 - skew * end)) for end in ends])


def _quantiles(ordered: Vector, levels: Vector) -> Vector:
    """Return quantiles of sorted values, between two of them in proportion; NaN at level NaN."""
    count = len(ordered)
    known = np.where(np.isnan(levels), 0.5, levels)
    place = known * count + (1 - known)
    part, after = place % 1, place // 1
    part[after - 1 < 0] = 0
    low = ordered[np.clip(after - 1, 0, count - 1).astype(np.int64)]
    high = ordered[np.clip(after, 0, count - 1).astype(np.int64)]
    return np.where(np.isnan(levels), np.nan, (1 - part) * low + part * high)
