"""Vectors added to the residual stream and to z, on every architecture: one answer by every way."""

from __future__ import annotations

import re

import pytest
import torch
from tiny import CONFIGS, N_LAYERS, TEXTS, crossed, profile, study_of, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head, all_heads
from emolib.inputs.targets import Stream
from emolib.interventions import Intervention, scale, shift, steer, zero
from emolib.methods.study import Study
from emolib.models.encoding import Prompts
from emolib.tracing import hook_count

every_row = pytest.mark.parametrize("model_type", sorted(CONFIGS))
families = pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama", "gemma2"])
HEADS = [Head(0, 1), Head(1, 3)]
NEAR = {"rtol": 0, "atol": 1e-5}


def drawn(width, seed=0, draws=None):
    generator = torch.Generator().manual_seed(seed)
    size = (width,) if draws is None else (draws, width)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def stream(model, seed=0):
    return drawn(model.w_o(Head(0, 0)).shape[1], seed)


def z(model, seed=0):
    return {head: drawn(len(model.w_o(head)), seed + i) for i, head in enumerate(HEADS)}


def added(vector, columns=slice(None)):
    """Give an edit of one's own, which knows nothing of interventions."""

    def edit(values):
        values = values.clone()
        values[:, columns] += vector.to(values)
        return values

    return edit


def by_every_way(study, layer, position):
    """Check that a vector does the same however it is added, and that it does something."""
    model, prompts = study.model, study.prompts()
    # Far longer than the stream: as Gemma's embedding is scaled, less leaves every text as it is.
    length = study.streams_at_last("emotion")[layer].norm(dim=-1).mean()
    vector = stream(model) / stream(model).norm() * length
    edit = steer(layer, vector, 6)
    run, clean = study.run(edit), study.run()
    whole = hooked.last_logits(model, prompts, [edit], position=position)
    torch.testing.assert_close(run.logits, whole, **NEAR)
    columns = slice(-1, None) if position == "last" else slice(None)
    with study.traced(f"resid:{layer}", edit_output=added(6 * vector, columns)):
        traced = study.run()
        texts = traced.texts
    torch.testing.assert_close(run.logits, traced.logits, **NEAR)
    made = hooked.generate(model, prompts, [edit], max_new_tokens=4, position=position)
    assert run.texts == list(made.texts) == texts != clean.texts
    assert (run.logits - clean.logits).abs().max() > 0.1
    assert hook_count(model.hf) == 0


@every_row
def test_layer_by_layer_under_hooks_and_by_a_trace_of_one_s_own_are_one(model_type):
    study = study_of(model_type)
    for layer in range(N_LAYERS):
        by_every_way(study, layer, "last")


@families
def test_the_same_at_every_position(model_type):
    by_every_way(study_of(model_type, position="all"), 0, "all")


@every_row
def test_z_of_heads_moves_alike_by_every_way(model_type):
    study = study_of(model_type)
    model, vectors = study.model, z(study.model)
    edit = shift(HEADS, vectors, -3)
    run = study.run(edit)
    whole = hooked.last_logits(model, study.prompts(), [edit])
    torch.testing.assert_close(run.logits, whole, **NEAR)

    def move(layer):
        def change(values):
            values = values.clone()
            for head in HEADS:
                if head.layer == layer:
                    values[:, -1, head.index] -= 3 * vectors[head].to(values)
            return values

        return change

    with (
        study.traced("z:0", edit_output=move(0)),
        study.traced("z:1", edit_output=move(1)),
    ):
        traced = study.run()
        texts = traced.texts
    torch.testing.assert_close(run.logits, traced.logits, **NEAR)
    made = hooked.generate(model, study.prompts(), [edit], max_new_tokens=4)
    assert run.texts == list(made.texts) == texts
    assert (run.logits - study.run().logits).abs().max() > 0.05


