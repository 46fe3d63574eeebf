"""The planted model of two steps: known answers at every position of the prompt."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from planted_relay import MARKER, READER, relay_model, relayed
from tiny import profile

from emolib.inputs.heads import all_heads
from emolib.interventions import patch, zero
from emolib.methods import screening
from emolib.methods.study import Study
from emolib.planted import EMOTION_WORDS, planted_emotion

CLOSE = 1e-6
# Where each head works; patched or zeroed elsewhere nothing happens.
WORKS = {
    (MARKER, "slot"), (MARKER, "all"), (READER, "last"), (READER, "all"), (READER, "after_slot")
}  # fmt: skip
POSITIONS = ("last", "slot", "after_slot", "all")


@pytest.fixture(scope="module", params=EMOTION_WORDS)
def study(request):
    return Study(relay_model(), planted_emotion(request.param), profile(max_new_tokens=2))


@pytest.fixture(scope="module")
def level(study):
    """Return LD on the emotion prompts, pair by pair: their slots stand at different places."""
    before = [slot[0] for slot in study.pairs.emotion.slots]
    assert len(set(before)) > 5
    h = np.array([relayed(count) for count in before])
    return (h - 1) / np.sqrt(1 + h**2 / 64)


def test_levels_are_the_closed_form(study, level):
    assert study.run().logit_diff == pytest.approx(level, abs=CLOSE)
    assert study.run(on="neutral").logit_diff == pytest.approx(-1, abs=CLOSE)
    assert level.min() > 2


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("head", all_heads(2, 4), ids=str)
def test_every_head_at_every_position(study, level, head, position):
    there = (head, position) in WORKS
    zeroed = study.run(zero(head), position=position).logit_diff
    assert zeroed == pytest.approx(-1 if there else level, abs=CLOSE)
    noise = study.run(patch(head, study.activations("neutral")), position=position).logit_diff
    assert noise == pytest.approx(-1 if there else level, abs=CLOSE)
    denoise = study.run(
        patch(head, study.activations("emotion")), on="neutral", position=position
    ).logit_diff
    assert denoise == pytest.approx(level if there else -1, abs=CLOSE)


def test_what_looks_at_the_last_token_is_blind_to_the_marker(study):
    scores = screening.screen(study)
    for name in ("delta_attn", "delta_out", "atp_ig", "dla"):
        assert np.abs(scores.of(MARKER)[name]).max() < CLOSE, name
        assert np.abs(scores.of(READER)[name]).min() > 0.5, name
    at_slot = Study(study.model, study.emotion, profile(position="slot"))
    assert np.abs(screening.screen(at_slot).of(MARKER)["atp_ig"]).min() > 1


def test_single_precision():
    study = Study(relay_model(torch.float32), planted_emotion(), profile())
    before = [slot[0] for slot in study.pairs.emotion.slots]
    h = [relayed(count) for count in before]
    expected = [(x - 1) / math.sqrt(1 + x**2 / 64) for x in h]
    assert study.run().logit_diff == pytest.approx(expected, abs=1e-4)
