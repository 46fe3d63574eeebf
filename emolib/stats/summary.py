"""Statistics of per-prompt effects: mean, SD, d_z, cluster-bootstrap CI, split-half reliability."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.stats.bootstrap import bca_interval, normal_tail, student_quantile, t_interval
from emolib.stats.noise import FLOAT_NOISE

SPLITS = 100
RELIABLE = 0.8
# An interval between resampled means stays within the range of the C means, which holds what they
# scatter around in 1 − 2 / 2^C of all samples. At 6 it holds it in 92 %, Student's t in 94 %.
FEWEST = 8


def summarize(
    values: ArrayLike, clusters: Sequence[str] | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Return the summary of one effect over prompts (or pairs).

    ``d_z = mean / SD`` and ``g_z = d_z · (1 − 3 / (4(n − 1) − 1))``; both are None, with the
    reason under ``why``, where SD ≈ 0 or n < 2. The 95 % CI is a BCa bootstrap over clusters
    (templates), 10,000 resamples (Efron 1987), its ends moved out as far as Student's t is wider
    than the normal (Hesterberg 2015): with 16 templates BCa alone holds the mean in 92 %. With
    fewer than 8 clusters it is Student's t interval.

    Args:
        values: Effects, shape ``[n]``, in any unit.
        clusters: Per value the template it comes from; None makes each value its own cluster.
        seed: Of the bootstrap.

    Returns:
        ``mean``, ``ci`` (low, high) or None, ``n``, ``sd``, ``d_z``, ``g_z`` and, where one is
        None, ``why``.

    Raises:
        ValueError: When `values` is empty, not one-dimensional, not finite, or `clusters` has
            another length.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"expected values of shape [n], n >= 1, got shape {list(x.shape)}")
    if bad := int((~np.isfinite(x)).sum()):
        raise ValueError(f"expected finite values, got {bad} of {len(x)} that are not")
    if clusters is not None and len(clusters) != len(x):
        raise ValueError(f"expected one cluster for each of {len(x)} values, got {len(clusters)}")
    mean, n = float(x.mean()), len(x)
    sd = float(x.std(ddof=1)) if n > 1 else 0.0
    summary: dict[str, Any] = {"mean": mean, "ci": None, "n": n, "sd": sd, "d_z": None, "g_z": None}
    if n < 2:
        return summary | {"why": "n < 2"}
    if sd <= FLOAT_NOISE * max(1.0, abs(mean)):
        return summary | {"ci": [mean, mean], "why": "SD ≈ 0"}
    d_z = mean / sd
    summary |= {"d_z": d_z, "g_z": d_z * (1 - 3 / (4 * (n - 1) - 1))}
    interval = _interval(x, clusters, seed)
    return summary | (
        {"ci": interval} if interval else {"why": "fewer than 2 clusters that differ: no CI"}
    )


def studentized(
    values: ArrayLike, clusters: Sequence[str] | None = None, *, seed: int = 0
) -> list[float] | None:
    """Return the symmetric bootstrap-t interval of a mean, 95 %, beside the BCa of `summarize`.

    Of the same resamples of clusters; the mean stands in its middle. It is the wider one where
    tails are heavy, and no better where all is skewed one way (docs/science.md, "Measured
    reliability").

    Args:
        values: Effects, shape ``[n]``, in any unit.
        clusters: Per value the template it comes from; None makes each value its own cluster.
        seed: Of the bootstrap.

    Returns:
        Its ends; Student's t interval with fewer than 8 clusters; the mean itself where SD is
        float noise; None where fewer than 2 clusters differ, or resamples mostly do not.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2 or float(x.std(ddof=1)) <= FLOAT_NOISE * max(1.0, abs(float(x.mean()))):
        return [float(x.mean())] * 2 if len(x) > 1 else None
    ends = _interval(x, clusters, seed, _bootstrap_t)
    return ends if ends and math.isfinite(ends[1]) else None


def _bootstrap_t(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> list[float]:
    return t_interval(sums, sizes, level=0.95, seed=seed)


def _bca(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> list[float]:
    return bca_interval(sums, sizes, level=expanded_level(len(sums)), seed=seed)


def _interval(
    x: NDArray[np.float64],
    clusters: Sequence[str] | None,
    seed: int,
    bootstrap: Callable[[NDArray[np.float64], NDArray[np.float64], int], list[float]] = _bca,
) -> list[float] | None:
    labels = _labels(len(x), None if clusters is None else tuple(clusters))
    sums = np.bincount(labels, weights=x).astype(np.float64)
    sizes = np.bincount(labels).astype(np.float64)
    # One cluster, or several of the same mean: every resample is the sample, which is no width.
    if np.ptp(sums / sizes) <= FLOAT_NOISE * max(1.0, abs(float(x.mean()))):
        return None
    if len(sums) < FEWEST:
        return _t_interval(sums, sizes)
    return bootstrap(sums, sizes, seed)


@lru_cache(maxsize=16)
def _labels(count: int, clusters: tuple[str, ...] | None) -> NDArray[np.int64]:
    """Return the number of each value's cluster; all metrics of a study ask for the same."""
    # Of whatever is unique where each value is its own.
    labels = np.unique(range(count) if clusters is None else clusters, return_inverse=True)[1]
    labels.flags.writeable = False
    return labels


@cache
def expanded_level(clusters: int) -> float:
    """Return the nominal level at which a bootstrap over so few clusters has the level 95 %.

    Resamples scatter as a normal of variance (C − 1) / C of the true one does; an interval of 95 %
    takes Student's t of the full one. Hesterberg (2015), "What teachers should know about the
    bootstrap", The American Statistician 69(4).
    """
    quantile = student_quantile(0.975, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    return 1 - 2 * normal_tail(quantile)


def _t_interval(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> list[float]:
    """Return Student's t interval of the ratio of sums to sizes, by its linear approximation."""
    count, mean = len(sums), sums.sum() / sizes.sum()
    error = math.sqrt(count / (count - 1)) * np.linalg.norm(sums - mean * sizes) / sizes.sum()
    reach = student_quantile(0.975, count - 1) * error
    return [float(mean - reach), float(mean + reach)]


def split_half(
    table: ArrayLike,
    *,
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> float | None:
    """Return the reliability of a ranking of heads, Spearman–Brown over random halves.

    Each of 100 random splits of the prompts ranks the heads twice; the mean rank correlation ρ
    of the halves is stepped up to the full length, ``2ρ / (1 + ρ)``.

    Args:
        table: Effects, shape ``[n_prompts, n_heads]``.
        score: From the effects of half the prompts, ``[m, n_heads]``, to ``[n_heads]`` scores;
            the absolute mean by default.
        seed: Of the splits.

    Returns:
        In [−1, 1], or None where a half ranks nothing (fewer than 4 prompts, 2 heads, all ties).
    """
    x = np.asarray(table, dtype=np.float64)
    if x.shape[0] < 4 or x.shape[1] < 2:
        return None
    score = score or (lambda half: np.abs(half.mean(0)))
    rng = np.random.default_rng(seed)
    correlations = []
    for _ in range(SPLITS):
        order = rng.permutation(len(x))
        halves = order[: len(x) // 2], order[len(x) // 2 :]
        rho = rank_correlation(score(x[halves[0]]), score(x[halves[1]]))
        if rho is None:
            return None
        correlations.append(rho)
    rho = float(np.mean(correlations))
    # Below −1/3 the step up leaves the range of a correlation, towards −∞ at −1.
    return 2 * rho / (1 + rho) if rho > -1 / 3 else -1.0


def two_halves(count: int, clusters: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return 0 or 1 per value: which half it is in, one template here and the next one there.

    Values of one template stay together, so that a half is held out of what the other decides;
    with a single template, or none, they alternate.

    Args:
        count: Number of values.
        clusters: Per value the template it comes from.
    """
    order = {name: index for index, name in enumerate(dict.fromkeys(clusters or ()))}
    if clusters is None or len(order) < 2:
        return np.arange(count) % 2
    return np.array([order[name] % 2 for name in clusters])


ENOUGH = 0.8
"""F from which heads are a circuit."""


def unreliable(reliability: float | None) -> str:
    """Return why a ranking is not to be shown as one, empty when it may be."""
    if reliability is None:
        return "no reliability: too few pairs"
    return "" if reliability >= RELIABLE else f"reliability {reliability:.2f} < {RELIABLE}"


def rank_correlation(left: ArrayLike, right: ArrayLike) -> float | None:
    """Return Spearman's rank correlation, or None where either side ties throughout."""
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[1, 0])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1; values that tie share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places])
