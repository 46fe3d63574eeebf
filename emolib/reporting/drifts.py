"""Effects that have moved, in words: a line a head, which way they went and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emolib.reporting.wording import counted, percent
from emolib.results.rows import group

MOST = 8
"""Heads that have a line."""
# Which ways can be told as a share of what an effect was.
_SIZED = ("smaller", "larger")


class Drift(NamedTuple):
    """An effect that has moved.

    Attributes:
        of: The model and the head or unit, as they are named.
        before: The effect then.
        now: The effect now.
        is_control: Whether it has to have none.
    """

    of: str
    before: float
    now: float
    is_control: bool = False

    @property
    def way(self) -> str:
        """Which way it went."""
        if self.is_control:
            return "of a control that has to have none"
        if self.before * self.now < 0:
            return "turned around"
        return "smaller" if abs(self.now) < abs(self.before) else "larger"


def in_words(drifts: Sequence[Drift], most: int = MOST) -> list[str]:
    """Return a line for each head, the first of them where they are many.

    ``tiny-gpt2 L0H2: 15 effects smaller by 29–52 %``.

    Args:
        drifts: The effects, worst first.
        most: Heads that have a line.
    """
    of_head = group(drifts, lambda drift: drift.of)
    said = []
    for of, members in list(of_head.items())[:most]:
        ways = group(members, lambda drift: drift.way)
        parts = [f"{counted(len(some), 'effect')} {way}{_by(some)}" for way, some in ways.items()]
        said.append(f"{of}: {', '.join(parts)}")
    if len(of_head) > most:
        said.append(f"and of {counted(len(of_head) - most, 'more head')}")
    return said


def _by(drifts: Sequence[Drift]) -> str:
    """Return by what share of what they were effects changed, where that says something."""
    if drifts[0].way not in _SIZED or not all(drift.before for drift in drifts):
        return ""
    return f" by {percent(abs(drift.now / drift.before - 1) for drift in drifts)}"
