"""How many of those that were not looked at may exceed what a random sample of them showed."""

from __future__ import annotations

from bisect import bisect_left
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from math import comb
from typing import NamedTuple

LEVEL = 0.05
SHARE = 0.1


class Missed(NamedTuple):
    """What a random sample of the rest says of all of the rest.

    Attributes:
        most: At most so many of the rest exceed `tau`, K.
        rest: How many there are beside those that a ranking named, R.
        drawn: How many of them were drawn at random and looked at, m.
        tau: The largest size among those, τ.
        level: The chance that more of them do, α.
    """

    most: int
    rest: int
    drawn: int
    tau: float
    level: float = LEVEL

    def sentence(self, of: str = "heads", unit: str = "logits") -> str:
        """Return it as a sentence, `tau` rounded up.

        >>> print(Missed(15, 134, 22, 0.03).sentence())
        at most 15 of 134 unverified heads exceed 0.03 logits (95 %)
        """
        up = Context(prec=2, rounding=ROUND_CEILING).plus(Decimal(self.tau))
        size = f"{float(up):.2g} {unit}"
        if self.drawn == self.rest:
            return f"every one of the {self.rest} other {of} was verified: none exceeds {size}"
        sure = f"{100 * (1 - self.level):g} %"
        return f"at most {self.most} of {self.rest} unverified {of} exceed {size} ({sure})"


def most_beyond(rest: int, drawn: int, *, level: float = LEVEL) -> int:
    """Return how many of the rest may exceed the largest of a random sample of them.

    K, the largest number with ``C(R − K, m) / C(R, m) > α``: of more the sample would have met
    one, but for a share α of all samples. It holds whatever the sizes are, in whole numbers: that
    K + 1 or more exceed the sample's largest takes a sample without any of the K + 1 largest.

    Args:
        rest: R.
        drawn: m, drawn without replacement.
        level: α.

    Raises:
        ValueError: When more are drawn than there are.
    """
    if not 0 <= drawn <= rest:
        raise ValueError(f"expected from 0 to {rest} drawn of {rest}, got {drawn}")
    alpha = Fraction(str(level))
    least = alpha * comb(rest, drawn)
    # The first K of which the sample would have met one.
    return bisect_left(range(rest + 1), True, key=lambda k: comb(rest - k, drawn) <= least) - 1


def drawn_for(rest: int, *, share: float = SHARE, level: float = LEVEL) -> int:
    """Return the least sample after which at most a share of the rest is left open.

    Args:
        rest: R.
        share: What K may be of R.
        level: α.
    """
    most = Fraction(str(share)) * rest
    enough = range(rest + 1)
    return bisect_left(enough, True, key=lambda m: most_beyond(rest, m, level=level) <= most)
