"""The clean run that others resume from: the model's own, in order, shared and never changed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import study_in
from tiny import CONFIGS, HEADS, N_LAYERS, clean_runs, study_of, tiny_model

from emolib.engine import clean_runs as module
from emolib.engine import hooked, sweeps
from emolib.engine.clean_runs import CleanRun, KVCache
from emolib.engine.edits import branches
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.interventions import edit, zero

every_row = pytest.mark.parametrize("kind", CONFIGS)


def prepared(kind):
    """Give a model taken apart, prompts of different lengths and all of them as one batch."""
    model, prompts = tiny_model(kind, torch.float64), study_of(kind).prompts()
    (batch,) = prompts.batches(99, model.pad, "cpu")
    return LayerwiseModel(model), prompts, batch


def test_shared_clean_runs_are_not_changed_by_the_runs_on_them():
    """Edits are made in place, on copies."""
    study = study_in(torch.float64, "gpt2")
    resumed = clean_runs(study.model, study.prompts(), more=3)
    runs = [(zero(head),) for head in HEADS]
    twice = [dict(sweeps.sweep(resumed, runs, position=p)) for p in ("all", "last", "all")]
    assert all(torch.equal(twice[0][index], twice[2][index]) for index in range(len(runs)))


@every_row
@pytest.mark.parametrize("tokens", [1, 3, 8])
def test_z_at_a_layer_is_the_whole_model_s_in_the_last_columns(kind, tokens):
    layerwise, prompts, batch = prepared(kind)
    clean = CleanRun(layerwise, batch, tokens, keep=False)
    z = hooked.activations(layerwise.model, prompts).z
    mask = batch.at("all")[:, -tokens:]
    for layer in range(N_LAYERS):
        state = clean.state(layer, tokens)
        assert state.z.shape[:2] == state.resid.shape[:2] == (len(prompts), tokens)
        expected = z[layer].flatten(-2)[:, -tokens:]
        torch.testing.assert_close(state.z[mask], expected[mask], atol=1e-5, rtol=1e-5)
        assert torch.equal(clean.state(layer, 1).resid, state.resid[:, -1:])


@every_row
@pytest.mark.parametrize("keep", [True, False])
def test_what_comes_after_the_last_layer_gives_the_model_s_logits(kind, keep):
    layerwise, prompts, batch = prepared(kind)
    clean = CleanRun(layerwise, batch, batch.width, keep=keep)
    logits = layerwise.logits(clean.final())
    expected = hooked.last_logits(layerwise.model, prompts)[0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_run_that_keeps_nothing_is_asked_in_order():
    layerwise, _, batch = prepared("gpt2")
    clean = CleanRun(layerwise, batch, batch.width, keep=False)
    first = clean.state(0, batch.width)
    assert torch.equal(clean.state(0, batch.width).z, first.z)
    clean.state(1, batch.width)
    with pytest.raises(RuntimeError, match=r"^layer 0 of the clean run is behind; ask in order$"):
        clean.state(0, batch.width)


@pytest.mark.parametrize(("tokens", "keep"), [(8, True), (1, False)])
def test_a_run_that_is_kept_or_of_few_columns_is_asked_in_any_order(tokens, keep):
    layerwise, _, batch = prepared("gpt2")
    clean, other = (CleanRun(layerwise, batch, tokens, keep=keep) for _ in range(2))
    last = clean.state(1, tokens)
    assert torch.equal(other.state(0, tokens).z, clean.state(0, tokens).z)
    assert torch.equal(other.state(1, tokens).z, last.z)


@every_row
def test_shared_keys_and_values_are_those_of_the_model_s_own_cache(kind):
    layerwise, _, batch = prepared(kind)
    clean = CleanRun(layerwise, batch, 1, keep=False)
    cache = hooked.forward(layerwise.model, batch, use_cache=True).past_key_values
    mask = batch.at("all")[:, None, :, None]
    for layer in range(N_LAYERS):
        assert clean.shared(layer, 0) is None
        own = cache.layers[layer].keys, cache.layers[layer].values
        everything = clean.shared(layer, batch.width)
        for shared, first, cached in zip(everything, clean.shared(layer, 5), own, strict=True):
            assert torch.equal(first, shared[:, :, :5])
            # Falcon's holds the same for each query head, and a window what it will look at.
            cached = cached[:, :: cached.shape[1] // shared.shape[1]]
            width = cached.shape[2]
            assert shared[:, :, -width:].shape == cached.shape and 5 <= width <= 8
            expected = (cached * mask[:, :, -width:]).to(shared)
            close = {"atol": 1e-5, "rtol": 1e-5}
            torch.testing.assert_close((shared * mask)[:, :, -width:], expected, **close)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neo", "falcon"])
def test_columns_to_come_are_prepared_and_change_nothing_before_them(kind):
    layerwise, _, batch = prepared(kind)
    plain = CleanRun(layerwise, batch, 1, keep=True)
    longer = CleanRun(layerwise, batch, 1, keep=True, more=3)
    for before, after in zip(plain.inputs, longer.inputs, strict=True):
        assert after.bias.shape[-1] == before.bias.shape[-1] + 3 == batch.width + 3
    torch.testing.assert_close(plain.final(), longer.final(), atol=1e-12, rtol=1e-12)


def test_runs_that_take_little_are_kept_for_all_that_share_them(monkeypatch):
    study = study_of("gpt2")
    model, prompts = study.model, study.prompts()
    tokenwise, whole = (
        branches(model, [[one]], all_draws=True)
        for one in (zero(HEADS[0]), edit(HEADS[0], lambda z: z))
    )
    resumed = clean_runs(model, prompts)
    first = resumed.of(tokenwise, "last", more=False)
    assert len(first.groups) == 1
    assert list(map(id, resumed.of(tokenwise, "all", more=True))) == list(map(id, first))
    # Whole prompts are of one width, whatever is kept of others.
    other = list(resumed.of(whole, "last", more=False))
    assert {clean.tokens for clean in other} == {prompts.width}
    assert not {id(clean) for clean in other} & {id(clean) for clean in first}


def test_of_what_has_no_room_the_columns_that_are_asked_for_are_kept(monkeypatch):
    study = study_of("gpt2")
    model, prompts = study.model, study.prompts()
    runs = branches(model, [[zero(HEADS[0])]], all_draws=True)
    resumed = clean_runs(model, prompts)
    # Keys and values of all columns, the rest of the last one.
    few = sum(2 * len(ids) * 2 * 32 + 2 * 64 for ids in prompts.ids) * 8
    monkeypatch.setattr(module, "KEPT", int(1.2 * few))
    narrow = list(resumed.of(runs, "last", more=False))
    assert {clean.tokens for clean in narrow} == {1}
    assert [id(c) for c in resumed.of(runs, "last", more=True)] == list(map(id, narrow))
    monkeypatch.setattr(module, "KEPT", 0)
    large = clean_runs(model, prompts).of(runs, "last", more=False)
    assert [len(group) for group in large.groups] == [1] * len(prompts)
    assert {id(clean) for clean in large}.isdisjoint(map(id, narrow))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 2))
def test_the_cache_returns_all_that_it_was_given(columns, rows, spare):
    """Of each layer what came first and everything after it, in order, whatever the others got."""
    layers = 2
    more = sum(columns[1:]) + spare
    cache = KVCache(layers, more)
    made = torch.Generator().manual_seed(sum(columns))
    given: list[list[tuple]] = [[] for _ in range(layers)]
    for count in columns:
        for layer in range(layers):
            pair = tuple(torch.randn(2, rows, 2, count, 3, generator=made) for _ in range(2))
            given[layer].append(pair)
            for found, parts in zip(
                cache.append(layer, *pair), zip(*given[layer], strict=True), strict=True
            ):
                assert torch.equal(found, torch.cat(parts, dim=3))


def test_what_the_cache_is_given_first_comes_back_without_a_copy():
    key, value = torch.randn(2, 2, 1, 2, 4, 3).unbind(0)
    found = KVCache(1, 5).append(0, key, value)
    assert found[0] is key and found[1] is value
