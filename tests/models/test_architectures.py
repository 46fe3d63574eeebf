"""Each row of the table, on the architecture built tiny: the paths point at what they say."""

from __future__ import annotations

import copy
import dataclasses
import re

import pytest
import torch
from tiny import CONFIGS, D_MODEL, N_HEADS, N_LAYERS, TEXTS, edited, tiny_model, tokenizer

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head, all_heads
from emolib.interventions import edit, zero
from emolib.methods.frozen_norms import frozen_norm
from emolib.models import architectures
from emolib.models.architectures import (
    ARCHITECTURES,
    UnknownArchitecture,
    active_width,
    architecture,
    head_layers_from_config,
    is_given,
    is_proven,
    register,
    register_all,
    shape_from_config,
    units_from_config,
    why_no_units,
)
from emolib.models.language_model import LanguageModel
from emolib.tracing import OwnTrace, OwnTraceDict

HEADS = all_heads(N_LAYERS, N_HEADS)
# Norms of the RMS families compute in float32 whatever the model's type.
CLOSE = {"rtol": 0, "atol": 2e-5}

every_row = pytest.mark.parametrize("model_type", sorted(CONFIGS))


def traced(model, paths, interventions=()):
    """Give the traces of some modules on the test prompts, inputs and outputs."""
    prompts = model.encode(TEXTS)
    (batch,) = prompts.batches(8, model.pad, model.device)
    with (
        torch.no_grad(),
        hooked.intervened(model, interventions, batch, "all"),
        # Copies: Falcon adds its attention to the MLP's output in place.
        OwnTraceDict(model.hf, paths, retain_input=True, clone=True) as traces,
    ):
        hooked.forward(model, batch)
    return batch.attention_mask.bool(), traces


def bias_of(module):
    return 0.0 if module.bias is None else module.bias


def test_every_config_has_a_row_and_every_row_its_name():
    assert set(CONFIGS) <= set(ARCHITECTURES)
    assert all(row.model_type == name for name, row in ARCHITECTURES.items())


@every_row
def test_layers_and_heads_come_from_the_config(model_type):
    model = tiny_model(model_type)
    assert (model.n_layers, model.n_heads) == (N_LAYERS, N_HEADS)
    config = model.hf.config.to_dict()
    assert shape_from_config(config) == (N_LAYERS, N_HEADS)
    assert len(model.module(model.arch.layers)) == N_LAYERS


@every_row
def test_an_identity_edit_changes_no_bit(model_type):
    model = tiny_model(model_type)
    prompts = model.encode(TEXTS)
    same = edit(HEADS, lambda z: z)
    assert torch.equal(
        hooked.last_logits(model, prompts), hooked.last_logits(model, prompts, [same])
    )


@every_row
@pytest.mark.parametrize("head", [Head(0, 3), Head(1, 1)], ids=str)
def test_zeroing_a_head_is_zeroing_its_slice_of_w_o(model_type, head):
    model = tiny_model(model_type, torch.float64)
    prompts = model.encode(TEXTS)
    clean = hooked.last_logits(model, prompts)
    zeroed = hooked.last_logits(model, prompts, [zero(head)], position="all")
    w_o = model.w_o(head)
    with edited(model, [w_o]):
        w_o.zero_()
        expected = hooked.last_logits(model, prompts)
    torch.testing.assert_close(zeroed, expected, **CLOSE)
    assert (zeroed - clean).abs().max() > 1e-2


@every_row
def test_heads_and_bias_add_up_to_the_output_of_the_projection(model_type):
    model = tiny_model(model_type, torch.float64)
    for layer in range(N_LAYERS):
        path = model.attn_out(layer)
        _, traces = traced(model, [path])
        z = hooked.split_heads(traces[path].input, N_HEADS)
        parts = [z[:, :, i] @ model.w_o(Head(layer, i)) for i in range(N_HEADS)]
        total = torch.stack(parts).sum(0) + bias_of(model.module(path))
        torch.testing.assert_close(total, traces[path].output)


