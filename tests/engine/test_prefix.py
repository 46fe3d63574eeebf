"""Runs that share the clean pass over all but the last token are the runs from the start."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, HEADS, N_HEADS, profile, study_of, text, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.engine.forwards import Prefix
from emolib.engine.hooked import may_share
from emolib.interventions import edit, mean, patch, resample, scale, zero
from emolib.methods.study import Study

SIZES = (1, 4, None)


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", CONFIGS)
@pytest.mark.parametrize("kind", ["clean", "zero", "mean", "resample", "patch", "joint"])
def test_logits_texts_and_log_probs_are_those_from_the_start(model_type, kind):
    study = study_of(model_type)
    model, prompts = study.model, study.prompts()
    other = study.activations("neutral")
    edits = {
        "clean": [],
        "zero": [zero(HEADS[1])],
        "mean": [mean(HEADS[2], study.reference)],
        "resample": [resample(HEADS[5], study.reference)],
        "patch": [patch(HEADS, other, every_step=True)],
        "joint": [zero(HEADS[:N_HEADS]), scale(HEADS[-1], 2.5)],
    }[kind]
    assert may_share(prompts, edits, "last")
    for size in SIZES:
        prefix = Prefix(model, prompts, size)
        whole = hooked.last_logits(model, prompts, edits, batch_size=size)
        close(hooked.last_logits(model, prompts, edits, batch_size=size, prefix=prefix), whole)
        options = {"max_new_tokens": 5, "batch_size": size}
        made = hooked.generate(model, prompts, edits, **options)
        again = hooked.generate(model, prompts, edits, **options, prefix=prefix)
        assert again.ids == made.ids and again.margins == pytest.approx(made.margins, abs=1e-5)
        plain = hooked.log_probs(model, prompts, made.ids, batch_size=size)
        after = hooked.log_probs(model, prompts, made.ids, batch_size=size, prefix=prefix)
        assert after == pytest.approx(plain, abs=1e-5)


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(1, 47), min_size=1, max_size=6), min_size=6, max_size=6))
def test_continuations_of_any_length_have_their_log_probs(continuations):
    model, prompts = tiny_model("gpt_neo", torch.float64), study_of("gpt_neo").prompts()
    shared = hooked.log_probs(model, prompts, continuations, prefix=Prefix(model, prompts))
    assert shared == pytest.approx(hooked.log_probs(model, prompts, continuations), abs=1e-5)


def test_a_prefix_is_not_used_up():
    study = study_of("llama")
    prefix = Prefix(study.model, study.prompts())
    (batch,) = study.prompts().batches(99, study.model.pad, "cpu")
    with torch.no_grad():
        first, second = (prefix.last(batch).logits for _ in range(2))
    assert torch.equal(first, second)


def test_what_may_not_share():
    prompts, head = study_of("gpt2").prompts(), HEADS[0]
    assert may_share(prompts, [], "all")
    assert not may_share(prompts, [zero(head)], "all")
    assert not may_share(prompts, [zero(head), edit(head, lambda z: z)], "last")
    short = dataclasses.replace(prompts, ids=((1,), (1, 2)))
    assert not may_share(short, [], "last")


def test_an_edit_of_one_s_own_sees_the_whole_prompt():
    study, seen = study_of("gpt2"), []
    study.run(edit(HEADS[0], lambda z: seen.append(z.shape[1]) or z)).logits.sum()
    assert seen == [study.prompts().width]


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
