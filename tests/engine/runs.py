"""Runs of every kind of intervention, and what the whole model says of each alone."""

from __future__ import annotations

import torch
from tiny import HEADS, profile, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.inputs.heads import HeadSet
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import alone, mean, patch, resample, scale, shift, steer, zero
from emolib.methods.study import Study

POSITIONS = ("last", "slot", "after_slot", "all")
UNITS = UnitSet((Unit(0, 1), Unit(0, 7), Unit(1, 3)))
NEAR = 1e-4
"""How far logits may be apart in float32."""


def study_in(dtype, kind, **fields):
    return Study(tiny_model(kind, dtype), tiny_emotion(), profile(**fields))


def every_kind(study, position):
    """Give runs of every intervention, alone and together, on heads and units of both layers."""
    z, units = study.activations("neutral"), study.activations("neutral", UNITS)
    own, d_model = study.activations("emotion"), study.model.w_o(HEADS[0]).shape[1]
    vector = torch.linspace(-1, 2, d_model, dtype=torch.float64)
    moves = {head: z.of(head, 1)[:, 0].mean(0) for head in HEADS}
    reference, alike = study.reference, position in ("last", "all")
    runs = [
        (),
        (zero(HEADS[0]),),
        (zero(HEADS[5]),),
        (zero(HeadSet((HEADS[2], HEADS[7]))),),
        (mean(HEADS[1], reference),),
        (patch(HEADS[6], z),),
        (patch(HEADS[3], z, every_step=True),),
        (zero(UNITS),),
        (patch(UNITS, units),),
        (scale(HEADS[4], 0.5), zero(UNITS)),
        (alone(zero(HEADS[1]), own),),
        (alone(patch(HeadSet((HEADS[2], HEADS[6])), z), own),),
        (steer(0, vector, 0.5),),
        (steer(1, vector, -1),),
        (shift([HEADS[0], HEADS[7]], moves, 2), scale(HEADS[7], 0.5)),
    ]
    return [*runs, (resample(HEADS[3], reference, draws=3),)] if alike else runs


def whole(study, run, position):
    return hooked.last_logits(study.model, study.prompts(), run, position=position)
