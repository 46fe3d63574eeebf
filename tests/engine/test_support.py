"""Whether a model's layers can be taken apart: why not, and how far they are from its forward."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from tiny import (
    CONFIGS,
    D_MODEL,
    HEADS,
    TEXTS,
    build,
    profile,
    study_of,
    tiny_emotion,
    tiny_model,
)
from torch import nn

from emolib.engine import support
from emolib.engine.layerwise import Layerwise
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.support import TOLERANCE, disagreement, support_of, why_not
from emolib.engine.whole import Whole
from emolib.errors import InputError
from emolib.interventions import zero
from emolib.methods.study import Study
from emolib.tracing import OwnTrace


def batch_of(model):
    (batch,) = model.encode(TEXTS).batches(99, model.pad, model.device)
    return batch


def apart(model):
    batch = batch_of(model)
    return disagreement(model, batch.input_ids, batch.attention_mask, batch.position_ids)


@pytest.mark.parametrize(
    ("kind", "sizes", "reason"),
    [
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "after the norm"),
        ("gpt2", {"add_cross_attention": True}, "cross-attention"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "depend on the length (dynamic)",
        ),
    ],
)
def test_what_does_not_come_apart_says_why(kind, sizes, reason):
    model = build(kind, CONFIGS[kind] | sizes, torch.float32)
    assert reason in (why_not(model) or "")


def test_a_projection_of_another_kind_does_not_come_apart():
    class Adapted(nn.Linear):
        pass

    model = build("llama", CONFIGS["llama"], torch.float32)
    attention = model.hf.model.layers[1].self_attn
    old = attention.o_proj
    attention.o_proj = Adapted(old.in_features, old.out_features)
    assert why_not(model) == "a projection is a Adapted"


def test_a_model_in_training_mode_does_not_come_apart():
    model = build("llama", CONFIGS["llama"], torch.float32)
    model.hf.train()
    assert why_not(model) == "it is in training mode"


def test_a_trace_of_ones_own_sees_the_model_run():
    """Modules do not run where layers are taken apart, so with a hook on one they are not."""
    study = study_of("gpt2")
    assert isinstance(study.runner._kept(), Layerwise)
    alone = study.run(zero(HEADS[5])).logits
    with OwnTrace(
        study.model.hf, "transformer.h.1.attn", edit_output=lambda output: output
    ) as trace:
        assert why_not(study.model) == "it carries hooks"
        hooked = study.run(zero(HEADS[5])).logits
    assert trace.output[0].shape[-1] == D_MODEL
    assert torch.allclose(alone, hooked, atol=1e-10)


def test_a_row_that_is_wrong_is_noticed_and_not_used(monkeypatch):
    right = study_of("gpt2").run(zero(HEADS[0])).logit_diff
    study = Study(tiny_model("gpt2", torch.float64), tiny_emotion(), profile())
    row = study.model.arch
    wrong = dataclasses.replace(row, block=dataclasses.replace(row.block, scale=None))
    monkeypatch.setattr(study.model, "arch", wrong)
    with pytest.warns(UserWarning, match="runs go another way, which is slower"):
        path = study.runner._kept()
    # Of transformers' modules nothing is said that could be wrong.
    assert isinstance(path, Layerwise) and not path._model.apart
    assert study.run(zero(HEADS[0])).logit_diff == pytest.approx(right, abs=1e-10)


def test_without_a_block_runs_go_through_the_model_s_own_modules(monkeypatch):
    right = study_of("gpt2").run(zero(HEADS[0])).logit_diff
    study = Study(tiny_model("gpt2", torch.float64), tiny_emotion(), profile())
    row = dataclasses.replace(study.model.arch, block=None)
    monkeypatch.setattr(study.model, "arch", row)
    assert why_not(study.model) == (
        "the row of 'gpt2' does not say how its layers are put together"
    )
    assert study.run(zero(HEADS[0])).logit_diff == pytest.approx(right, abs=1e-10)
    path = study.runner._kept()
    assert isinstance(path, Layerwise) and not path._model.apart


def test_what_cannot_be_run_layer_by_layer_runs_whole(monkeypatch):
    right = study_of("gpt2").run(zero(HEADS[0])).logit_diff
    study = Study(tiny_model("gpt2", torch.float64), tiny_emotion(), profile())
    monkeypatch.setattr(support, "disagreement", lambda *_, apart=True: 1.0)
    with pytest.warns(UserWarning, match="runs go another way"):
        assert isinstance(study.runner._kept(), Whole)
    assert study.run(zero(HEADS[0])).logit_diff == pytest.approx(right, abs=1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_model_comes_apart_in_every_type_without_a_warning(dtype):
    model = build("gemma2", CONFIGS["gemma2"], getattr(torch, dtype))
    with warnings.catch_warnings(action="error"):
        assert support_of(model, batch_of(model)).way == "own layers"
    assert apart(model) <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4},
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_positions_that_do_not_depend_on_the_length_come_apart(rope):
    model = build("llama", CONFIGS["llama"] | {"rope_parameters": rope}, torch.float32)
    assert why_not(model) is None and apart(model) < 1e-5


def test_the_distance_is_relative_to_the_largest_logit(monkeypatch):
    """With another unembedding than the model's, half of it, all logits are half as large."""
    model = tiny_model("llama", torch.float64)
    assert apart(model) < 1e-6
    logits = LayerwiseModel.logits
    for factor in (0.5, -1.0, 3.0):
        monkeypatch.setattr(
            LayerwiseModel, "logits", lambda self, resid, by=factor: by * logits(self, resid)
        )
        assert apart(model) == pytest.approx(abs(factor - 1), abs=1e-6)


def test_the_limit_is_that_of_the_type(monkeypatch):
    """A difference of one in a thousand is rounding in bfloat16 and a mistake in float32."""
    logits = LayerwiseModel.logits
    monkeypatch.setattr(LayerwiseModel, "logits", lambda self, resid: 1.001 * logits(self, resid))
    full, half = (build("gpt2", CONFIGS["gpt2"], d) for d in (torch.float32, torch.bfloat16))
    assert support_of(half, batch_of(half)).way == "own layers"
    with pytest.warns(UserWarning, match=r"is 0\.001 \(relative\) from transformers', more than "):
        assert support_of(full, batch_of(full)).way == "hooks"


@pytest.mark.parametrize("block", [True, False])
def test_logits_that_are_no_numbers_are_the_model_s(monkeypatch, block):
    """Its weights are at fault, not the layers taken apart."""
    model = build("gpt2", CONFIGS["gpt2"], torch.float32)
    if not block:
        monkeypatch.setattr(support, "why_not", lambda model: "the row does not say")
    with torch.no_grad():
        model.hf.transformer.h[0].mlp.c_proj.weight.fill_(1e38)
    with pytest.raises(InputError, match="its logits are no finite numbers"):
        support_of(model, batch_of(model))
