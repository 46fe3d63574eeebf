"""The operations of a layer: equal to the plain form of each, whatever the strides."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from transformers.activations import ACT2FN
from transformers.models.bloom.modeling_bloom import BloomGelu
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

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


NORMS = (llama.LlamaRMSNorm, Olmo2RMSNorm, Gemma3RMSNorm)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
every_norm = pytest.mark.parametrize("kind", NORMS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def norm_of(kind, width, dtype=torch.float32):
    """Give a frozen norm of transformers with a gain of its own."""
    norm = kind(width, eps=1e-5).requires_grad_(False).to(dtype)
    norm.weight += torch.linspace(-1, 1, width, dtype=dtype)
    return norm


@given(st.sampled_from(NORMS), st.lists(SIZES, min_size=1, max_size=4), st.integers(1, 40))
def test_an_rms_norm_is_transformers_own(kind, sizes, width):
    norm = norm_of(kind, width)
    fused = kernels.fused_norm(norm)
    assert isinstance(fused, kernels.RMSNorm)
    values = torch.randn(*sizes, width, generator=torch.Generator().manual_seed(width)) * 3
    torch.testing.assert_close(fused(values), norm(values), atol=1e-6, rtol=2e-6)


def test_an_rms_norm_takes_heads_that_lie_apart():
    values = torch.randn(2, 1, 5, 4, 3, 16)[..., 0, :]
    norm = norm_of(Gemma3RMSNorm, 16)
    assert close(kernels.fused_norm(norm)(values), norm(values), 1e-6)


@every_norm
@every_dtype
def test_an_rms_norm_of_any_type_is_rounded_as_transformers_rounds_it(kind, dtype):
    norm, values = norm_of(kind, 24, dtype), torch.randn(5, 24).to(dtype)
    found = kernels.fused_norm(norm)(values)
    assert found.dtype == dtype
    if dtype == torch.float32:
        assert close(found, norm(values), 1e-6)
    else:
        assert torch.equal(found, norm(values))


@every_norm
def test_an_rms_norm_s_gradient_is_transformers_own(kind):
    norm, slopes = norm_of(kind, 24), []
    for way in (kernels.fused_norm(norm), norm):
        values = torch.linspace(-2, 3, 120).view(5, 24).requires_grad_()
        (slope,) = torch.autograd.grad(way(values).sin().sum(), values)
        slopes.append(slope)
    assert close(*slopes)


def test_an_rms_norm_follows_its_weight():
    norm, values = norm_of(llama.LlamaRMSNorm, 24), torch.randn(5, 24)
    fused = kernels.fused_norm(norm)
    norm.weight.mul_(-2)
    assert close(fused(values), norm(values), 1e-6)


class Shifted(llama.LlamaRMSNorm):
    """Called an RMSNorm, and none."""

    def forward(self, values):
        return super().forward(values) + 1e-3


class Squashed(llama.LlamaRMSNorm):
    """An RMSNorm of another eps than it says."""

    def forward(self, values):
        return F.rms_norm(values, (values.shape[-1],), self.weight, 1e-3)


@pytest.mark.parametrize("norm", [Shifted(8), Squashed(8), torch.nn.LayerNorm(8), None])
def test_what_is_no_rms_norm_is_left_alone(norm):
    assert kernels.fused_norm(norm) is norm


def angles(tokens, width, prompts=2):
    return torch.randn(prompts, tokens, width, generator=torch.Generator().manual_seed(tokens))


def draw_heads(tokens, width, rest, dtype):
    """Give values whose heads lie apart, as one projection of three makes them."""
    generator = torch.Generator().manual_seed(width)
    drawn = torch.randn(2, 3, tokens, 4, 3, width + rest, generator=generator)
    return drawn.to(dtype)[..., 1, :]


def turned_as_llama(values, cos, sin, width):
    turned, rest = values[..., :width].flatten(0, 1), values[..., width:]
    cos, sin = (part.repeat_interleave(3, dim=0) for part in (cos, sin))
    out, _ = llama.apply_rotary_pos_emb(turned, turned, cos, sin, unsqueeze_dim=2)
    return torch.cat([out.view(*values.shape[:-1], width), rest], dim=-1)


def turned_as_gptj(values, cos, sin, width):
    turned, rest = values[..., :width].flatten(0, 1), values[..., width:]
    cos, sin = (part.repeat_interleave(3, dim=0) for part in (cos, sin))
    out = gptj.apply_rotary_pos_emb(turned, sin, cos)
    return torch.cat([out.view(*values.shape[:-1], width), rest], dim=-1)


def both_ways(form, tokens, half, rest, dtype):
    """Give values turned here, by transformers, and a check that they stay what they were."""
    width = 2 * half
    values = draw_heads(tokens, width, rest, dtype)
    phase = angles(tokens, half).to(dtype)
    phase = torch.cat([phase, phase], dim=-1) if form == "halves" else phase
    turn = kernels.rotate_halves if form == "halves" else kernels.rotate_pairs
    own = turned_as_llama if form == "halves" else turned_as_gptj
    before = values.clone()
    found = turn(values, phase.cos(), phase.sin())
    assert torch.equal(values, before)
    return found, own(values, phase.cos(), phase.sin(), width)


@given(st.sampled_from(["halves", "pairs"]), SIZES, SIZES, st.integers(0, 9))
def test_positions_turn_as_transformers_turns_them(form, tokens, half, rest):
    found, own = both_ways(form, tokens, half, rest, torch.float32)
    torch.testing.assert_close(found, own, atol=1e-6, rtol=2e-6)


@every_dtype
@pytest.mark.parametrize("form", ["halves", "pairs"])
def test_positions_turn_values_of_any_type(form, dtype):
    found, own = both_ways(form, 5, 4, 3, dtype)
    assert found.dtype == own.dtype == dtype
    if dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(found, own)
    else:
        torch.testing.assert_close(found, own)


@pytest.mark.parametrize("rest", [0, 3])
@pytest.mark.parametrize("turn", [kernels.rotate_halves, kernels.rotate_pairs])
def test_the_gradient_through_positions_is_the_turn_back(turn, rest):
    values = draw_heads(5, 8, rest, torch.float64).requires_grad_()
    phase = angles(5, 4).double()
    phase = torch.cat([phase, phase], dim=-1) if turn is kernels.rotate_halves else phase
    direction = torch.randn_like(values)
    turned = turn(values, phase.cos(), phase.sin())
    (slope,) = torch.autograd.grad((turned * direction).sum(), values)
    torch.testing.assert_close(slope, turn(direction, phase.cos(), -phase.sin()))
