"""Layers taken apart: transformers' own numbers, for every row of the table and its variants."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import CONFIGS, D_MODEL, HEADS, build, profile, study_of, text, tiny_emotion, tiny_model
from torch import nn

from emolib.engine import runner
from emolib.engine.layerwise import Layerwise
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.support import disagreement, why_not
from emolib.engine.whole import Whole
from emolib.interventions import zero
from emolib.methods.study import Study
from emolib.models.architectures import ARCHITECTURES
from emolib.models.encoding import Batch
from emolib.tracing import OwnTrace

FALCON = CONFIGS["falcon"] | {"new_decoder_architecture": False}
MANY = FALCON | {"multi_query": False, "num_kv_heads": 4}
VARIANTS = {
    "falcon of one key head": ("falcon", FALCON | {"multi_query": True}),
    "falcon of many": ("falcon", MANY | {"parallel_attn": False}),
    "falcon with alibi": ("falcon", FALCON | {"alibi": True, "multi_query": True}),
    "falcon of one norm": ("falcon", CONFIGS["falcon"] | {"num_ln_in_parallel_attn": 1}),
    "neox in sequence": ("gpt_neox", CONFIGS["gpt_neox"] | {"use_parallel_residual": False}),
    "gptj turned whole": ("gptj", CONFIGS["gptj"] | {"rotary_dim": 8}),
    "gpt2 scaled by layer": ("gpt2", CONFIGS["gpt2"] | {"scale_attn_by_inverse_layer_idx": True}),
    "gpt2 of relu": ("gpt2", CONFIGS["gpt2"] | {"activation_function": "relu"}),
    "gpt2 of an own act": ("gpt2", CONFIGS["gpt2"] | {"activation_function": "relu2"}),
    "llama of an own act": ("llama", CONFIGS["llama"] | {"hidden_act": "relu2"}),
    "llama of three key heads": (
        "llama",
        {
            "hidden_size": 36,
            "num_hidden_layers": 3,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 8,
            "intermediate_size": 40,
            "max_position_embeddings": 64,
        },
    ),
    "gemma2 without caps": (
        "gemma2",
        CONFIGS["gemma2"] | {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
}


def columns(model, *texts):
    batch = Batch(model.encode(texts), range(len(texts)), model.pad, model.device)
    return batch.input_ids, batch.attention_mask, batch.position_ids


def apart(model):
    """Give the disagreement on prompts of one length, and on padded ones."""
    alike = columns(model, text(5, 6, 7, 8, 9, 10, 11), text(9, 8, 7, 6, 5, 4, 3))
    padded = columns(model, text(5, 6, 7, 8, 9, 10, 11), text(9, 8), text(3, 4, 5, 6))
    return max(disagreement(model, *alike), disagreement(model, *padded))


def test_every_architecture_has_a_row():
    assert all(row.block is not None for row in ARCHITECTURES.values())


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_layers_give_the_model_s_own_logits(kind):
    assert why_not(tiny_model(kind)) is None
    assert apart(tiny_model(kind)) < 2e-6


@pytest.mark.parametrize("name", VARIANTS)
def test_so_do_the_variants_of_an_architecture(name):
    model = build(*VARIANTS[name], torch.float32)
    assert why_not(model) is None
    assert apart(model) < 2e-6


@pytest.mark.parametrize("kind", CONFIGS)
def test_half_precision_stays_near(kind):
    assert apart(build(kind, CONFIGS[kind], torch.bfloat16)) < 0.1


def test_the_stem_leaves_the_model_as_it_was():
    model = tiny_model("gpt2")
    given = columns(model, text(5, 6))
    before = model.hf(input_ids=given[0]).logits
    LayerwiseModel(model).stem(*given)
    with pytest.raises(IndexError):
        LayerwiseModel(model).stem(given[0] + 1000, *given[1:])
    assert not any("forward" in module.__dict__ for module in model.hf.modules())
    assert torch.equal(model.hf(input_ids=given[0]).logits, before)


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
    with pytest.warns(UserWarning, match="every run goes through the whole model"):
        assert not isinstance(study.runner._kept(), Layerwise)
    assert study.run(zero(HEADS[0])).logit_diff == pytest.approx(right, abs=1e-10)


def test_without_a_block_every_run_goes_through_the_whole_model(monkeypatch):
    right = study_of("gpt2").run(zero(HEADS[0])).logit_diff
    study = Study(tiny_model("gpt2", torch.float64), tiny_emotion(), profile())
    row = dataclasses.replace(study.model.arch, block=None)
    monkeypatch.setattr(study.model, "arch", row)
    assert why_not(study.model) == (
        "the row of 'gpt2' does not say how its layers are put together"
    )
    assert study.run(zero(HEADS[0])).logit_diff == pytest.approx(right, abs=1e-10)
    assert isinstance(study.runner._kept(), Whole)


def test_it_is_asked_once_whether_layers_agree(monkeypatch):
    calls = []
    check = runner.can_be_layerwise
    monkeypatch.setattr(runner, "can_be_layerwise", lambda *of: calls.append(1) or check(*of))
    study = study_of("gpt2")
    study.run(zero(HEADS[0])).logit_diff, study.run(zero(HEADS[1])).logit_diff
    assert len(calls) == 1
