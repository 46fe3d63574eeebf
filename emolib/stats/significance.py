"""Whether an effect is more than chance: sign flips, Benjamini–Hochberg, max-T, and their reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.stats.noise import FLOAT_NOISE

Array = NDArray[np.float64]
FLIPS = 20_000
ENUMERATED = 2**18
"""Patterns of signs that are counted out one by one; of more, as many as `FLIPS` are drawn."""
LEVEL = 0.05
_AT_ONCE = 1_000
# Values under flips that are counted out together, and the least flips.
_PART, _LEAST_PART = 2**14, 2**8
# Flipped means that differ by float noise alone are as large as the mean.
_TIE = 1e-9
# Of C · SD² of sums of length 1, below which they are all alike.
_CONSTANT = 1e-8
# Of Hall's t, over the 3/2th power of C · SD².
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Flips:
    """How signs of clusters are flipped: every pattern once, or patterns drawn at random.

    Attributes:
        clusters: How many clusters, C.
        draws: B where they are drawn.
        seed: Of the draws.
        exact_up_to: Up to how many patterns each is taken once.
    """

    clusters: int
    draws: int = FLIPS
    seed: int = 0
    exact_up_to: int = ENUMERATED

    @property
    def every(self) -> bool:
        """Whether every pattern is taken."""
        return bool(2**self.clusters <= self.exact_up_to)

    def signs(self, heads: int = 1) -> Iterator[Array]:
        """Yield signs in parts, ``[flips, C]``.

        Of a pattern and its opposite, which have the same |mean| and |t|, one stands for both
        where every pattern is taken.

        Args:
            heads: How many heads will be flipped, by which parts that are counted out are as large
                as stays near the processor.
        """
        if not self.every:
            rng = np.random.default_rng(self.seed)
            for start in range(0, self.draws, _AT_ONCE):
                size = min(_AT_ONCE, self.draws - start), self.clusters
                yield 2 * rng.integers(0, 2, size).astype(np.float64) - 1
            return
        places, part = np.arange(self.clusters - 1), max(_LEAST_PART, _PART // heads)
        for start in range(0, 2 ** len(places), part):
            numbers = np.arange(start, min(start + part, 2 ** len(places)))
            flipped = (numbers[:, None] >> places & 1) * 2.0 - 1
            yield np.asarray(np.column_stack([np.ones(len(numbers)), flipped]), dtype=np.float64)

    def p(self, count: Array) -> Array:
        """Return p of how many patterns were as extreme, each of a pair that stands for both."""
        if self.every:
            return np.asarray(count / 2 ** (self.clusters - 1))
        return np.asarray((1 + count) / (self.draws + 1))


def sign_flip(
    values: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    flips: int = FLIPS,
    seed: int = 0,
    exact_up_to: int = ENUMERATED,
) -> Array:
    """Return two-sided p values of means against 0, by the signs of clusters turned around.

    Signs turn for whole clusters, the same for every head, which keeps the heads' dependence on
    each other. Pairs of one template share its sign: flipped one by one they would count as
    independent. Of C clusters there are 2^C patterns. Up to `exact_up_to` of them, all are counted
    out and p is exact, ``#{|mean*| ≥ |mean|} / 2^C``; of more, B are drawn and ``p = (1 +
    #{|mean*| ≥ |mean|}) / (B + 1)``. The null is that effects are as likely to be x as −x, as those
    of a difference are whose labels mean nothing; of effects all skewed one way more than 5 % are
    below 0.05.

    Args:
        values: Effects, shape ``[n]`` or ``[n, H]``, in any unit. A head of no more than 1e-6 on
            every pair has p = 1: that is float noise, and of one sign as easily as not.
        clusters: Per pair the template it comes from; None makes each pair its own.
        flips: B.
        seed: Of the draws.
        exact_up_to: The most patterns that are counted out.

    Returns:
        Shape ``[H]`` (``[1]`` for one vector). With C clusters no p is below ``2 / 2**C``.

    Raises:
        ValueError: When `values` is empty or `clusters` has another length.
    """
    scaled = _scaled(values, clusters)
    least = _least(scaled)
    count = np.zeros(scaled.shape[1])
    drawn = Flips(len(scaled), flips, seed, exact_up_to)
    for signs in drawn.signs(len(least)):
        count += (np.abs(signs @ scaled) >= least).sum(0)
    return drawn.p(count)


class Tested(NamedTuple):
    """What one set of flips says of each head.

    Attributes:
        p: Of each head by itself, as `sign_flip` gives it.
        family: max-T: the chance that any head of the family would be as extreme were none real.
        hall: The same by Hall's t, which counts the skewness of each head in.
    """

    p: Array
    family: Array
    hall: Array


def max_t(
    values: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    flips: int = FLIPS,
    seed: int = 0,
    exact_up_to: int = ENUMERATED,
    step_down: bool = True,
) -> Tested:
    """Return p values and those that hold for the whole family, from the same flips.

    Westfall and Young's max-T: in each flip the largest |t| of any head is what a head's |t| has
    to match, so that the chance of one false discovery or more is at most the level, however the
    heads depend on each other. t is the mean over its standard error across clusters, anew in
    each flip, so that a head with a small SD is not outshone by one with a large one.

    Of effects that are skewed, t is far out on one side more often than flips show, which turn the
    skewness around. `hall` takes Hall's transformed t in place of it, ``√C · (S + γS²/3 + γ²S³/27 +
    γ/(6C))`` with S the mean over the SD and γ the skewness of the C clusters, anew in each flip
    (Hall 1992, "On the removal of skewness by transformation", JRSS B 54). It has fewer false
    discoveries there, and less power; how many is in docs/science.md, "Measured reliability".

    Args:
        values: As in `sign_flip`.
        clusters: As in `sign_flip`.
        flips: B.
        seed: Of the draws; the p values are those of `sign_flip` with it.
        exact_up_to: As in `sign_flip`.
        step_down: Compare each head with those of no larger |t| alone, as Holm does over
            Bonferroni: never larger, and the strongest head's is the same.

    Returns:
        All of shape ``[H]``; ``family`` is never below ``p``.

    Raises:
        ValueError: When `values` is empty or `clusters` has another length.
    """
    scaled = _scaled(values, clusters)
    total, least = scaled.sum(0), _least(scaled)
    root = len(scaled) ** 0.5
    short, cubes = scaled.T / root, scaled.T**3 * root
    found = _hall_t(short.sum(1), cubes.sum(1), len(scaled))
    # The closer all sums are to each other, the more of their skewness is rounding. So close, no
    # pattern but one comes near.
    spread = np.maximum(1 - total**2 / len(scaled), _CONSTANT)
    noise = np.minimum(_TIE + _ROUNDING / spread**1.5, 0.5)
    by_t = _Family(np.abs(total), least, step_down)
    by_hall = _Family(found, np.where(np.isinf(found), found, found * (1 - noise)), step_down)
    single = np.zeros(len(least))
    drawn = Flips(len(scaled), flips, seed, exact_up_to)
    for signs in drawn.signs(len(least)):
        # Heads first: what is counted is counted head by head.
        by_hall.count(_hall_t(short @ signs.T, cubes @ signs.T, len(scaled)))
        totals = scaled.T @ signs.T
        totals = np.abs(totals, out=totals)
        single += np.count_nonzero(totals >= least[:, None], axis=1)
        by_t.count(totals)
    return Tested(drawn.p(single), by_t.p(drawn), by_hall.p(drawn))


class _Family:
    """Counts the flips in which the largest of the heads that are not stronger is as extreme."""

    def __init__(self, found: Array, least: Array, step_down: bool) -> None:
        # Strongest first.
        self._order = np.argsort(-found, kind="stable")
        self._least, self._step_down = least, step_down
        self._count = np.zeros(len(found))

    def count(self, flipped: Array) -> None:
        """See what heads come to under some flips, ``[H, flips]``."""
        largest = np.zeros(flipped.shape[1]) if self._step_down else flipped.max(0)
        # From the weakest on.
        for head in self._order[::-1]:
            if self._step_down:
                np.maximum(largest, flipped[head], out=largest)
            self._count[head] += np.count_nonzero(largest >= self._least[head])

    def p(self, drawn: Flips) -> Array:
        """Return the p of each head, never below that of a stronger one."""
        adjusted = np.maximum.accumulate(drawn.p(self._count[self._order]))
        return np.asarray(adjusted[np.argsort(self._order)])


def _hall_t(totals: Array, cubes: Array, count: int) -> Array:
    """Return |S + γS²/3 + γ²S³/27 + γ/(6C)| of C sums of length 1, infinite where all are alike.

    ``S = w / √(1 − w²)`` and ``γ = (c − w (3 − 2w²)) / (1 − w²)^{3/2}`` of the w and c below. In
    place, step by step: this is what flips take their time for.

    Args:
        totals: w, the totals of the sums under flips over √C, ``[…, H]``; written over.
        cubes: c, the totals of their cubes times √C; written over.
        count: C.
    """
    square = totals * totals
    rest = 1 - square
    alike = rest <= _CONSTANT
    if some := bool(alike.any()):
        rest[alike] = 1
    inverse = np.divide(1, np.sqrt(rest, out=rest), out=rest)
    skewness = cubes
    square *= 2
    square -= 3
    square *= totals
    skewness += square
    for _ in range(3):
        skewness *= inverse
    size = np.multiply(totals, inverse, out=totals)
    part = np.multiply(skewness, size, out=square)
    part *= 1 / 3
    found = np.multiply(part, 1 / 3, out=inverse)
    found += 1
    found *= part
    found += 1
    found *= size
    skewness *= 1 / (6 * count)
    found += skewness
    found = np.abs(found, out=found)
    if some:
        found[alike] = np.inf
    return np.asarray(found)


def _scaled(values: ArrayLike, clusters: Sequence[str] | None) -> Array:
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


def _least(scaled: Array) -> Array:
    """Return per head how large a flipped |T| has to be to be as large as what was found."""
    return np.asarray(np.abs(scaled.sum(0)) - _TIE * np.abs(scaled).sum(0))


def benjamini_hochberg(p: ArrayLike) -> Array:
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
    exact_up_to: int = ENUMERATED,
    level: float = LEVEL,
    of: str = "templates",
) -> Reach:
    """Return whether sign flips can find anything in a table of this size.

    Args:
        clusters: Number of clusters, C.
        tests: Number of rows of the table.
        flips: B.
        exact_up_to: As in `sign_flip`.
        level: Of p, q and max-T.
        of: What the clusters are, for the sentence.
    """
    exact, drawn = 2.0 ** (1 - clusters), 1 / (flips + 1)
    every = 2**clusters <= exact_up_to
    least = exact if every else max(exact, drawn)
    # Rounded: what is a whole number may come out a float above it.
    together = math.ceil(round(least * tests / level, 9))
    if together <= 1:
        return Reach(least, 1, "")

    def needed(p: float) -> str:
        more = _clusters_for(p)
        # Clusters whose patterns are counted out need no number of flips.
        counted = 2 ** max(clusters, more) <= exact_up_to
        takes = [f"{more} {of}"] * (exact > p)
        takes += [f"{math.ceil(round(1 / p, 9)) - 1} flips"] * (drawn > p and not counted)
        return " and ".join(takes)

    design = f"{clusters} {of if clusters != 1 else of.removesuffix('s')}"
    design += f" and {tests} tests" if tests > 1 else ""
    said = f"2/2^{clusters}" if least == exact else f"1/{flips + 1}"
    start = f"{design}: the least possible p is {said} = {least:.2g}"
    one = f"for one of {tests} alone {needed(level / tests)}"
    if least > level:
        takes = needed(level) + (f", {one}" if tests > 1 else "")
        why = f"nothing can be significant at {level} (it takes {takes})"
        return Reach(least, None, f"{start}, so {why}")
    why = f"q ≤ {level} only where at least {together} tests reach it together ({one})"
    return Reach(least, together, f"{start}, so {why}; max-T may still find one")


def _clusters_for(p: float) -> int:
    """Return the least number of clusters whose flips can give a p."""
    return 1 + math.ceil(round(math.log2(1 / p), 9))
