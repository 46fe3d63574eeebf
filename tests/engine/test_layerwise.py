"""Runs through the layers taken apart: of prompts of any length, in batches of any size."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from runs import POSITIONS
from tiny import HEADS, profile, study_of, text, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.engine.layerwise import Layerwise
from emolib.engine.whole import Whole
from emolib.interventions import scale, zero
from emolib.methods.study import Study


@pytest.fixture
def study():
    return study_of("gpt2")


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def layered(kind="gpt2", size=None):
    study = study_of(kind)
    return study, Layerwise(study.model, study.prompts, batch_size=size, max_new_tokens=4)


def test_a_prompt_of_one_token_runs_by_itself():
    lists = ((text(3), text(4, 5)), (text(6), text(7, 8)))
    emotion = dataclasses.replace(tiny_emotion(), pairs=None, free=lists)
    study = Study(tiny_model("gpt2"), emotion, profile())
    readout = study.run(zero(HEADS[0]))
    close(readout.logits, hooked.last_logits(study.model, study.prompts(), [zero(HEADS[0])]))
    assert len(readout.fluency) == len(readout.texts) == 2


@pytest.mark.parametrize("position", ["last", "all"])
def test_an_edit_that_changes_nothing_reads_as_the_clean_run(position):
    """Bit for bit where each runs by itself, up to rounding where runs ride in batches."""
    study = study_of("gpt2", position=position)
    same, model, prompts = scale(HEADS[0], 1), study.model, study.prompts()
    alone = hooked.last_logits(model, prompts, [same], position=position)
    assert torch.equal(alone, hooked.last_logits(model, prompts, position=position))
    assert torch.allclose(study.run(same).logits, study.run().logits, atol=1e-10)


@pytest.mark.parametrize("size", [1, 2, None])
@pytest.mark.parametrize("side", ["emotion", "neutral"])
def test_batches_of_any_size_give_the_same_logits_texts_and_z(side, size):
    study, layers = layered("llama", size)
    model, prompts = study.model, study.prompts(side)
    runs = [(zero(HEADS[1]),), (), (scale(HEADS[6], 3),)]
    for position in POSITIONS:
        found = dict(layers.logits(side, runs, position))
        assert sorted(found) == [0, 1, 2]
        for index, run in enumerate(runs):
            close(found[index], hooked.last_logits(model, prompts, run, position=position))
    for index, made in layers.texts(side, runs, "all"):
        whole = hooked.generate(model, prompts, runs[index], max_new_tokens=4, position="all")
        assert made.ids == whole.ids
    z, expected = layers.activations(side), hooked.activations(model, prompts)
    mask = z.batch.at("all")
    assert z.prompts == prompts and torch.equal(mask, expected.batch.at("all"))
    for ours, theirs in zip(z.z, expected.z, strict=True):
        assert ours.shape == theirs.shape
        close(ours[mask], theirs[mask])


def test_the_clean_runs_of_a_side_are_made_once():
    _, layers = layered()
    emotion = layers.clean_runs("emotion")
    assert list(layers.logits("emotion", [(zero(HEADS[0]),)], "last"))
    assert layers.clean_runs("emotion") is emotion
    assert layers.clean_runs("neutral") is not emotion


@pytest.mark.parametrize("size", [2, None])
@pytest.mark.parametrize(("position", "columns"), [("last", 1), ("slot", 3), ("after_slot", 2)])
def test_gradients_are_of_the_columns_that_the_position_points_at(position, columns, size):
    study, layers = layered(size=size)
    asked, rows = [], []

    def points(batch, tokens):
        asked.append(tokens)
        return [None, None]

    for batch, passes in layers.gradients("emotion", position, study.objective, points):
        rows += batch.rows
        for pass_ in passes:
            assert [tuple(g.shape) for g in pass_] == [(len(batch.rows), columns, 32)] * 2
        assert len(passes) == 2
        assert all(map(torch.equal, *passes)) and passes[0][0].abs().max() > 0
    assert sorted(rows) == list(range(6)) and set(asked) == {columns}


def test_log_probs_of_some_texts_alone_are_those_of_all(study):
    whole = Whole(study.model, study.prompts, batch_size=None, max_new_tokens=4, share=True)
    layers = Layerwise(study.model, study.prompts, batch_size=2, max_new_tokens=4)
    texts = [(4, (5, 6)), (1, (7,)), (4, (8, 9, 3)), (0, (5, 6))]
    expected = pytest.approx(layers.log_probs("emotion", texts), abs=1e-9)
    assert whole.log_probs("emotion", texts) == expected


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_z_that_is_first_read_under_a_hook_of_somebody_is_that_of_the_model_as_loaded(kind):
    """Of the embedding, which every way of running goes through."""
    study = study_of(kind)
    source, embedding = study.activations("neutral"), study.model.hf.get_input_embeddings()
    study.model.as_loaded.begin(values=False)
    handle = embedding.register_forward_hook(lambda module, inputs, output: 2 * output + 1)
    try:
        z = source.of(HEADS[5], 1)
    finally:
        handle.remove()
    close(z, study_of(kind).activations("neutral").of(HEADS[5], 1))
    assert study.model.as_loaded.told() == []
    close(study.run().logits, hooked.last_logits(study.model, study.prompts()))


def test_z_is_read_of_as_many_layers_as_have_room(monkeypatch):
    """Of one layer, of two, of all: the same numbers, from as many clean runs as it takes."""
    found, reads = {}, {}
    for room in (0, 1, 2):
        study, path = layered()
        shape, width = path._model.shape, study.prompts("emotion").width
        tokens = len(study.prompts("emotion")) * width
        of_layer = tokens * shape.z_floats // shape.n_layers * shape.size
        monkeypatch.setattr("emolib.engine.layerwise.KEPT", 2 * room * of_layer)
        asked, of = [], path.clean_runs("emotion").of

        def counted(*runs, of=of, asked=asked, **options):
            asked.append(1)
            return of(*runs, **options)

        monkeypatch.setattr(path.clean_runs("emotion"), "of", counted)
        z = path.activations("emotion").z
        found[room] = [z.last(layer, width) for layer in range(shape.n_layers)]
        reads[room] = len(asked)
    for parts in found.values():
        close(torch.stack(parts), torch.stack(found[2]))
    assert shape.n_layers == 2 and reads == {0: 2, 1: 2, 2: 1}
