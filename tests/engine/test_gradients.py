"""Attribution as rows of one pass: the gradients that hooks on the whole model give."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, study_of

from emolib.engine import gradients
from emolib.methods.attribution import MIDPOINTS, _hooked, _rows
from emolib.tracing import hook_count

SHARES = [None, *MIDPOINTS]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("position", ["last", "slot", "after_slot", "all"])
def test_rows_give_the_gradients_of_the_whole_model(kind, position):
    study = study_of(kind, position=position)
    for side in ("emotion", "neutral"):
        pairs = zip(_rows(study, side, SHARES), _hooked(study, side, SHARES), strict=True)
        for rows, hooked in pairs:
            assert torch.allclose(rows, hooked, rtol=1e-5, atol=1e-5 * hooked.abs().max())
            assert hooked.abs().max() > 0
    assert hook_count(study.model.hf) == 0


@pytest.mark.parametrize("tokens", [1, 10**6])
def test_passes_may_share_a_batch_or_not(monkeypatch, tokens):
    study = study_of("gpt2", position="all")
    expected = _hooked(study, "neutral", SHARES)
    monkeypatch.setattr(gradients, "TOKENS", (tokens, tokens))
    for rows, hooked in zip(_rows(study, "neutral", SHARES), expected, strict=True):
        assert torch.allclose(rows, hooked, rtol=1e-5, atol=1e-8)
