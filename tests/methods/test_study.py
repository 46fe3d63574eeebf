from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from tiny import profile, text, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Pair
from emolib.interventions import edit, resample, scale, zero
from emolib.methods import metrics, text_metrics
from emolib.methods.study import Study

MODEL = tiny_model("llama")
HEAD = Head(0, 1)
VECTORS = (
    "logit_diff", "log_odds", "prob_mass", "margin", "sentiment", "keyword_rate", "negated_rate",
    "distinct_2", "fluency",
)  # fmt: skip


@pytest.fixture
def study():
    return Study(MODEL, tiny_emotion(), profile())


def free_emotion(emotion=(3, 4, 5), neutral=(4, 2)):
    lists = tuple(
        tuple(text(*range(first + i, first + i + n)) for i, n in enumerate(lengths))
        for first, lengths in ((1, emotion), (20, neutral))
    )
    return dataclasses.replace(tiny_emotion(), pairs=None, free=lists)


@pytest.mark.parametrize("side", ["emotion", "neutral"])
def test_a_readout_has_every_metric_for_every_prompt(study, side):
    for readout in (study.run(on=side), study.run(zero(HEAD), on=side)):
        for name in VECTORS:
            vector = getattr(readout, name)
            assert vector.dtype == np.float64, name
            assert vector.shape == (6,) and np.isfinite(vector).all(), name
        assert len(readout.texts) == 6
        assert readout.prompts == [pair.text(side) for pair in study.emotion.pairs]
        assert readout.kl(study.run(on=side)).shape == (6,)


def test_logit_metrics_are_those_of_the_logits(study):
    readout = study.run(zero(HEAD))
    logits = hooked.last_logits(MODEL, study.prompts(), [zero(HEAD)])[0].double()
    difference = logits[:, [40, 41]].mean(1) - logits[:, [42, 43, 44]].mean(1)
    assert readout.logit_diff == pytest.approx(difference.numpy())
    mass = logits.softmax(-1)[:, [40, 41]].sum(1)
    assert readout.prob_mass == pytest.approx(mass.numpy())
    assert readout.log_odds == pytest.approx((mass / (1 - mass)).log().numpy())


def test_metrics_average_over_draws_and_not_over_logits(study):
    drawn = resample(HEAD, study.reference, draws=12)
    readout = study.run(drawn)
    assert readout.logits.shape[0] == 12
    each = metrics.prob_mass(readout.logits, study.lexicon_ids)
    assert readout.prob_mass == pytest.approx(each.mean(0).numpy())
    clean = study.run()
    each = metrics.kl(clean.logits[0], readout.logits)
    assert readout.kl(clean) == pytest.approx(each.mean(0).numpy())
    assert (readout.kl(clean) > metrics.kl(clean.logits[0], readout.logits.mean(0)).numpy()).any()


def test_text_metrics_are_those_of_the_continuations(study):
    readout = study.run(zero(HEAD))
    made = hooked.generate(MODEL, study.prompts(), [zero(HEAD)], max_new_tokens=4)
    assert readout.texts == list(made.texts)
    assert readout.margin == pytest.approx(made.margins, abs=1e-5)
    words = study.emotion.lexicon.words
    assert readout.keyword_rate.tolist() == [
        text_metrics.keyword_rate(t, words) for t in made.texts
    ]
    rates = [text_metrics.keyword_rates(text, words)[1] for text in made.texts]
    assert readout.negated_rate.tolist() == rates
    assert readout.distinct_2.tolist() == [text_metrics.distinct_2([text]) for text in made.texts]
    assert readout.sentiment.tolist() == [text_metrics.sentiment(t) for t in made.texts]
    expected = hooked.log_probs(MODEL, study.prompts(), made.ids)
    assert readout.fluency == pytest.approx(expected, abs=1e-5)


def test_the_clean_run_is_made_once_a_side(study):
    assert study.run() is study.run()
    assert study.run() is not study.run(on="neutral")
    assert study.run(zero(HEAD)) is not study.run(zero(HEAD))
    assert study.run().logits is study.run().logits
    assert study.activations("emotion") is study.activations("emotion")
    assert study.reference is study.reference


def test_a_run_that_changes_nothing_reads_as_the_clean_one(study):
    own = study.run(edit(HEAD, lambda z: z))
    assert own.logit_diff == pytest.approx(study.run().logit_diff, abs=1e-5)
    clean, same = study.run(), study.run(scale(HEAD, 1))
    assert same.logit_diff == pytest.approx(clean.logit_diff, abs=1e-6)
    assert same.kl(clean) == pytest.approx(np.zeros(6), abs=1e-10)
    assert same.changed(clean).tolist() == [0] * 6
    assert same.texts == clean.texts


def test_changed_marks_the_prompts_whose_text_differs(study):
    clean, other = study.run(), study.run(zero([Head(0, i) for i in range(4)]))
    expected = [float(a != b) for a, b in zip(other.texts, clean.texts, strict=True)]
    assert other.changed(clean).tolist() == expected
    assert 1 in expected


@pytest.mark.parametrize("size", [1, 4])
def test_the_batch_size_of_the_profile_changes_no_number(study, size):
    other = Study(MODEL, study.emotion, profile(batch_size=size))
    for kind in ("zero", "mean", "resample"):
        whole, parts = study.run(study.ablation(kind)(HEAD)), other.run(other.ablation(kind)(HEAD))
        for name in VECTORS:
            assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-4), name
        assert parts.texts == whole.texts


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
