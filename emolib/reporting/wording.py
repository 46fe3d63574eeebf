"""Figures, intervals and lists as they stand in a sentence: as exact as they are known to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from emolib.results.rows import Row

_WORDS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
_NAMED = 6


class Estimate(NamedTuple):
    """A mean and its 95 % confidence interval, None where there is none."""

    mean: float
    ci: tuple[float, float] | None = None

    @property
    def holds_zero(self) -> bool:
        """Whether it may be nothing: its interval holds 0, or there is no interval."""
        return self.ci is None or self.ci[0] <= 0 <= self.ci[1]

    def __str__(self) -> str:
        """Return it with as many decimals as its interval gives meaning to."""
        if self.ci is None:
            return figure(self.mean)
        width = (self.ci[1] - self.ci[0]) / 3
        decimals = min(3, max(1, math.ceil(-math.log10(width)))) if width > 0 else None
        low, high = (figure(end, decimals) for end in self.ci)
        return f"{figure(self.mean, decimals)} [{low}, {high}]"


def estimate(row: Row, metric: str) -> Estimate | None:
    """Return a metric of a row with its interval, None where it has no value."""
    mean = row.mean(metric)
    return None if mean is None else Estimate(mean, row.interval(metric))


def figure(value: float, decimals: int | None = None) -> str:
    """Return a number with a minus sign that is one, to three digits by default.

    >>> figure(-13.137), figure(0.0), figure(0.04321), figure(-0.0004, 1), figure(250.0)
    ('−13.1', '0', '0.043', '0.0', '250')
    """
    if decimals is None:
        whole_number = value == int(value)
        digits = 0 if whole_number else 2 - math.floor(math.log10(abs(value)))
        decimals = min(3, max(0, digits))
    text = f"{value:.{decimals}f}"
    if not text.strip("-0."):
        # What rounds to nothing has no sign.
        return text.lstrip("-")
    return text.replace("-", "−")


def percent(values: Iterable[float]) -> str:
    """Return shares as a percentage, or as the span of several.

    >>> percent([0.274, 0.501]), percent([0.5, 0.503]), percent([0.0042])
    ('27–50 %', '50 %', '0.4 %')
    """
    found = [100 * value for value in values]
    return f"{_between(_rounded(min(found)), _rounded(max(found)))} %"


def _between(low: str, high: str) -> str:
    """Return two figures as a span; a minus between them and a dash could not be told apart."""
    if low == high:
        return low
    return f"{low} to {high}" if "−" in low else f"{low}–{high}"


def _rounded(value: float) -> str:
    return figure(value, 0 if abs(value) >= 1 or value == 0 else 1)


def span(values: Iterable[float], decimals: int = 2) -> str:
    """Return numbers without an interval of their own as the span from the least to the largest.

    >>> span([0.9, 0.99]), span([0.5]), span([-0.2, 0.61], 1)
    ('0.90–0.99', '0.50', '−0.2 to 0.6')
    """
    found = list(values)
    return _between(figure(min(found), decimals), figure(max(found), decimals))


def whole(values: Iterable[float]) -> str:
    """Return counts as one or as the span from the least to the largest.

    >>> whole([4, 14.0]), whole([3, 3])
    ('4–14', '3')
    """
    found = list(values)
    return _between(str(int(min(found))), str(int(max(found))))


def spread(found: Mapping[str, Estimate]) -> str:
    """Return an estimate, or of several the least and the largest with what they are of.

    Least and largest in size where all have one sign, else from the most negative on.

    Args:
        found: By what it is of the estimate, at least one.
    """
    one_sign = len({value.mean > 0 for value in found.values()}) == 1
    ranked = sorted(found, key=lambda n: abs(found[n].mean) if one_sign else found[n].mean)
    first, last = ranked[0], ranked[-1]
    if first == last:
        return str(found[first])
    return f"{found[first]} ({first}) to {found[last]} ({last})"


def listed(names: Iterable[str], most: int = _NAMED) -> str:
    """Return names as a list in a sentence, those beyond the first few as their number.

    >>> listed("ab"), listed("abc"), listed("abcd", 2)
    ('a and b', 'a, b and c', 'a, b and 2 more')
    """
    every = list(names)
    shown = every[:most] + ([f"{len(every) - most} more"] if len(every) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun.

    >>> counted(1, "head"), counted(3, "study", "studies"), counted(20, "head")
    ('one head', 'three studies', '20 heads')
    """
    number = _WORDS[count] if count < len(_WORDS) else str(count)
    return f"{number} {noun if count == 1 else plural or noun + 's'}"


def in_all(names: Sequence[str], noun: str) -> str:
    """Return in which they all are: the one by name, several by their number.

    >>> in_all(["gpt2"], "model"), in_all(["a", "b"], "model"), in_all(["a", "b", "c"], "model")
    ('in gpt2', 'in both models', 'in all three models')
    """
    if len(names) == 1:
        return f"in {names[0]}"
    return f"in both {noun}s" if len(names) == 2 else f"in all {counted(len(names), noun)}"
