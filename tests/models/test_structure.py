"""The structure of models without a row: found by shape and place, and what stands after it."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, tiny_model
from torch import nn

from emolib.models import structure
from emolib.models.architectures import ARCHITECTURES
from emolib.models.miniatures import miniature
from emolib.models.structure import (
    StructureNotFound,
    capped,
    describe,
    find,
    has_experts,
    is_norm,
    observed,
    output_map,
    probe_ids,
)
from emolib.tracing import hook_count

# Its attention adds the stream itself, so that what it puts out is not the projection's.
FOUND = sorted(set(CONFIGS) - {"bloom"})


@pytest.mark.parametrize("kind", FOUND)
def test_what_is_found_is_the_row_of_the_table(kind):
    """The rows were written by hand, and are proven by their own tests."""
    found, row = find(tiny_model(kind).hf), ARCHITECTURES[kind]
    paths = ("layers", "attn_out", "mlp_out", "final_norm", "post_attn_norm", "post_mlp_norm")
    for path in paths:
        assert getattr(found, path) == getattr(row, path), path
    assert hook_count(tiny_model(kind).hf) == 0


@pytest.mark.parametrize(
    ("kind", "heads", "units"),
    [
        ("mixtral", (0, 1), ()),
        ("qwen3_5_text", (1,), (0, 1)),
        ("jamba", (1,), (0,)),
        ("gemma3", (0, 1), (0, 1)),
    ],
)
def test_layers_of_a_hybrid_or_mixture_have_what_they_have(kind, heads, units):
    model = miniature(kind)
    assert (model.head_layers, model.unit_layers) == (heads, units)


def test_a_text_decoder_inside_another_model_is_found():
    assert find(miniature("gemma3").hf).layers == "model.language_model.layers"


@pytest.mark.parametrize(
    ("kind", "scale", "cap"),
    [
        ("gpt2", 1.0, None),
        ("gemma2", 1.0, 30.0),
        ("granite", 1 / 8, None),
        ("cohere", 0.0625, None),
        ("falcon_h1", 0.5, None),
    ],
)
def test_scale_and_cap_of_the_logits_are_measured(kind, scale, cap):
    model = tiny_model(kind) if kind in CONFIGS else miniature(kind)
    assert output_map(model.hf) == (model.logit_scale, model.logit_cap) == (scale, cap)


def test_a_scale_that_the_config_names_and_the_model_does_not_apply_is_not_counted():
    model = miniature("llama", logit_scale=0.3)
    assert model.config.logit_scale == 0.3
    assert model.logit_scale == 1


def test_a_cap_bends_and_none_does_not():
    logits = torch.tensor([0.1, 100.0])
    assert capped(logits, None) is logits
    assert capped(logits, 5.0).tolist() == pytest.approx([0.1, 5.0], abs=1e-4)


class NoHeads(nn.Module):
    """What a model without attention puts in its place."""

    def forward(self, hidden_states, **_):
        return torch.zeros_like(hidden_states), None


def test_a_model_without_attention_is_told_what_was_looked_for():
    hf = miniature("llama").hf
    for layer in hf.model.layers:
        layer.self_attn = NoHeads()
    with pytest.raises(StructureNotFound, match=r"^llama: no projection of model.layers puts out"):
        find(hf)


def test_a_model_without_a_final_norm_is_told_so():
    hf = miniature("llama").hf
    hf.model.norm = nn.Identity()
    with pytest.raises(StructureNotFound, match="no norm stands between the layers and the unem"):
        find(hf)


def test_a_stack_of_another_length_is_not_taken_for_the_layers():
    hf = miniature("llama").hf
    hf.config.num_hidden_layers = 3
    with pytest.raises(StructureNotFound, match=r"^llama: no list of 3 layers puts out a stream"):
        find(hf)


def test_experts_are_seen_and_dense_mlps_are_none():
    layers = {kind: miniature(kind).hf.model.layers[0] for kind in ("mixtral", "llama")}
    assert has_experts(layers["mixtral"]) and not has_experts(layers["llama"])


def test_a_norm_is_one_by_its_name_and_has_no_matrix():
    assert is_norm(nn.LayerNorm(3)) and not is_norm(nn.Linear(3, 3))


def test_noise_is_the_same_every_time_and_is_seen():
    hf, path = tiny_model("gpt2").hf, "transformer.h.0.attn.c_proj"
    outputs = []
    for noise in ({}, {path: 1.0}, {path: 1.0}):
        with torch.no_grad(), observed(hf, [path], excited=noise) as seen:
            hf(input_ids=probe_ids(hf))
        outputs.append(seen[path].output)
    plain, first, again = outputs
    assert torch.equal(first, again)
    assert (first - plain).std() == pytest.approx(1, rel=0.2)
    assert hook_count(hf) == 0


def test_what_is_found_is_told_as_it_is_given_by_hand():
    told = describe(ARCHITECTURES["gpt2"])
    assert told.startswith('layers = "transformer.h", attn_out = "attn.c_proj", mlp_out = ')
    assert "post_attn_norm" not in told


def test_hooks_are_gone_whatever_happens():
    hf = tiny_model("gpt2").hf
    with pytest.raises(ZeroDivisionError), structure.observed(hf):
        1 / 0  # noqa: B018
    assert hook_count(hf) == 0
