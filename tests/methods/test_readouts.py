"""What one run says: every metric of its logits and texts, per prompt, read when it is asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny import HEADS, N_LAYERS, profile, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.engine.costs import Planned
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Lexicon
from emolib.inputs.words import words
from emolib.interventions import edit, resample, scale, zero
from emolib.methods import metrics, readouts, text_metrics
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


def test_scores_do_not_depend_on_whether_logits_were_read_first(study):
    """Read by themselves they come from a sweep that keeps no logits; read after, from these."""
    drawn = resample(HEAD, study.reference, draws=12)
    alone, after = study.run(drawn), study.run(drawn)
    assert after.logits.shape == (12, 6, 48)
    for name in ("logit_diff", "log_odds", "prob_mass"):
        assert getattr(alone, name) == pytest.approx(getattr(after, name), abs=1e-6), name
    assert "logits" not in alone.__dict__
    assert alone.kl(study.run()) == pytest.approx(after.kl(study.run()), abs=1e-6)


def test_kl_may_be_from_any_other_run(study):
    one, other = study.run(zero(HEAD)), study.run(zero(HEADS[5]))
    expected = metrics.kl(other.logits[0], one.logits[0]).numpy()
    assert one.kl(other) == pytest.approx(expected) and expected.min() > 0
    assert not np.allclose(one.kl(other), other.kl(one), rtol=1e-3)
    assert not np.allclose(one.kl(other), one.kl(study.run()), rtol=1e-3)
    assert one.kl(one) == pytest.approx(np.zeros(6), abs=1e-12)
    # Of a run that draws it is from the mean of its logits.
    drawn = study.run(resample(HEAD, study.reference, draws=12))
    expected = metrics.kl(drawn.logits.mean(0), one.logits[0]).numpy()
    assert one.kl(drawn) == pytest.approx(expected)


def test_a_lexicon_without_a_word_of_one_token_says_so_where_it_is_asked_for(study):
    odd = dataclasses.replace(study.emotion.lexicon, words=("odd",), targets=("strange",))
    study.emotion = dataclasses.replace(study.emotion, lexicon=odd)
    message = r"^none of the lexicon words \(odd, strange\) is a single token under the tokenizer "
    for readout in (study.run(), study.run(zero(HEAD))):
        assert readout.logit_diff.shape == (6,)
        for name in ("log_odds", "prob_mass"):
            with pytest.raises(InputError, match=message):
                getattr(readout, name)


def test_the_rate_of_every_emotion_s_words_is_told_apart(load, gratitude):
    """Of an embedded model, whose texts are of words: those of the others are numbers."""

    def study(lexicons):
        return Study(load("tiny-gpt2"), gratitude, profile(max_new_tokens=12), lexicons)

    heads = [Head(0, index) for index in range(4)]
    runs = study({}).run(), study({}).run(zero(heads))
    heard = sorted({word for run in runs for text in run.texts for word in words(text)})
    by_name = {"some": heard[::2], "others": heard[1::2], "none": ["unheard"]}
    lexicons = {name: Lexicon(name, 1, tuple(w), tuple(w)) for name, w in by_name.items()}
    made = study(lexicons)
    clean, other = made.run(), made.run(zero(heads))
    found = other.keyword_changes(clean)
    assert list(found) == [f"keyword_rate_{name}" for name in by_name]
    for name, lexicon in by_name.items():
        rates = [
            [text_metrics.keyword_rate(text, lexicon) for text in run.texts]
            for run in (other, clean)
        ]
        assert found[f"keyword_rate_{name}"].tolist() == np.subtract(*rates).tolist()
        assert np.any(rates[1]) == (name != "none")
    assert found["keyword_rate_some"].any() and not found["keyword_rate_none"].any()
    back = clean.keyword_changes(other)
    assert all(np.array_equal(back[name], -values) for name, values in found.items())


def test_each_part_is_made_once_and_only_when_it_is_asked_for(study, monkeypatch):
    made = []
    # Which has its own, for the KL from it.
    assert study.run().logits is not None
    for name in ("logits", "scores", "texts", "log_probs"):
        method = getattr(study.runner, name)
        monkeypatch.setattr(
            study.runner,
            name,
            lambda *given, name=name, method=method: made.append(name) or method(*given),
        )
    readout = study.run(zero(HEAD))
    assert made == []
    for _ in range(2):
        assert len(readout.texts) == len(readout.sentiment) == len(readout.distinct_2) == 6
        assert len(readout.keyword_rate) == len(readout.margin) == 6
    assert made == ["texts"]
    assert len(readout.fluency) == len(readout.fluency)
    assert made == ["texts", "log_probs"]
    assert readout.logits is readout.logits and len(readout.logit_diff) == 6
    assert made == ["texts", "log_probs", "logits"]


def test_an_item_costs_its_draws_of_logits_and_one_text(study):
    sides = {side: study.prompts(side) for side in ("emotion", "neutral")}
    planned = Planned(sides, study.profile, N_LAYERS, 4, 40, firsts=(0, 1), draws=3)
    logits, texts = readouts.costs(planned)
    assert logits.prompts is texts.prompts is sides["emotion"]
    assert (logits.firsts, logits.new) == ((0, 1) * 3, 0)
    assert (texts.firsts, texts.new) == ((0, 1), study.profile.max_new_tokens)
