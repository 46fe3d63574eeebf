"""Many runs as rows of one batch: each equal to the whole model run for it alone."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch
from runs import NEAR, POSITIONS, UNITS, every_kind, study_in, whole
from tiny import CONFIGS, HEADS, clean_runs, crossed

from emolib.engine import hooked, sweeps
from emolib.engine.layers import Layer
from emolib.engine.layerwise import Layerwise
from emolib.inputs.heads import HeadSet
from emolib.interventions import ByLayer, alone, edit, zero


@crossed(kind=CONFIGS, position=POSITIONS)
def test_rows_say_what_the_whole_model_says(kind, position):
    study = study_in(torch.float32, kind)
    runs = every_kind(study, position)
    found = dict(sweeps.sweep(clean_runs(study.model, study.prompts()), runs, position=position))
    assert found.keys() == set(range(len(runs)))
    for index, run in enumerate(runs):
        expected = whole(study, run, position)
        assert found[index].shape == expected.shape
        assert (found[index] - expected).abs().max() < NEAR
        # Each does something: equal to the clean run, a missed edit would pass.
        assert (
            not run
            or (found[index][0] - found[0][0]).abs().max() > 10 * NEAR
            or (position == "slot" and run[0].targets == HeadSet((HEADS[5],)))
            or _in_last_layer(run)
            # With every other head held there is no way from the slot to the last token.
            or (position == "slot" and run[0].held is not None)
        )


def _in_last_layer(run):
    return all(target.layer == 1 for one in run for target in one.targets)


def test_an_edit_that_sees_whole_prompts_sees_what_it_would_alone():
    """Turning the prompt around mixes positions, and the padding in: of one width for all."""
    study = study_in(torch.float32, "gpt2")
    runs = [(edit(HEADS[1], lambda z: z.flip(1)),), (zero(HEADS[2]),)]
    for position in POSITIONS:
        for index, logits in sweeps.sweep(
            clean_runs(study.model, study.prompts()), runs, position=position
        ):
            assert (logits - whole(study, runs[index], position)).abs().max() < NEAR


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("others", [(), ((),)], ids=["alone", "beside the clean run"])
def test_heads_held_at_the_clean_run_are_held_at_a_row_beside(position, others, monkeypatch):
    """In place of z that was read: of large models not all of it is in memory at once."""
    study = study_in(torch.float64, "gpt2", position=position)
    clean = study.activations("emotion")
    held = [(alone(zero(HEADS[1]), clean),), (alone(zero(HEADS[5]), clean), zero(UNITS))]
    expected = [whole(study, run, position) for run in held]

    def read(*_):
        raise AssertionError("z was read")

    monkeypatch.setattr(Layerwise, "_z_of", read)
    found = dict(study.runner._kept().logits("emotion", [*held, *others], position))
    assert len(found) == len(held) + len(others)
    for index, logits in enumerate(expected):
        assert found[index].shape == logits.shape
        # transformers computes softmax in float32 whatever the type is.
        assert (found[index] - logits).abs().max() < 1e-5


def test_heads_held_at_other_z_than_the_clean_run_s_are_held_at_that():
    study = study_in(torch.float64, "gpt2")
    prompts = study.prompts("emotion")
    other = hooked.activations(study.model, prompts)
    doubled = ByLayer(2, prompts.width, lambda layer, columns: 2 * other.z.last(layer, columns))
    held = (alone(zero(HEADS[1]), replace(other, z=doubled)),)
    [(_, found)] = study.runner._kept().logits("emotion", [held], "last")
    assert (found - whole(study, held, "last")).abs().max() < 1e-5
    [(_, at_clean)] = study.runner._kept().logits(
        "emotion", [(alone(zero(HEADS[1]), study.activations("emotion")),)], "last"
    )
    assert (found - at_clean).abs().max() > 0.01


def spied(monkeypatch):
    """Note the (rows, tokens) that each call of a layer computes keys for."""
    seen = []
    qkv = Layer.qkv

    def spy(self, normed, rotary, *, last=False):
        seen.append((normed.shape[0] * normed.shape[1], normed.shape[2]))
        return qkv(self, normed, rotary, last=last)

    monkeypatch.setattr(Layer, "qkv", spy)
    return seen


def test_nothing_is_computed_before_the_edit(monkeypatch):
    """Heads of layer 1 of 2 go through no attention again, those of layer 0 through one layer's."""
    study = study_in(torch.float32, "gpt2")
    resumed = clean_runs(study.model, study.prompts())
    seen = spied(monkeypatch)
    list(sweeps.sweep(resumed, [()]))
    clean, seen[:] = list(seen), []
    list(sweeps.sweep(resumed, [(zero(h),) for h in HEADS if h.layer == 1]))
    assert seen == []
    list(sweeps.sweep(resumed, [(zero(h),) for h in HEADS if h.layer == 0]))
    # Four heads side by side, at the last token alone.
    assert seen == [(4 * rows, 1) for rows, _ in clean[1::2]]


def test_one_run_alone_is_one_row(monkeypatch):
    study = study_in(torch.float32, "gpt2")
    clean, ablated = study.run(), study.run(zero(HEADS[0]))
    assert clean.logits is not None
    seen = spied(monkeypatch)
    assert len(ablated.logit_diff) == len(study.prompts())
    assert sum(rows for rows, _ in seen) == len(study.prompts())


@pytest.mark.parametrize("position", ["last", "all"])
def test_layers_are_held_each_at_what_it_is_to_be_held_at(position):
    """One at the clean run beside it, a later one at other z of the same prompts."""
    study = study_in(torch.float64, "gpt2")
    own = study.activations("emotion")
    made = ByLayer(len(own.z), own.prompts.width, lambda layer, n: 3 * own.z.last(layer, n))
    other = dataclasses.replace(own, z=made)
    run = (alone(zero(HEADS[1]), own), alone(zero(HEADS[5]), other))
    [(_, found)] = study.runner._kept().logits("emotion", [run], position)
    torch.testing.assert_close(found, whole(study, run, position), rtol=0, atol=1e-8)
    [(_, plain)] = study.runner._kept().logits("emotion", [run[:1]], position)
    assert (found - plain).abs().max() > 1e-3
