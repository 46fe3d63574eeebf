"""Clean z of both sides as one set of prompts: as many of each, padded on the left."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import profile, text, tiny_emotion, tiny_model

from emolib.inputs.heads import Head
from emolib.inputs.targets import parts
from emolib.inputs.units import Unit, UnitSet
from emolib.methods.reference import reference
from emolib.methods.study import Study

MODEL = tiny_model("llama")


@pytest.fixture
def study():
    """Free lists: three emotion prompts of up to 5 tokens, two neutral ones of up to 7."""
    lists = (text(1, 2, 3), text(2, 3, 4, 5), text(3, 4, 5, 6, 7)), (text(*range(20, 27)), text(9))
    return Study(MODEL, dataclasses.replace(tiny_emotion(), pairs=None, free=lists), profile())


@pytest.mark.parametrize("units", [None, UnitSet([Unit(0, 3), Unit(1, 5)])], ids=["heads", "units"])
def test_each_prompt_keeps_its_own_z_and_the_larger_side_its_first(study, units):
    sides = [study.runner.activations(side, units) for side in ("emotion", "neutral")]
    found = reference(study.model, sides)
    assert found.prompts.ids == sides[0].prompts.ids[:2] + sides[1].prompts.ids
    targets = [Head(1, 0)] if units is None else parts(units)
    for target in targets:
        whole = found.of(target)
        for row, ids in enumerate(found.prompts.ids):
            side, place = sides[row // 2], row % 2
            torch.testing.assert_close(whole[row, -len(ids) :], side.of(target)[place, -len(ids) :])
        # The emotion's side is narrower.
        assert whole.shape[1] == 7 and not whole[:2, : 7 - sides[0].prompts.width].any()
