"""Runs through the whole model, one by one: the numbers of hooks, and those of layers apart."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, HEADS, profile, study_of, tiny_emotion

from emolib.engine import hooked, hooked_slopes
from emolib.engine.whole import Whole
from emolib.interventions import edit, scale, zero
from emolib.methods.study import Study
from emolib.models.miniatures import miniature
from emolib.tracing import OwnTrace, hook_count


def whole_of(study, size=None, *, share=True):
    return Whole(study.model, study.prompts, batch_size=size, max_new_tokens=4, share=share)


@pytest.mark.parametrize("kind", CONFIGS)
def test_both_paths_say_the_same(kind):
    study, whole = study_of(kind), study_of(kind)
    whole.runner._paths[False] = Whole(
        whole.model, whole.prompts, batch_size=None, max_new_tokens=4, share=True
    )
    for head in (HEADS[0], HEADS[5]):
        ours, theirs = study.run(zero(head)), whole.run(zero(head))
        assert ours.logit_diff == pytest.approx(theirs.logit_diff, abs=1e-5)
        assert ours.texts == theirs.texts
        assert ours.fluency == pytest.approx(theirs.fluency, abs=1e-5)
    for side in ("emotion", "neutral"):
        pairs = zip(study.activations(side).z, whole.activations(side).z, strict=True)
        mask = study.activations(side).batch.at("all")
        assert all(torch.allclose(a[mask], b[mask], atol=1e-5) for a, b in pairs)


@pytest.mark.parametrize("size", [2, None])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("position", ["last", "all"])
def test_runs_come_in_the_order_given_each_as_hooks_give_it(position, share, size):
    study = study_of("gpt2")
    model, prompts, path = study.model, study.prompts(), whole_of(study, size, share=share)
    runs = [(zero(HEADS[6]),), (), (edit(HEADS[1], lambda z: -z), scale(HEADS[5], 3))]
    logits, texts = (list(read("emotion", runs, position)) for read in (path.logits, path.texts))
    assert [index for index, _ in logits] == [index for index, _ in texts] == [0, 1, 2]
    for run, (_, found), (_, made) in zip(runs, logits, texts, strict=True):
        expected = hooked.last_logits(model, prompts, run, position=position)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        options = {"max_new_tokens": 4, "position": position}
        assert made.ids == hooked.generate(model, prompts, run, **options).ids
    assert hook_count(model.hf) == 0


@pytest.mark.parametrize(("share", "widths"), [(True, [7, 1, 1, 1]), (False, [8, 8, 8])])
def test_runs_that_share_a_prefix_run_it_once_and_then_the_last_token_alone(share, widths):
    """Of others' hooks nothing is known, so that without sharing every run is whole."""
    study, seen = study_of("gpt2"), []
    path = whole_of(study, share=share)
    runs = [(zero(HEADS[0]),), (), (zero(HEADS[5]),)]
    with OwnTrace(study.model.hf, "transformer.h.0", edit_output=lambda o: seen.append(o) or o):
        list(path.logits("emotion", runs, "last"))
    assert [output.shape[1] for output in seen] == widths
    seen.clear()
    with OwnTrace(study.model.hf, "transformer.h.0", edit_output=lambda o: seen.append(o) or o):
        list(path.logits("emotion", runs[:1], "all"))
        list(path.logits("neutral", runs[:1], "last"))
    assert [output.shape[1] for output in seen] == [8, *([7, 1] if share else [8])]


@pytest.mark.parametrize("size", [2, None])
def test_log_probs_of_all_prompts_in_order_and_of_some_are_the_same(size):
    study = study_of("gpt_neo")
    path, prompts = whole_of(study, size), study.prompts()
    ids = [(5, 6), (7,), (8, 9, 3), (1, 2), (4,), (3, 3)]
    expected = hooked.log_probs(study.model, prompts, ids)
    assert path.log_probs("emotion", list(enumerate(ids))) == pytest.approx(expected, abs=1e-5)
    backwards = list(enumerate(ids))[::-1]
    assert path.log_probs("emotion", backwards) == pytest.approx(expected[::-1], abs=1e-5)
    assert path.log_probs("emotion", [(2, (8, 9, 3))]) == pytest.approx(expected[2:3], abs=1e-5)


@pytest.mark.parametrize("size", [4, None])
def test_z_and_gradients_are_those_of_hooks_batch_by_batch(size):
    study = study_of("gpt2")
    path, asked = whole_of(study, size), []
    z = hooked.activations(study.model, study.prompts("neutral"))
    for ours, theirs in zip(path.activations("neutral").z, z.z, strict=True):
        torch.testing.assert_close(ours, theirs)

    def points(batch, tokens):
        asked.append((len(batch.rows), tokens))
        return [None]

    found = list(path.gradients("neutral", "last", study.objective, points))
    assert asked == ([(4, 8), (2, 8)] if size else [(6, 8)])
    for batch, [by_layer] in found:
        [expected] = hooked_slopes.gradients(study.model, batch, "last", study.objective, [None])
        assert all(map(torch.equal, by_layer, expected)) and by_layer[0].abs().max() > 0


def test_texts_of_a_hybrid_are_as_likely_as_whole_runs_say():
    """Jamba's state-space layers take one token after a prefix, and start anew for several."""
    study = Study(miniature("jamba"), tiny_emotion(2), profile())
    ids = study.run().continuations.ids
    assert max(map(len, ids)) > 1
    expected = hooked.log_probs(study.model, study.prompts(), ids)
    assert study.run().fluency == pytest.approx(expected, abs=1e-4)
