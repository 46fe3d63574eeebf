"""Folds of what is tested on prompts held out: whole templates, or prompts of each side."""

from __future__ import annotations

from typing import get_args

from emolib.errors import InputError
from emolib.inputs.emotions import Emotion
from emolib.inputs.prompts import Side

FREE = "prompts of a side"


def check_folds(count: int, of: str, folds: int, where: str = "") -> None:
    """Check that there is something in every fold.

    Args:
        count: How many templates there are, or prompts of the shorter side.
        of: What they are.
        folds: Number of folds.
        where: What asks for them, for the message.

    Raises:
        InputError: When there is not.
    """
    if count < folds:
        raise InputError(
            f"{where}{': ' if where else ''}probes in {folds} folds need at least {folds} {of}, "
            f"got {count}; lower probe_folds in the profile, or give more prompts"
        )


def held_out_of(emotion: Emotion) -> tuple[int, str]:
    """Return how many templates an emotion's pairs are of, or prompts the shorter side has."""
    if emotion.pairs is not None:
        return len({pair.template for pair in emotion.pairs}), "templates"
    return min(len(emotion.written(side)) for side in get_args(Side)), FREE
