"""Direct effects: parts add up to the logit difference, or there are none and it is said why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import CONFIGS, profile, study_of, tiny_emotion

from emolib.engine import hooked
from emolib.interventions import patch, zero
from emolib.methods import direct_effects
from emolib.methods.attention import why_no_patterns
from emolib.methods.direct_effects import adds_up
from emolib.methods.frozen_norms import UnknownNorm, norm_kind
from emolib.methods.screening import output_scores, screen
from emolib.methods.study import Study
from emolib.methods.unit_scores import unit_scores
from emolib.methods.unit_screening import screen_units
from emolib.models.architectures import head_layers_from_config
from emolib.models.language_model import LanguageModel
from emolib.models.miniatures import miniature, tokenizer
from emolib.tracing import OwnTrace, hook_count

# Types of whose models there are many, beside those of the table that others test.
COMMON = (
    "gemma", "gemma3", "gemma4_text", "qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_5_text",
    "mixtral", "gpt_oss", "phi", "phimoe", "starcoder2", "stablelm", "cohere", "cohere2",
    "granite", "smollm3", "glm", "glm4", "olmo", "olmo3", "olmoe", "llama4_text", "deepseek_v2",
    "deepseek_v3", "mpt", "gpt_bigcode", "codegen", "exaone4", "nemotron", "ministral",
    "ministral3", "hunyuan_v1_dense", "ernie4_5", "seed_oss", "lfm2", "falcon_h1", "bamba",
    "jamba",
)  # fmt: skip
NULL = {"gemma3n_text": "no direct effects: layer 0 adds more to the residual stream than its"}


def study_on(kind, **sizes):
    return Study(miniature(kind, **sizes), tiny_emotion(), profile(verify=1))


@pytest.mark.parametrize("kind", CONFIGS)
def test_parts_of_the_table_s_types_add_up(kind):
    found = adds_up(study_of(kind))
    assert found.reason is None and found.deviation < 1e-5
    assert hook_count(study_of(kind).model.hf) == 0


@pytest.mark.parametrize("kind", (*COMMON, *NULL))
def test_common_types_are_proven_and_edited_as_by_hand_and_their_parts_add_up(kind):
    """A study of one is made only of what is proven; see `emolib.engine.proofs`."""
    study = study_on(kind)
    model = study.model
    config = model.hf.config.to_dict()
    assert head_layers_from_config(config, model.n_layers) == model.head_layers
    found = adds_up(study)
    if kind in NULL:
        assert found.reason.startswith(NULL[kind])
        assert "dla" not in output_scores(study)[0]
    else:
        assert found.reason is None and found.deviation < 1e-4
        dla = output_scores(study)[0]["dla"]
        assert dla.shape == (6, len(model.heads)) and np.abs(dla).max() > 1e-3
    head = model.heads[-1]
    d_head = model.w_o(head).shape[0]
    columns = slice(head.index * d_head, (head.index + 1) * d_head)
    source = study.activations("neutral")
    (batch,) = study.prompts().batches(99, model.pad, "cpu")
    (other,) = study.prompts("neutral").batches(99, model.pad, "cpu")
    with torch.no_grad():
        with OwnTrace(model.hf, model.attn_out(head.layer), retain_input=True) as trace:
            hooked.forward(model, other)
        theirs = trace.input[..., columns]
    # As far as float32 rounds through the layers before.
    torch.testing.assert_close(source.of(head), theirs, atol=1e-4, rtol=1e-4)
    for edit, value in ((zero(head), 0 * theirs), (patch(head, source), theirs)):
        run = study.run(edit).logit_diff
        expected = _by_hand(study, batch, head, columns, value)
        assert run == pytest.approx(expected, abs=1e-4, rel=1e-5)


def _by_hand(study, batch, head, columns, value):
    """Give the logit difference with z of the last token replaced where the projection reads it."""

    def replace(_, inputs):
        z = inputs[0].clone()
        z[:, -1, columns] = value[:, -1]
        return (z, *inputs[1:])

    module = study.model.module(study.model.attn_out(head.layer))
    handle = module.register_forward_pre_hook(replace)
    try:
        with torch.no_grad():
            logits = hooked.forward(study.model, batch).logits[:, -1]
    finally:
        handle.remove()
    return study.logit_diff(logits).numpy()


@pytest.mark.parametrize(
    ("kind", "before"),
    [("granite", 8 / 0.22), ("cohere", 1 / 0.0625), ("falcon_h1", 1 / (0.5 * 0.7))],
)
def test_scales_between_stream_and_logits_are_in_dla(kind, before, monkeypatch):
    """By the multipliers of the config: without them dla would be that many times too large."""
    study = study_on(kind)
    own = output_scores(study)[0]["dla"]
    path = direct_effects.direct_path(study.model)
    bare = LanguageModel.logit_scale
    monkeypatch.setattr(LanguageModel, "logit_scale", property(lambda _: 1.0))
    factor = path.attn(0)
    without = output_scores(study)[0]["dla"] / factor
    monkeypatch.setattr(LanguageModel, "logit_scale", bare)
    assert without / own == pytest.approx(before, rel=1e-4)


def test_a_scale_that_is_not_counted_is_noticed(monkeypatch):
    study = study_on("granite")
    monkeypatch.setattr(LanguageModel, "logit_scale", property(lambda _: 1.0))
    assert adds_up(study).reason == (
        "no direct effects: the logits are not those that the unembedding puts out, scaled and "
        "capped"
    )


def test_a_part_that_is_missing_is_noticed(monkeypatch):
    study = study_on("llama")
    whole = direct_effects._parts
    monkeypatch.setattr(direct_effects, "_parts", lambda *of: list(whole(*of))[1:])
    found = adds_up(study)
    assert found.deviation > 1e-3
    assert found.reason.startswith("no direct effects: the parts of the model come ")


def test_rows_of_heads_and_units_say_why_there_is_no_dla():
    study = study_on("gemma3n_text")
    scores = screen(study)
    row = scores.of(scores.heads[0])
    assert row["dla"] is None and row["delta_proj"] is None and row["atp_ig"].shape == (6,)
    assert row["why_no_dla"].startswith("no direct effects: layer 0 adds more")
    units = unit_scores(study)
    assert "dla" not in units.pairs and units.lacking["dla"] == row["why_no_dla"]
    made = screen_units(study)
    assert made.top[0]["dla"] is None and made.top[0]["why_no_dla"] == row["why_no_dla"]
    assert made.layers[0]["sum_dla"] is None


def test_hybrids_are_scored_in_the_layers_that_have_heads():
    scores = screen(study_on("qwen3_5_text"))
    assert [str(head) for head in scores.heads] == ["L1H0", "L1H1", "L1H2", "L1H3"]
    assert all(table.shape == (6, 4) for table in scores.pairs.values())
    assert not scores.lacking


def test_a_model_that_keeps_its_pattern_to_itself_is_scored_without(monkeypatch):
    study = study_on("llama")
    assert why_no_patterns(study) is None
    attention = study.model.hf.model.layers[1].self_attn
    own = type(attention).forward
    monkeypatch.setattr(
        attention, "forward", lambda *a, **o: (own(attention, *a, **o)[0], None), raising=False
    )
    study = Study(LanguageModel(study.model.hf, tokenizer(), "shy"), tiny_emotion(), profile())
    assert why_no_patterns(study) == "the attention of layer 1 does not put out its pattern"
    row = screen(study).of(study.model.heads[0])
    assert row["delta_attn"] is row["emotion_mean_attn"] is None
    assert row["why_no_delta_attn"] == why_no_patterns(study)


def test_it_is_checked_once_for_a_model(monkeypatch):
    study = study_on("llama")
    first = adds_up(study)
    monkeypatch.setattr(direct_effects, "check_sum", None)
    assert adds_up(Study(study.model, tiny_emotion(4), profile())) is first


class Doubled(torch.nn.LayerNorm):
    """What no norm here does."""

    def forward(self, values):
        return super().forward(values).square()


def test_norms_are_told_by_what_they_put_out():
    like = torch.zeros(1, 8)
    kind = norm_kind(torch.nn.LayerNorm(8, eps=1e-3), like)
    assert kind.centred and kind.eps == 1e-3
    kind = norm_kind(torch.nn.RMSNorm(8), like)
    assert not kind.centred and kind.gain.tolist() == [1] * 8
    with pytest.raises(UnknownNorm, match=r"^Doubled is neither LayerNorm nor RMSNorm \("):
        norm_kind(Doubled(8), like)


@pytest.mark.parametrize(("kind", "gain"), [("nemotron", 1), ("llama", 0), ("gemma", 1)])
def test_a_gain_of_one_and_weight_is_told_from_a_gain_of_weight(kind, gain):
    norm = miniature(kind).hf.model.norm
    found = norm_kind(norm, torch.zeros(1, 32))
    torch.testing.assert_close(found.gain, gain + norm.weight.double())


def test_a_head_of_a_layer_without_any_is_refused_with_the_layers_that_have():
    study = study_on("bamba")
    with pytest.raises(ValueError, match=r"^layer 0 of tiny-bamba has no attention heads; those w"):
        study.run(zero(type(study.model.heads[0])(0, 1))).logit_diff  # noqa: B018


def test_units_of_a_mixture_are_refused_with_the_layer():
    model = miniature("mixtral")
    with pytest.raises(ValueError, match=r"^layer 0 of tiny-mixtral is a mixture of experts: it h"):
        model.n_units  # noqa: B018
    with pytest.raises(ValueError, match=r"^layer 1 of tiny-mixtral is a mixture of experts"):
        model.mlp_out(1)