@every_row
def test_with_all_heads_zeroed_the_bias_alone_is_left(model_type):
    model = tiny_model(model_type, torch.float64)
    paths = [model.attn_out(layer) for layer in range(N_LAYERS)]
    real, traces = traced(model, paths, [zero(HEADS)])
    for path in paths:
        output = traces[path].output[real]
        bias = torch.as_tensor(bias_of(model.module(path)), dtype=output.dtype)
        torch.testing.assert_close(output, bias.expand_as(output))


@every_row
def test_a_layer_adds_its_attention_and_its_mlp_to_the_stream(model_type):
    """So both paths are the last linear maps of their blocks, and post_attn_norm is right."""
    model = tiny_model(model_type, torch.float64)
    row = model.arch
    for layer in range(N_LAYERS):
        here = f"{row.layers}.{layer}"
        attn = row.post_attn_norm_path(layer) or row.attn_out_path(layer)
        post_mlp = f"{here}.post_feedforward_layernorm"
        normed = post_mlp in dict(model.hf.named_modules())
        mlp = post_mlp if normed else row.mlp_out_path(layer)
        real, traces = traced(model, [here, attn, mlp])
        output = traces[here].output
        output = output[0] if isinstance(output, tuple) else output
        arrived = traces[here].input
        arrived = arrived[0] if isinstance(arrived, tuple) else arrived
        # OPT runs its MLP on all positions in one row.
        added = traces[attn].output + traces[mlp].output.view_as(arrived)
        torch.testing.assert_close((output - arrived)[real], added[real])


@every_row
def test_attention_puts_out_its_pattern_second(model_type):
    # A copy: transformers leaves hooks on a model that was asked for output_attentions.
    model = LanguageModel(copy.deepcopy(tiny_model(model_type).hf), tokenizer(), "copy")
    (batch,) = model.encode(TEXTS).batches(8, model.pad, model.device)
    own = hooked.forward(model, batch, output_attentions=True).attentions
    paths = [model.arch.attn_path(layer) for layer in range(N_LAYERS)]
    real, traces = traced(model, paths)
    for path, pattern in zip(paths, own, strict=True):
        assert torch.equal(traces[path].output[1], pattern)
        torch.testing.assert_close(pattern.sum(-1).mT[real], torch.ones(int(real.sum()), N_HEADS))


@every_row
def test_units_are_the_input_of_mlp_out(model_type):
    model = tiny_model(model_type)
    paths = [model.arch.mlp_out_path(layer) for layer in range(N_LAYERS)]
    _, traces = traced(model, paths)
    width = 4 * D_MODEL if model_type == "bloom" else 40
    assert [traces[path].input.shape[-1] for path in paths] == [width] * N_LAYERS
    assert [traces[path].output.shape[-1] for path in paths] == [D_MODEL] * N_LAYERS


@every_row
def test_final_norm_feeds_the_unembedding_and_is_frozen_as_it_is(model_type):
    model = tiny_model(model_type, torch.float64)
    path = model.arch.final_norm
    with OwnTrace(model.hf.get_output_embeddings(), retain_input=True) as unembedding:
        _, traces = traced(model, [path])
    # The model may cut the stream to the last position in between.
    assert torch.equal(unembedding.input, traces[path].output[:, -1:])
    _assert_is_the_norm(model, path, traces[path])


@every_row
def test_post_attn_norm_is_frozen_as_it_is(model_type):
    model = tiny_model(model_type, torch.float64)
    for layer in range(N_LAYERS):
        if path := model.arch.post_attn_norm_path(layer):
            _, traces = traced(model, [path, model.attn_out(layer)])
            assert torch.equal(traces[path].input, traces[model.attn_out(layer)].output)
            _assert_is_the_norm(model, path, traces[path])


@every_row
def test_post_mlp_norm_is_frozen_as_it_is(model_type):
    model = tiny_model(model_type, torch.float64)
    named = {name.rpartition(".")[2] for name, _ in model.hf.named_modules()}
    assert (model.arch.post_mlp_norm is not None) == ("post_feedforward_layernorm" in named)
    for layer in range(N_LAYERS):
        if path := model.arch.post_mlp_norm_path(layer):
            _, traces = traced(model, [path, model.mlp_out(layer)])
            assert torch.equal(traces[path].input, traces[model.mlp_out(layer)].output)
            _assert_is_the_norm(model, path, traces[path])


