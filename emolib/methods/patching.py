"""Patching between the two sides of pairs: what is carried over, and how much of the gap it is.

Definitions: docs/science.md, "Patching and recovery", after Zhang & Nanda (2309.16042) and
Heimersheim & Nanda (2404.15255).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from emolib.engine.costs import Planned, Runs
from emolib.errors import InputError
from emolib.inputs.prompts import Position, Side
from emolib.inputs.targets import Targets, target_set
from emolib.interventions import patch
from emolib.methods.readouts import Readout
from emolib.methods.study import Study

FLOOR = 0.1
"""Logits: a gap below this is too small to be a denominator."""
DIRECTIONS: dict[str, tuple[Side, Side]] = {
    "denoise": ("neutral", "emotion"),
    "noise": ("emotion", "neutral"),
}
"""By name: the side that runs and the side that z comes from."""


@dataclass(frozen=True)
class Patched:
    """One patching run.

    Attributes:
        direction: ``denoise`` (neutral runs with z of emotion) or ``noise`` (the other way).
        position: Where in the prompt z was replaced.
        clean: The clean run of the side that ran.
        run: The run under the patch.
        recovery: ``R = (M_run − M_clean) / (M_emo − M_neu)`` of mean ``logit_diff``: 1 under
            denoise and −1 under noise where what is patched carries all of the gap; None where
            the gap is below 0.1 logits.
        no_recovery: Why `recovery` is None, else empty.
    """

    direction: str
    position: Position
    clean: Readout
    run: Readout
    recovery: float | None
    no_recovery: str


def patched(
    study: Study, targets: Targets, positions: Sequence[Position] | None = None
) -> Iterator[Patched]:
    """Yield the patching runs of heads or units, both ways at each position.

    A set is patched together.

    Args:
        study: The study.
        targets: The heads or units.
        positions: Where; None for every position, the profile's first, with ``after_slot`` left
            out where a prompt ends with its slot.

    Raises:
        InputError: When the study has free prompts in place of pairs.
    """
    profile, chosen = study.profile, target_set(targets)
    if positions is None:
        everywhere = dict.fromkeys((profile.position, *get_args(Position)))
        if study.pairs.emotion.ends_with_slot:
            del everywhere["after_slot"]
        positions = tuple(everywhere)
    cleans = {side: study.run(on=side) for side in get_args(Side)}
    under = study.runner.under
    for direction, (side, other) in DIRECTIONS.items():
        clean = cleans[side]
        source = study.activations(other, chosen)
        edit = patch(chosen, source, every_step=profile.patch_generated)
        for position in positions:
            if study.runner.under != under:
                raise InputError(
                    "patched(…): what is on the model has changed since it was begun; take all of "
                    "its runs where the first was taken, list(patched(…))"
                )
            run = study.run(edit, on=side, position=position)
            yield Patched(direction, position, clean, run, *_recovery(cleans, clean, run))


def _recovery(
    cleans: Mapping[Side, Readout], clean: Readout, run: Readout
) -> tuple[float | None, str]:
    gap = float((cleans["emotion"].logit_diff - cleans["neutral"].logit_diff).mean())
    if abs(gap) < FLOOR:
        return None, f"the clean gap, {gap:.2g} logits, is below {FLOOR}"
    return float((run.logit_diff - clean.logit_diff).mean()) / gap, ""


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of items that patch: both ways at each position, texts at the profile's."""
    profile, positions = planned.profile, planned.positions
    if positions is None:
        everywhere = dict.fromkeys((profile.position, *get_args(Position)))
        if planned.prompts["emotion"].ends_with_slot:
            del everywhere["after_slot"]
        positions = tuple(everywhere)
    # What is patched is named by the items, or else by their function: then it may be any layer.
    firsts = planned.firsts or (0,) * planned.items
    for side, _ in DIRECTIONS.values():
        for position in positions:
            yield Runs(planned.prompts[side], position, firsts)
        yield planned.runs(side, firsts, new=profile.max_new_tokens)
