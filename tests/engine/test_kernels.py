"""The operations of a layer: equal to the plain form of each, whatever the strides."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from transformers.activations import ACT2FN
from transformers.models.bloom.modeling_bloom import BloomGelu

from emolib.engine import kernels

SIZES = st.integers(1, 7)


def close(a, b, atol=1e-5):
    return torch.allclose(a, b, atol=atol, rtol=1e-5)


@given(SIZES, SIZES, st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans())
def test_linear_is_torchs_own(rows, tokens, width, out, turned, biased):
    made = torch.Generator().manual_seed(rows * 1000 + width)
    values = torch.randn(rows, tokens, width, generator=made)
    weight = torch.randn(out, width, generator=made)
    weight = weight.T.contiguous().T if turned else weight
    bias = torch.randn(out, generator=made) if biased else None
    assert close(kernels.linear(values, weight, bias), F.linear(values, weight, bias))


def test_linear_takes_what_has_gaps():
    """A last column, and some rows of a turned weight: what the last layer works on."""
    values = torch.randn(6, 2, 9, 16)[:, :, -1:]
    weight = torch.randn(16, 24).T[8:20]
    assert close(kernels.linear(values, weight, None), F.linear(values, weight))


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh", "gelu", "silu", "relu"])
def test_activations_equal_transformers_own(name):
    module = ACT2FN[name]
    fused = kernels.activation_of(module)
    values, weight = torch.randn(8, 16) * 3, torch.randn(12, 16)
    expected = module(F.linear(values, weight))
    assert close(kernels.linear(values, weight, None, fused), expected)
    assert close(kernels.activate(F.linear(values, weight), fused), expected, 1e-6)


def test_blooms_activation_is_gelu_s_tanh_form():
    values = torch.randn(8, 16) * 3
    assert close(kernels.activate(values, kernels.activation_of(BloomGelu())), BloomGelu()(values))


def test_an_activation_that_is_no_single_operation_is_left_alone():
    assert kernels.activation_of(ACT2FN["relu2"]) is None


@pytest.mark.parametrize("turned", [False, True])
def test_the_gradient_of_a_product_is_torchs_own(turned):
    weight, bias = torch.randn(12, 16), torch.randn(12)
    weight = weight.T.contiguous().T if turned else weight
    slopes = []
    for product in (kernels.linear, F.linear):
        values = torch.linspace(-1, 1, 128).view(2, 4, 16).requires_grad_()
        (slope,) = torch.autograd.grad(product(values, weight, bias).sin().sum(), values)
        slopes.append(slope)
    assert close(*slopes)


def plain(query, key, value, bias, scale, cap):
    """Attend row by row, head by head, from the definition."""
    B, k, S, H, d = query.shape
    group = H // key.shape[2]
    z = torch.empty(B, k, S, H, d, dtype=query.dtype)
    for b in range(B):
        for row in range(k):
            for head in range(H):
                scores = query[b, row, :, head] @ key[b, row, head // group].T * scale
                if cap is not None:
                    scores = torch.tanh(scores / cap) * cap
                scores = scores + bias[b, head if bias.shape[1] > 1 else 0]
                z[b, row, :, head] = scores.softmax(-1) @ value[b, row, head // group]
    return z.flatten(-2)


@given(
    st.tuples(SIZES, st.integers(1, 3), st.integers(1, 4), st.integers(1, 2), st.integers(1, 3)),
    st.integers(0, 5),
    st.sampled_from([None, 2.0]),
    st.booleans(),
)
def test_attention_is_its_definition(sizes, before, cap, by_head):
    """Shared columns and own ones, grouped heads, caps, biases of all heads or of each."""
    prompts, rows, tokens, keys, group = sizes
    made = torch.Generator().manual_seed(before)

    def draw(*shape):
        return torch.randn(*shape, generator=made, dtype=torch.float64)

    query = draw(prompts, rows, tokens, keys * group, 4)
    own = draw(prompts, rows, keys, tokens, 4), draw(prompts, rows, keys, tokens, 4)
    shared = (draw(prompts, keys, before, 4), draw(prompts, keys, before, 4)) if before else None
    lowest = draw(tokens, before + tokens).fill_(torch.finfo(torch.float64).min)
    bias = lowest.triu(before + 1).expand(prompts, 1, -1, -1)
    if by_head:
        bias = bias + draw(prompts, keys * group, 1, before + tokens)
    key, value = own
    if shared:
        key, value = (
            torch.cat([common[:, None].expand(-1, rows, -1, -1, -1), mine], dim=3)
            for common, mine in zip(shared, own, strict=True)
        )
    z = kernels.attend(query, own, shared, bias, scale=0.5, cap=cap)
    assert close(z, plain(query, key, value, bias, 0.5, cap), 1e-9)
    if not by_head:
        assert close(kernels.attend(query, own, shared, None, scale=0.5, cap=cap), z, 1e-9)