@crossed(model_type=sorted(CONFIGS), position=["last", "slot", "all"])
def test_a_dose_of_0_changes_no_bit(model_type, position):
    model = tiny_model(model_type)
    free = model.encode(TEXTS)
    prompts = Prompts(free.texts, free.ids, ((1, 3), (0, 1), (2, 3)))
    clean = hooked.last_logits(model, prompts)
    for none in (steer(0, stream(model), 0), shift(HEADS, z(model), 0)):
        assert torch.equal(hooked.last_logits(model, prompts, [none], position=position), clean)
    made = hooked.generate(model, prompts, [none], max_new_tokens=3, position=position)
    assert made.ids == hooked.generate(model, prompts, max_new_tokens=3).ids


@families
def test_runs_that_are_expected_together_are_those_that_are_asked_for_alone(model_type):
    together, apart = study_of(model_type), study_of(model_type)
    model = together.model
    runs = [steer(layer, stream(model), alpha) for layer in (0, 1) for alpha in (-2, 0.5, 3)]
    runs += [shift(HEADS, z(model), alpha) for alpha in (-1, 2)]
    runs += [steer([Stream(0), Stream(1)], stream(model)), zero(HEADS)]
    for texts in (False, True):
        together.expect(runs, "neutral", "last", texts=texts)
    for one in reversed(runs):
        ours = together.run(one, on="neutral", position="last")
        theirs = apart.run(one, on="neutral", position="last")
        assert ours.logit_diff == pytest.approx(theirs.logit_diff, abs=1e-5)
        assert ours.texts == theirs.texts
        assert ours.fluency == pytest.approx(theirs.fluency, abs=1e-5)


def test_several_runs_expected_are_one_sweep_and_one_decode(monkeypatch):
    study, seen = study_of("gpt2"), []
    path = study.runner._kept()
    for name in ("logits", "texts"):
        inner = getattr(path, name)

        def counted(side, runs, *more, _inner=inner, _name=name):
            seen.append((_name, len(runs)))
            return _inner(side, runs, *more)

        monkeypatch.setattr(path, name, counted)
    runs = [steer(0, stream(study.model), alpha) for alpha in (-1, 1, 2)]
    for texts in (False, True):
        study.expect(runs, "emotion", "last", texts=texts)
    for one in runs:
        run = study.run(one, position="last")
        assert len(run.texts) == len(run.logit_diff)
    assert sorted(seen) == [("logits", 3), ("texts", 3)]


@families
@pytest.mark.parametrize("size", [1, 2, None])
def test_batches_of_any_size_say_the_same(model_type, size):
    study = study_of(model_type)
    edit = steer(0, stream(study.model), 2)
    some = Study(study.model, tiny_emotion(), profile(batch_size=size))
    torch.testing.assert_close(some.run(edit).logits, study.run(edit).logits, **NEAR)
    assert some.run(edit).texts == study.run(edit).texts


@families
@pytest.mark.parametrize("kind", ["steer", "shift"])
def test_every_generated_token_is_edited_too(model_type, kind):
    """The cache and the edit together give what running the whole text anew gives."""
    model = tiny_model(model_type, torch.float64)
    edit = steer(0, stream(model), 2) if kind == "steer" else shift(HEADS, z(model), 4)
    prompts = model.encode(TEXTS)
    made = hooked.generate(model, prompts, [edit], max_new_tokens=3, position="last")
    for row, ids in enumerate(made.ids):
        grown, start = prompts.ids[row], len(prompts.ids[row]) - 1
        for token in ids:
            whole = Prompts(("",), (grown,), ((start, len(grown)),))
            logits = hooked.last_logits(model, whole, [edit], position="slot")
            assert int(logits[0, 0].argmax()) == token
            grown = (*grown, token)


def test_draws_are_averaged_and_texts_have_the_first():
    study = study_of("gpt2")
    vectors = drawn(32, draws=3)
    run = study.run(steer(1, vectors, 2))
    each = [study.run(steer(1, vector, 2)) for vector in vectors]
    assert run.logits.shape[0] == 3
    for number, one in enumerate(each):
        torch.testing.assert_close(run.logits[number], one.logits[0], **NEAR)
    mean = sum(one.logit_diff for one in each) / 3
    assert run.logit_diff == pytest.approx(mean, abs=1e-6)
    assert run.texts == each[0].texts
    heads = {head: drawn(8, seed, draws=2) for seed, head in enumerate(HEADS)}
    both = study.run(shift(HEADS, heads, 3))
    for number in range(2):
        of_draw = {head: values[number] for head, values in heads.items()}
        one = study.run(shift(HEADS, of_draw, 3))
        torch.testing.assert_close(both.logits[number], one.logits[0], **NEAR)