@every_row
def test_units_come_from_the_config(model_type):
    model = tiny_model(model_type)
    config = model.hf.config.to_dict()
    assert units_from_config(config) == model.n_units == model.w_out(1).shape[0]
    assert model.w_out(0).shape == (model.n_units, D_MODEL)


@pytest.mark.parametrize(
    ("config", "units"),
    [
        ({"model_type": "gpt2", "n_embd": 768}, 3072),
        ({"model_type": "gpt2", "n_embd": 768, "n_inner": None}, 3072),
        ({"model_type": "gpt_neo", "hidden_size": 64, "intermediate_size": None}, 256),
        ({"model_type": "bloom", "n_embed": 64}, 256),
        ({"model_type": "gpt_neox", "hidden_size": 64, "intermediate_size": 100}, 100),
    ],
)
def test_units_are_four_times_the_width_where_nothing_else_is_said(config, units):
    assert units_from_config(config) == units


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"n_layer": 3},
            "expected n_inner or n_embd or n_embed or hidden_size or d_model, got none of them",
        ),
        ({"n_inner": "many"}, "n_inner: expected a whole number from 1, got 'many'"),
    ],
)
def test_a_config_that_does_not_tell_units_is_refused(config, message):
    with pytest.raises(ValueError, match=f"^config.json: {re.escape(message)}$"):
        units_from_config({"model_type": "gpt2"} | config)


def _assert_is_the_norm(model, path, trace):
    norm = model.module(path)
    # Also on a stream so small that its epsilon matters.
    for full in (trace.input, 1e-3 * trace.input):
        normed = frozen_norm(model, path, full)(full)
        bias = getattr(norm, "bias", None)
        torch.testing.assert_close(normed + (0 if bias is None else bias), norm(full), **CLOSE)


@every_row
def test_batched_with_padding_equals_one_by_one(model_type):
    model = tiny_model(model_type)
    prompts = model.encode(TEXTS)
    assert len(set(map(len, prompts.ids))) > 1
    alone = [model.encode([text]) for text in TEXTS]
    one_by_one = torch.cat([hooked.last_logits(model, one)[0] for one in alone])
    torch.testing.assert_close(hooked.last_logits(model, prompts)[0], one_by_one, rtol=0, atol=1e-4)
    together = hooked.generate(model, prompts, max_new_tokens=5)
    each = [hooked.generate(model, one, max_new_tokens=5) for one in alone]
    assert together.ids == tuple(one.ids[0] for one in each)
    assert together.texts == tuple(one.texts[0] for one in each)
    expected = [one.margins[0] for one in each]
    assert together.margins == pytest.approx(expected, abs=1e-4)


@every_row
def test_tiny_models_hide_nothing(model_type):
    """A bias or gain left at 0 or 1 would let a wrong path through."""
    model = tiny_model(model_type)
    for name, parameter in model.hf.named_parameters():
        assert parameter.std() > 0.05, name


def test_an_unknown_type_is_told_what_there_is_and_how_to_add_it():
    message = (
        f"unknown architecture 'mine'; expected one of {', '.join(sorted(ARCHITECTURES))}, or "
        "another decoder of transformers; give its row by hand, as [architectures.TYPE] in a "
        "profile or with emolib.models.register"
    )
    with pytest.raises(UnknownArchitecture, match=f"^{re.escape(message)}$"):
        architecture("mine")


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"num_hidden_layers": 3, "num_attention_heads": 5}, (3, 5)),
        ({"n_layers": 3, "n_heads": 5}, (3, 5)),
        ({"text_config": {"num_hidden_layers": 3, "num_attention_heads": 5}}, (3, 5)),
        ({"layers_block_type": ["mamba", "attention"], "num_attention_heads": 5}, (2, 5)),
    ],
)
def test_types_without_a_row_say_their_shape_by_usual_names(config, shape):
    assert shape_from_config({"model_type": "mine"} | config) == shape


