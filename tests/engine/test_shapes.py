"""The sizes of a model, and the numbers in memory and FLOPs that follow: by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CONFIGS, D_MODEL, N_HEADS, N_LAYERS, WORDS, build, tiny_model
from transformers import GPT2Config

from emolib.engine.shapes import Shape, shape_of
from emolib.inputs.heads import Head

GPT2_SMALL = Shape(12, 12, 12, 64, 768, 3072, 2, 50257, 4)
SMALL = Shape(
    n_layers=2, n_heads=4, n_key_heads=2, d_head=3, d_model=5, n_units=7, maps=3, vocab=11, size=2
)


def test_the_figures_of_gpt2_small():
    """By hand: 24 d² a token and layer, 64 prompts of 24 tokens, the head of layer 0 ablated."""
    tokens, d = 64 * 24, 768
    mlp, whole = 16 * d * d * tokens, 24 * d * d * tokens + 4 * d * 24 * tokens
    final = 4 * d * d * tokens + 64 * (20 * d * d + 4 * d * 24)
    expected = 2 * 64 * d * d + mlp + 10 * whole + final + 2 * 64 * d * 50257
    expected += 2 * d * d * tokens - 2 * 64 * d * d
    assert GPT2_SMALL.run_flops(64, 24, 24, 0) == expected
    assert GPT2_SMALL.weights == pytest.approx(4 * (124_439_808 - 1024 * 768), rel=1e-3)


def test_the_sizes_of_gpt2_small_are_those_of_its_config():
    assert shape_of(GPT2Config(), 3072, "float32") == GPT2_SMALL


def test_numbers_in_memory_by_hand():
    # Queries and output 4 heads, keys and values 2 of 3 columns each; three maps of 7 units.
    layer = 5 * (4 + 4 + 2 + 2) * 3 + 3 * 5 * 7
    assert SMALL.weights == (2 * layer + 11 * 5) * 2 == 1250
    # The stream four times over, z three times and the units once a map, for each token.
    assert SMALL.layer_floats(10, 10) == 10 * (4 * 5 + 3 * 12 + 3 * 7) == 770
    # Where columns before them are shared, the scores of four heads, three times over.
    assert SMALL.layer_floats(1, 10) == 77 + 3 * 4 * 10
    # Keys and values of two heads in two layers.
    assert SMALL.decode_floats(10) == 2 * 2 * 2 * 3 * 10
    # Keys and values of all columns; the stream and z of the last ones.
    assert SMALL.clean_floats(10, 10) == 2 * 10 * (2 * 2 * 3 + 5 + 4 * 3) == 580
    assert SMALL.clean_floats(10, 1) == 2 * (10 * 12 + 17)


def test_flops_by_hand():
    keys_values, query, out = 2 * (2 * 10 * 5 * 6), 2 * 4 * 5 * 12, 2 * 4 * 12 * 5
    looked = 2 * (2 * 4 * 4 * 6 * 3)
    assert SMALL.heads_flops(10, 4, 6) == keys_values + query + out + looked == 3312
    assert SMALL.mlp_flops(10) == 3 * (2 * 10 * 5 * 7) == 2100
    unembed, first = 2 * 3 * 5 * 11, SMALL.heads_flops(6, 6, 6) + SMALL.mlp_flops(6)
    last = SMALL.heads_flops(6, 3, 6) + SMALL.mlp_flops(3)
    assert SMALL.run_flops(3, 6, 2, -1) == unembed + first + last
    # Of the layer that is edited the output projection is left; past the last one the logits.
    edited = 2 * 6 * 12 * 5 + SMALL.mlp_flops(6)
    assert SMALL.run_flops(3, 6, 2, 0) == unembed + edited + last
    assert SMALL.run_flops(3, 6, 2, 1) == unembed + 2 * 3 * 12 * 5 + SMALL.mlp_flops(3)
    assert SMALL.run_flops(3, 6, 2, 2) == unembed


@given(*[st.integers(1, 9)] * 3)
def test_a_later_edit_and_fewer_columns_cost_less(rows, width, tokens):
    tokens = min(tokens, width)
    costs = [SMALL.run_flops(rows, width, tokens, first) for first in (-1, 0, 1, 2)]
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == 4
    assert SMALL.run_flops(rows, width, tokens, 0) <= SMALL.run_flops(rows, width, width, 0)
    assert SMALL.run_flops(2 * rows, width, tokens, 0) == 2 * costs[1]


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_weights_counted_are_those_that_are_there(kind):
    """Matrices of the layers and the embedding, once; biases, norms and positions are small."""
    model = tiny_model(kind)
    shape = shape_of(model.hf.config, model.n_units, "float32")
    assert (shape.n_layers, shape.n_heads) == (N_LAYERS, N_HEADS)
    assert (shape.d_model, shape.vocab, shape.n_units) == (D_MODEL, WORDS, model.n_units)
    assert shape.d_head == model.w_o(Head(0, 0)).shape[0]
    matrices = [
        parameter.numel()
        for name, parameter in model.hf.named_parameters()
        if name.startswith(f"{model.arch.layers}.") and parameter.ndim == 2
    ]
    assert shape.weights == 4 * (sum(matrices) + model.hf.get_input_embeddings().weight.numel())


@pytest.mark.parametrize(
    ("sizes", "keys"),
    [
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, 2),
        ({"new_decoder_architecture": False, "multi_query": True}, 1),
        ({"new_decoder_architecture": False, "multi_query": False}, N_HEADS),
    ],
)
def test_falcon_has_its_key_heads_in_three_ways(sizes, keys):
    model = build("falcon", CONFIGS["falcon"] | sizes, torch.float32)
    shape = shape_of(model.hf.config, model.n_units, "float32")
    assert shape.n_key_heads == keys
    fused = model.hf.transformer.h[0].self_attention.query_key_value.weight
    assert fused.shape[0] == (N_HEADS + 2 * keys) * shape.d_head


@pytest.mark.parametrize(
    ("dtype", "size"), [("float64", 8), ("float32", 4), ("bfloat16", 2), ("float16", 2)]
)
def test_a_number_takes_the_bytes_of_its_type(dtype, size):
    assert shape_of(tiny_model("falcon").hf.config, 40, dtype).size == size