def test_beside_an_ablation_each_edits_its_own():
    study = study_of("gpt2")
    vector, head = stream(study.model), Head(1, 2)
    both = study.run(zero(head), steer(0, vector))
    with study.traced("resid:0", edit_output=added(vector, slice(-1, None))):
        traced = study.run(zero(head)).logits
    torch.testing.assert_close(both.logits, traced, **NEAR)
    alone = study.run(steer(0, vector)).logits
    assert (both.logits - alone).abs().max() > 1e-3
    # A layer's stream is what is left when its heads have written: at a set of streams, each.
    twice = study.run(steer([Stream(0), Stream(1)], vector)).logits
    apart = study.run(steer(0, vector), steer(1, vector)).logits
    torch.testing.assert_close(twice, apart, **NEAR)


def ways(study):
    """Give the ways that a run goes: layer by layer, under hooks, and texts of both."""
    model, prompts = study.model, study.prompts()
    return (
        lambda edit: study.run(edit).logits,
        lambda edit: study.run(edit).texts,
        lambda edit: hooked.last_logits(model, prompts, [edit]),
        lambda edit: hooked.generate(model, prompts, [edit], max_new_tokens=2),
    )


@pytest.mark.parametrize("way", range(4))
def test_a_vector_of_another_width_is_one_line(way):
    study = study_of("gpt2")
    run = ways(study)[way]
    for edit, place, width in (
        (steer(1, drawn(31)), "steer: the vector at resid:1 has 31 numbers, expected 32", 32),
        (shift(HEADS[0], {HEADS[0]: drawn(32)}), "shift: the vector at L0H1 has 32 numbers", 8),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(place)}") as error:
            run(edit)
        assert f"expected {width}; make it of this model's own" in str(error.value)
        assert "\n" not in str(error.value)
    assert hook_count(study.model.hf) == 0
    # What fails leaves nothing behind: the next run is right.
    assert run(steer(1, drawn(32), 0)) is not None


@pytest.mark.parametrize("way", range(4))
def test_a_layer_that_the_model_lacks_is_one_line(way):
    study = study_of("gpt2")
    message = "steer[1](resid:2): layer 2 does not exist, tiny-gpt2 has 2 layers, counted from 0"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        ways(study)[way](steer(2, drawn(32)))
    assert hook_count(study.model.hf) == 0


def test_an_edit_of_the_stream_of_another_shape_is_refused():
    study = study_of("gpt2")
    wrong = Intervention("mine", steer(0, drawn(32)).targets, lambda values, _: values[..., :3])
    for way in ways(study):
        with pytest.raises(RuntimeError, match=r"the edit of resid:0 must return the stream of "):
            way(wrong)
        assert hook_count(study.model.hf) == 0


def test_every_head_of_a_layer_shifted_is_its_attention_s_output_shifted():
    """What z adds, W_O carries to the stream: of all heads and the last layer that is a vector."""
    study = study_of("gpt2")
    model = study.model
    heads = [head for head in all_heads(N_LAYERS, 4) if head.layer == 1]
    vectors = {head: drawn(8, i) for i, head in enumerate(heads)}
    carried = sum(vectors[head] @ model.w_o(head).double() for head in heads)
    with study.traced("attn:1", edit_output=added(0.5 * carried, slice(-1, None))):
        traced = study.run().logits
    torch.testing.assert_close(study.run(shift(heads, vectors, 0.5)).logits, traced, **NEAR)
    doubled = study.run(shift(heads, vectors, 0.5), scale(heads, 1)).logits
    torch.testing.assert_close(doubled, traced, **NEAR)
