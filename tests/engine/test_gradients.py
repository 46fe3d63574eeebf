"""Gradients at z of every head: layers taken apart give those of hooks on the whole model."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, crossed, study_of

from emolib.engine import batch_sizes
from emolib.engine.gradients import Objective
from emolib.engine.whole import Whole
from emolib.methods.attribution import MIDPOINTS, _moved_by
from emolib.tracing import hook_count

SHARES = [None, *MIDPOINTS]


def whole(kind, **fields):
    """Give a study whose runs go through the whole model."""
    study = study_of(kind, **fields)
    study.runner._paths[False] = Whole(
        study.model, study.prompts, batch_size=None, max_new_tokens=4, share=False
    )
    return study


@crossed(kind=CONFIGS, position=["last", "slot", "after_slot", "all"])
def test_layers_give_the_gradients_of_the_whole_model(kind, position):
    study, other = study_of(kind, position=position), whole(kind, position=position)
    for side in ("emotion", "neutral"):
        pairs = zip(_moved_by(study, side, SHARES), _moved_by(other, side, SHARES), strict=True)
        for rows, hooked in pairs:
            assert torch.allclose(rows, hooked, rtol=1e-5, atol=1e-5 * hooked.abs().max())
            assert hooked.abs().max() > 0
    assert hook_count(study.model.hf) == 0


@pytest.mark.parametrize("tokens", [1, 10**6])
def test_passes_may_share_a_batch_or_not(monkeypatch, tokens):
    expected = _moved_by(whole("gpt2", position="all"), "neutral", SHARES)
    monkeypatch.setattr(batch_sizes, "TOKENS", (tokens, tokens))
    found = _moved_by(study_of("gpt2", position="all"), "neutral", SHARES)
    for rows, hooked in zip(found, expected, strict=True):
        assert torch.allclose(rows, hooked, rtol=1e-5, atol=1e-8)


def test_the_metric_is_the_caller_s():
    """Of the sum of logits the gradient is another than that of their difference."""
    study = study_of("gpt2")
    once = study.objective
    thrice = Objective(once.tokens, lambda logits: 3 * once.of(logits))
    found = [
        next(study.runner.gradients("emotion", "last", metric, lambda *_: [None]))[1][0][0]
        for metric in (once, thrice)
    ]
    assert torch.allclose(3 * found[0], found[1]) and found[0].abs().max() > 0
