"""Patching between the two sides of pairs: what is carried over, and how much of the gap it is.

Definitions: SCIENCE §2, after Zhang & Nanda (2309.16042) and Heimersheim & Nanda (2404.15255).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from emolib.profiles import Position
from emolib.prompts import Side
from emolib.runs import Readout, Study

FLOOR = 0.1
"""Logits: a gap below this is too small to be a denominator."""
DIRECTIONS: dict[str, tuple[Side, Side]] = {
    "denoise": ("neutral", "emotion"),
    "noise": ("emotion", "neutral"),
}
"""By name: the side that runs and the side that z comes from."""


def settings(study: Study) -> Iterator[tuple[str, Side, Side, Position]]:
    """Yield (direction, side that runs, side that z comes from, position) of every patching run.

    Positions are all four, less ``after_slot`` where a prompt ends with its slot. Each
    direction's position of the profile comes first.
    """
    ends = study.pairs.emotion.ends_with_slot
    first = study.profile.position
    positions = [first, *(p for p in get_args(Position) if p != first)]
    for direction, (side, other) in DIRECTIONS.items():
        for position in positions:
            if not (position == "after_slot" and ends):
                yield direction, side, other, position


def recovery(study: Study, patched: Readout, base: Readout) -> dict[str, Any]:
    """Return ``R = (M_patched − M_base) / (M_emo − M_neu)`` of mean ``logit_diff``.

    1 under denoise, −1 under noise, where the heads carry all of the gap.

    Args:
        study: The study.
        patched: The run under the patch.
        base: The clean run of the same side.

    Returns:
        ``recovery``; None where ``|M_emo − M_neu|`` is below 0.1 logits, with the reason under
        ``why_no_recovery``.
    """
    gap = float(study.run().logit_diff.mean() - study.run(on="neutral").logit_diff.mean())
    if abs(gap) < FLOOR:
        return {
            "recovery": None,
            "why_no_recovery": f"the clean gap, {gap:.2g} logits, is below {FLOOR}",
        }
    return {"recovery": float(patched.logit_diff.mean() - base.logit_diff.mean()) / gap}
