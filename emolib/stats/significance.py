"""Whether an effect is more than chance: sign flips, Benjamini–Hochberg, max-T, and their reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.stats.noise import FLOAT_NOISE

FLIPS = 20_000
LEVEL = 0.05
_AT_ONCE = 1_000
# Flipped means that differ by float noise alone are as large as the mean.
_TIE = 1e-9


def sign_flip(
    values: ArrayLike, clusters: Sequence[str] | None = None, *, flips: int = FLIPS, seed: int = 0
) -> NDArray[np.float64]:
    """Return two-sided p values of means against 0, ``(1 + #{|mean*| ≥ |mean|}) / (B + 1)``.

    Each of B draws turns the signs of whole clusters around, the same for every head, which
    keeps the heads' dependence on each other. Pairs of one template share its sign: flipped one
    by one they would count as independent. The null is that effects are as likely to be x as −x,
    as those of a difference are whose labels mean nothing; of effects all skewed one way more
    than 5 % are below 0.05.

    Args:
        values: Effects, shape ``[n]`` or ``[n, H]``, in any unit. A head of no more than 1e-6 on
            every pair has p = 1: that is float noise, and of one sign as easily as not.
        clusters: Per pair the template it comes from; None makes each pair its own.
        flips: B.
        seed: Of the flips.

    Returns:
        Shape ``[H]`` (``[1]`` for one vector). With C clusters no p is below ``2 / 2**C``.

    Raises:
        ValueError: When `values` is empty or `clusters` has another length.
    """
    scaled = _scaled(values, clusters)
    least = _least(scaled)
    count = np.zeros(scaled.shape[1])
    for drawn in _flipped(scaled, flips, seed):
        count += (drawn >= least).sum(0)
    return np.asarray((1 + count) / (flips + 1))


class Tested(NamedTuple):
    """What one set of flips says of each head.

    Attributes:
        p: Of each head by itself, as `sign_flip` gives it.
        family: max-T: the chance that any head of the family would be as extreme were none real.
    """

    p: NDArray[np.float64]
    family: NDArray[np.float64]


def max_t(
    values: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    flips: int = FLIPS,
    seed: int = 0,
    step_down: bool = True,
) -> Tested:
    """Return p values and those that hold for the whole family, from the same flips.

    Westfall and Young's max-T: in each draw the largest |t| of any head is what a head's |t| has
    to match, so that the chance of one false discovery or more is at most the level, however the
    heads depend on each other. t is the mean over its standard error across clusters, anew in
    each draw, so that a head with a small SD is not outshone by one with a large one.

    Args:
        values: As in `sign_flip`.
        clusters: As in `sign_flip`.
        flips: B.
        seed: Of the flips; the p values are those of `sign_flip` with it.
        step_down: Compare each head with those of no larger |t| alone, as Holm does over
            Bonferroni: never larger, and the strongest head's is the same.

    Returns:
        Both of shape ``[H]``; ``family`` is never below ``p``.

    Raises:
        ValueError: When `values` is empty or `clusters` has another length.
    """
    scaled = _scaled(values, clusters)
    order = np.argsort(-np.abs(scaled.sum(0)), kind="stable")
    scaled = scaled[:, order]
    least = _least(scaled)
    single, family = np.zeros(len(order)), np.zeros(len(order))
    for drawn in _flipped(scaled, flips, seed):
        single += (drawn >= least).sum(0)
        if step_down:
            largest = np.maximum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
        else:
            largest = drawn.max(1, keepdims=True)
        family += (largest >= least).sum(0)
    back = np.argsort(order)
    adjusted = np.maximum.accumulate((1 + family) / (flips + 1))
    return Tested(((1 + single) / (flips + 1))[back], adjusted[back])


def _scaled(values: ArrayLike, clusters: Sequence[str] | None) -> NDArray[np.float64]:
    """Return sums of clusters ``[C, H]``, each head's of length 1, or 0 where it is float noise.

    A flip leaves the length of a head's sums as it is. With the length 1, their total T therefore
    grows with the mean of the head and with its t alike, ``t = T √((C − 1) / (C − T²))``.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size:
        raise ValueError(f"expected values of shape [n] or [n, H], got {list(np.shape(values))}")
    if clusters is not None and len(clusters) != len(x):
        raise ValueError(f"expected one cluster for each of {len(x)} values, got {len(clusters)}")
    _, labels = np.unique(clusters if clusters is not None else range(len(x)), return_inverse=True)
    sums = np.zeros((labels.max() + 1, x.shape[1]))
    np.add.at(sums, labels, x)
    # Sums that cancel within every template are noise of the summing.
    sums[:, np.abs(x).max(0) <= FLOAT_NOISE] = 0.0
    sums[:, np.abs(sums).max(0) <= _TIE * np.abs(x).sum(0)] = 0.0
    length = np.linalg.norm(sums, axis=0)
    return np.asarray(np.divide(sums, length, out=np.zeros_like(sums), where=length > 0))


def _least(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return per head how large a flipped |T| has to be to be as large as what was found."""
    return np.asarray(np.abs(scaled.sum(0)) - _TIE * np.abs(scaled).sum(0))


def _flipped(scaled: NDArray[np.float64], flips: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield |T| of every head under flips, in parts of shape ``[≤ 1000, H]``."""
    rng = np.random.default_rng(seed)
    for start in range(0, flips, _AT_ONCE):
        signs = rng.integers(0, 2, (min(_AT_ONCE, flips - start), len(scaled))) * 2.0 - 1
        yield np.abs(signs @ scaled)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Return q values: the false discovery rate at which each p would just be a discovery."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    count = len(values)
    # Each p times the number of tests over its rank, or what the next larger one comes to.
    stepped = values[order] * (count / np.arange(1.0, count + 1))
    stepped = np.minimum.accumulate(stepped[::-1])[::-1]
    q = np.empty(count)
    q[order] = np.clip(stepped, 0.0, 1.0)
    return q


@dataclass(frozen=True)
class Reach:
    """Whether a design can find anything at all, whatever the effects are.

    Attributes:
        least: The least p that flips can give, the larger of ``2 / 2**C`` and ``1 / (B + 1)``.
        together: How many tests have to be at the least p together before Benjamini–Hochberg can
            reject them; 1 where one effect can be found by itself, None where none ever can. Of
            max-T, which goes by the size of t, one is enough wherever this is not None.
        why: A sentence on what cannot be found and what would help, empty where `together` is 1.
    """

    least: float
    together: int | None
    why: str


def reach(
    clusters: int,
    tests: int,
    *,
    flips: int = FLIPS,
    level: float = LEVEL,
    of: str = "templates",
) -> Reach:
    """Return whether sign flips can find anything in a table of this size.

    Args:
        clusters: Number of clusters, C.
        tests: Number of rows of the table.
        flips: B.
        level: Of p, q and max-T.
        of: What the clusters are, for the sentence.
    """
    exact, drawn = 2.0 ** (1 - clusters), 1 / (flips + 1)
    least = max(exact, drawn)
    # Rounded: what is a whole number may come out a float above it.
    together = math.ceil(round(least * tests / level, 9))
    if together <= 1:
        return Reach(least, 1, "")
    few = exact > level / tests
    design = f"{clusters} {of if clusters != 1 else of.removesuffix('s')}"
    design += f" and {tests} tests" if tests > 1 else ""
    said = f"2/2^{clusters}" if least == exact else f"1/{flips + 1}"
    start = f"{design}: the least possible p is {said} = {least:.2g}"
    alone = [f"{_clusters_for(level / tests)} {of}"] * few
    alone += [f"{math.ceil(round(tests / level, 9)) - 1} flips"] * (drawn > level / tests)
    one = f"for one of {tests} alone {' and '.join(alone)}"
    if least > level:
        needed = [f"{_clusters_for(level)} {of}"] * (exact > level)
        needed += [f"{math.ceil(round(1 / level, 9)) - 1} flips"] * (drawn > level)
        takes = " and ".join(needed) + (f", {one}" if tests > 1 else "")
        why = f"nothing can be significant at {level} (it takes {takes})"
        return Reach(least, None, f"{start}, so {why}")
    why = f"q ≤ {level} only where at least {together} tests reach it together ({one})"
    return Reach(least, together, f"{start}, so {why}; max-T may still find one")


def _clusters_for(p: float) -> int:
    """Return the least number of clusters whose flips can give a p."""
    return 1 + math.ceil(round(math.log2(1 / p), 9))
