"""Norms with their scale frozen: linear, the model's own where it was frozen, and transposed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CONFIGS, D_MODEL, N_LAYERS, tiny_model

from emolib.methods.frozen_norms import (
    FrozenNorm,
    FrozenNorms,
    frozen_norm,
    frozen_norms,
    norm_paths,
)

every_row = pytest.mark.parametrize("kind", CONFIGS)
POST_NORMED = ("olmo2", "gemma2", "gemma3_text")


def drawn(seed, count=1, rows=3, width=5):
    made = torch.Generator().manual_seed(seed)
    return torch.randn(count, rows, width, generator=made, dtype=torch.float64)


def own(model, path, values):
    """Give what the model's norm says of values, without its bias."""
    norm = model.module(path)
    bias = getattr(norm, "bias", None)
    return norm(values) - (0 if bias is None else bias)


def posts_of(model):
    paths = [model.arch.post_attn_norm_path(layer) for layer in range(N_LAYERS)]
    assert all(paths) == (model.arch.model_type in POST_NORMED) == any(paths)
    return paths


@given(st.integers(0, 99), st.lists(st.booleans(), min_size=1, max_size=3))
def test_there_and_back_are_transposes_of_each_other(seed, centred):
    """What a direction reads after the norms is what the direction before them reads."""
    factors = drawn(seed, len(centred))
    norms = tuple(map(FrozenNorm, factors, centred))
    written, direction = drawn(seed + 100, 2)
    for there in (norms[0], FrozenNorms(norms)):
        after = (there(written) * direction).sum(-1)
        before = (written * there.back(direction)).sum(-1)
        torch.testing.assert_close(after, before)
    swapped = FrozenNorms(norms[::-1])
    if len(set(centred)) > 1:
        assert not torch.allclose(swapped(written), FrozenNorms(norms)(written))


def test_layer_norm_centres_and_rms_norm_does_not():
    """By hand: two dims, a gain over a scale of 2 and 3."""
    factor, written = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 1.0]])
    assert FrozenNorm(factor, True)(written).tolist() == [[4, -6]]
    assert FrozenNorm(factor, False)(written).tolist() == [[10, 3]]
    assert FrozenNorm(factor, True).back(written).tolist() == [[3.5, -3.5]]
    assert FrozenNorm(factor, False).back(written).tolist() == [[10, 3]]


@every_row
def test_of_what_it_was_frozen_at_it_is_the_model_s_own_norm(kind):
    model = tiny_model(kind, torch.float64)
    full = 3 * drawn(0, rows=4, width=D_MODEL)[0] + 1
    for path in (model.arch.final_norm, *filter(None, posts_of(model))):
        frozen = frozen_norm(model, path, full)
        assert frozen.centred == isinstance(model.module(path), torch.nn.LayerNorm)
        expected = own(model, path, full)
        torch.testing.assert_close(frozen(full), expected, atol=1e-6, rtol=1e-6)


@every_row
def test_it_is_linear_where_the_norm_is_not(kind):
    """Its parts add up to the whole, and twice as much stays twice as much."""
    model = tiny_model(kind, torch.float64)
    path = model.arch.final_norm
    parts = drawn(1, count=3, rows=4, width=D_MODEL)
    full = parts.sum(0)
    frozen = frozen_norm(model, path, full)
    torch.testing.assert_close(sum(map(frozen, parts)), frozen(full))
    torch.testing.assert_close(frozen(2 * full), 2 * frozen(full))
    assert not torch.allclose(own(model, path, 2 * full), 2 * own(model, path, full))


@every_row
def test_a_part_goes_through_its_own_norm_and_then_the_final_one(kind):
    model = tiny_model(kind, torch.float64)
    posts = posts_of(model)
    paths = norm_paths(model, posts)
    assert paths == [*filter(None, posts), model.arch.final_norm]
    into = dict(zip(paths, drawn(2, len(paths), rows=4, width=D_MODEL), strict=True))
    written = drawn(3, rows=4, width=D_MODEL)[0]
    last = frozen_norm(model, paths[-1], into[paths[-1]])
    maps = frozen_norms(model, posts, into)
    assert len(maps) == N_LAYERS
    for through, post in zip(maps, posts, strict=True):
        normed = written if post is None else frozen_norm(model, post, into[post])(written)
        torch.testing.assert_close(through(written), last(normed))


def test_a_norm_in_low_precision_is_frozen_in_double():
    model = tiny_model("llama", torch.bfloat16)
    full = drawn(4, rows=2, width=D_MODEL)[0].bfloat16()
    assert frozen_norm(model, model.arch.final_norm, full).factor.dtype == torch.float64