def test_a_type_without_heads_is_told_so():
    with pytest.raises(ValueError, match=r"^config.json: expected a number of attention heads \("):
        shape_from_config({"model_type": "mamba", "num_hidden_layers": 2})


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({}, (0, 1, 2, 3)),
        ({"layer_types": ["sliding_attention", "linear_attention", "full_attention", "conv"]},
         (0, 2)),
        ({"layers_block_type": ["mamba", "attention", "mlp", "moe"]}, (1,)),
        ({"attn_layer_indices": [2]}, (2,)),
        ({"full_attn_idxs": [1, 3]}, (1, 3)),
        ({"attn_layer_period": 2, "attn_layer_offset": 1}, (1, 3)),
        ({"text_config": {"full_attn_idxs": [0]}}, (0,)),
    ],
)  # fmt: skip
def test_hybrids_say_which_layers_have_heads(config, layers):
    assert head_layers_from_config(config, 4) == layers


@pytest.mark.parametrize("key", ["num_experts", "num_local_experts", "n_routed_experts"])
def test_mixtures_of_experts_have_no_units(key):
    assert why_no_units({key: 8, "num_experts_per_tok": 2})
    assert why_no_units({"text_config": {key: 8}})
    assert why_no_units({key: 1}) is why_no_units({key: None}) is why_no_units({}) is None
    with pytest.raises(ValueError, match=r"^config.json: no MLP units: its MLPs are mixtures"):
        units_from_config({"model_type": "mine", key: 8, "intermediate_size": 40})


def test_the_width_of_a_mixture_is_that_of_its_active_experts():
    config = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    assert active_width(config) == 48
    assert active_width(config | {"shared_expert_intermediate_size": 10}) == 58
    assert active_width({"num_local_experts": 8, "intermediate_size": 40}) == 40


@pytest.fixture
def by_hand():
    """Take back what is registered."""
    before = dict(architectures._GIVEN)
    yield
    architectures._GIVEN.clear()
    architectures._GIVEN.update(before)


def test_a_row_from_outside_comes_before_the_table_s_and_has_to_be_proven(by_hand):
    assert is_proven("gpt2") and not is_given("gpt2") and not is_proven("mine")
    row = dataclasses.replace(architecture("gpt2"), mlp_out="mlp.other")
    register(row)
    assert architecture("gpt2") is row and is_given("gpt2") and not is_proven("gpt2")


def test_rows_of_a_profile_are_texts_by_field(by_hand):
    paths = {"layers": "model.layers", "attn_out": "attn.out", "final_norm": "model.norm"}
    register_all({"mine": paths | {"n_heads_key": "heads"}})
    assert architecture("mine").attn_out_path(1) == "model.layers.1.attn.out"
    assert architecture("mine").mlp_out_path(1) is None
    config = {"model_type": "mine", "num_hidden_layers": 2, "heads": 3}
    assert shape_from_config(config) == (2, 3)
    for wrong, message in (
        (paths | {"block": "x"}, "unknown key 'block'; the keys are layers, attn_out, mlp_out, "),
        ({"layers": "model.layers"}, "the key 'attn_out' is missing; expected a path"),
    ):
        with pytest.raises(InputError, match=f"^architectures.mine: {message}"):
            register_all({"mine": wrong})


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bloom", "n_layer": 3, "num_attention_heads": 5},
        {"model_type": "falcon", "n_layer": 3, "n_head": 5},
        {"model_type": "gpt_neo", "num_layers": 3, "num_heads": 5},
    ],
)
def test_the_hub_s_other_spellings_are_read(config):
    assert shape_from_config(config) == (3, 5)


@pytest.mark.parametrize("wrong", [0, -1, "12", None, True, 1.5])
def test_a_shape_that_is_no_count_is_refused(wrong):
    message = f"config.json: n_layer: expected a whole number from 1, got {wrong!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        shape_from_config({"model_type": "gpt2", "n_layer": wrong, "n_head": 2})


def test_paths_are_those_of_named_modules():
    row = architecture("gpt_neo")
    assert row.attn_out_path(1) == "transformer.h.1.attn.attention.out_proj"
    assert row.attn_path(1) == "transformer.h.1.attn.attention"
    assert row.mlp_out_path(0) == "transformer.h.0.mlp.c_proj"
    assert row.post_attn_norm_path(0) is None
    assert (
        architecture("gemma2").post_attn_norm_path(1) == "model.layers.1.post_attention_layernorm"
    )
