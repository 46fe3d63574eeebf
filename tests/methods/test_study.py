"""A study: its prompts, reference, ablations and positions, and what it refuses."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from tiny import profile, text, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Pair
from emolib.interventions import zero
from emolib.methods.study import Study

MODEL = tiny_model("llama")
HEAD = Head(0, 1)


@pytest.fixture
def study():
    return Study(MODEL, tiny_emotion(), profile())


def free_emotion(emotion=(3, 4, 5), neutral=(4, 2)):
    lists = tuple(
        tuple(text(*range(first + i, first + i + n)) for i, n in enumerate(lengths))
        for first, lengths in ((1, emotion), (20, neutral))
    )
    return dataclasses.replace(tiny_emotion(), pairs=None, free=lists)


def test_the_clean_run_is_made_once_a_side(study):
    assert study.run() is study.run()
    assert study.run() is not study.run(on="neutral")
    assert study.run(zero(HEAD)) is not study.run(zero(HEAD))
    assert study.run().logits is study.run().logits
    assert study.activations("emotion") is study.activations("emotion")
    assert study.reference is study.reference


@pytest.mark.parametrize("position", ["last", "slot", "after_slot", "all"])
def test_the_position_of_the_profile_is_where_edits_stand(position):
    study = Study(MODEL, tiny_emotion(), profile(position=position))
    expected = hooked.last_logits(MODEL, study.prompts(), [zero(HEAD)], position=position)
    torch.testing.assert_close(study.run(zero(HEAD)).logits, expected, atol=1e-5, rtol=1e-5)


def test_the_reference_is_balanced_over_the_two_sides(study):
    reference = study.reference.prompts
    assert reference.ids == study.prompts("emotion").ids + study.prompts("neutral").ids
    assert reference.slots == 2 * study.prompts("emotion").slots
    uneven = Study(MODEL, free_emotion(), profile())
    assert len(uneven.prompts("emotion")) == 3
    assert len(uneven.reference.prompts) == 4
    assert uneven.reference.prompts.slots is None


def test_ablations_are_the_ones_named(study):
    assert str(study.ablation("zero")(HEAD)) == "zero(L0H1)"
    assert str(study.ablation("mean")([HEAD, Head(1, 0)])) == "mean(L0H1+L1H0)"
    assert study.ablation("resample")(HEAD).draws == study.profile.draws == 10
    runs = [study.run(study.ablation("resample")(HEAD)).logit_diff for _ in range(2)]
    assert runs[0].tolist() == runs[1].tolist()
    other = Study(MODEL, study.emotion, profile(seed=1))
    assert other.run(other.ablation("resample")(HEAD)).logit_diff.tolist() != runs[0].tolist()


def test_words_of_several_tokens_are_named():
    emotion = tiny_emotion()
    words = dataclasses.replace(emotion.lexicon, words=("w40", "unknown"), targets=("w40", "odd"))
    study = Study(MODEL, dataclasses.replace(emotion, lexicon=words), profile())
    assert study.in_pieces == ("unknown", "odd")
    assert study.lexicon_ids.tolist() == [40]


def test_free_prompts_run_and_refuse_what_needs_pairs():
    study = Study(MODEL, free_emotion(), profile())
    assert study.run().logit_diff.shape == (3,)
    assert study.run(on="neutral").logit_diff.shape == (2,)
    assert study.run(study.ablation("mean")(HEAD)).logit_diff.shape == (3,)
    assert study.left_out == ()
    message = (
        "this experiment needs aligned pairs of 'joy', got free prompt lists; drop "
        "--emotion-prompts/--neutral-prompts or give a pairs file with --prompts-file"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        _ = study.pairs


def test_pairs_that_do_not_align_are_left_out_and_told():
    emotion = tiny_emotion()
    crooked = Pair("crooked", "t", "w1 {slot} w2", "w3 w4", "w5")
    study = Study(MODEL, dataclasses.replace(emotion, pairs=(*emotion.pairs, crooked)), profile())
    assert study.left_out == (("crooked", "4 and 3 tokens"),)
    assert len(study.pairs) == len(study.prompts()) == 6


def test_a_study_checks_its_prompts_when_it_is_made():
    with pytest.raises(InputError, match="expected at most"):
        Study(MODEL, tiny_emotion(), profile(max_new_tokens=60))
    with pytest.raises(InputError, match="expected at most"):
        Study(MODEL, free_emotion(), profile(max_new_tokens=60))


def test_an_embedded_model_shows_the_emotion_in_logits_and_text(embedded, gratitude):
    study = Study(embedded, gratitude, profile(max_new_tokens=12))
    emotion, neutral = study.run(), study.run(on="neutral")
    assert emotion.logit_diff.mean() > neutral.logit_diff.mean() + 1
    assert emotion.prob_mass.mean() > 2 * neutral.prob_mass.mean()
    assert emotion.keyword_rate.mean() > neutral.keyword_rate.mean()
