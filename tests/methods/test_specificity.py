"""Specificity: the closed forms of the planted model, and what is compared with what."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import profile

from emolib.errors import InputError
from emolib.inputs.heads import HeadSet
from emolib.interventions import zero
from emolib.methods.specificity import Effects, Specificity, effects, specificity_of
from emolib.methods.study import Study
from emolib.planted import DECOY, EMOTION_WORDS, PLANTED, planted_emotion, planted_model


@pytest.fixture(scope="module")
def studies():
    """Give the study of each emotion on the planted model, the words of all at hand."""
    model = planted_model()
    lexicons = {name: planted_emotion(name).lexicon for name in EMOTION_WORDS}
    return [Study(model, planted_emotion(name), profile(), lexicons) for name in EMOTION_WORDS]


def test_the_planted_head_is_about_whichever_emotion_it_reads(studies):
    """LD_b goes from −0.8 to −1 on the prompts of another emotion, LD_a from 4 to −1."""
    found = specificity_of(studies, PLANTED)
    assert found.of("gratitude") == pytest.approx(-5, abs=1e-6)
    for a, of in found.effects.items():
        for b, effect in of.by_words.items():
            assert effect == pytest.approx(-5 if a == b else -0.2, abs=1e-6)
    assert found.words == pytest.approx(-4.8, abs=1e-6)
    # Seven templates; every emotion's prompts lose as much of their own.
    assert found.prompts.shape == (7,) and found.prompts == pytest.approx(0, abs=1e-6)


def test_the_decoy_is_about_nothing(studies):
    record = specificity_of(studies, DECOY).to_record()
    for name in ("logit_diff", "specificity", "specificity_prompts", "effect_anger"):
        assert record[name] == pytest.approx(0, abs=1e-6)
    assert record["kind"] == "zero"


def test_sets_are_ablated_together_and_by_the_kind_that_is_asked_for(studies):
    both = HeadSet((PLANTED, DECOY))
    own = specificity_of(studies, both).of("gratitude")
    run = studies[0].run(zero(both))
    assert own == pytest.approx(run.logit_diff - studies[0].run().logit_diff, abs=1e-9)
    mean = specificity_of(studies, PLANTED, "mean")
    # z at half of its size: the reference is half emotion and half neutral prompts.
    assert mean.of("gratitude") == pytest.approx(2 / np.sqrt(1 + 9 / 64) - 4, abs=1e-6)
    assert mean.to_record()["kind"] == "mean"


def test_one_emotion_is_refused_in_one_line(studies):
    message = "^specificity_of: expected studies of two emotions or more, got gratitude; add one$"
    with pytest.raises(InputError, match=message):
        specificity_of(studies[:1], PLANTED)


def test_sets_of_a_sweep_are_computed_together(studies, monkeypatch):
    study = studies[1]
    sets = [HeadSet((head,)) for head in study.model.heads]
    expected = {chosen: study.run(zero(chosen)).logit_diff for chosen in sets}
    study.runner.release()
    sweeps, computed = [], study.runner._computed

    def counted(requests, **how):
        sweeps.append(len(requests))
        return computed(requests, **how)

    monkeypatch.setattr(study.runner, "_computed", counted)
    found = effects(study, [*sets, sets[0]])
    assert max(sweeps) == len(sets) and sum(sweeps) == len(sets)
    for chosen, of in found.items():
        known = expected[chosen] - study.run().logit_diff
        assert of.by_words["anger"] == pytest.approx(known, abs=1e-9)
        assert of.templates == study.pairs.emotion.clusters


def made(**of):
    """Give specificity of joy, by emotion its effects on its own words and its templates."""
    return Specificity(
        "joy",
        "zero",
        {
            name: Effects({"joy": np.array(values), name: np.array(values)}, templates)
            for name, (values, templates) in of.items()
        },
    )


def test_templates_that_all_emotions_have_are_compared_one_by_one():
    found = made(
        joy=([1.0, 3.0, 5.0, 9.0], ("a", "a", "b", "c")),
        fear=([1.0, 2.0, 7.0], ("b", "a", "a")),
        envy=([0.0, 0.0, 8.0], ("a", "b", "d")),
    )
    # a: 2 − (4.5 + 0)/2; b: 5 − (1 + 0)/2.
    assert found.prompts.tolist() == [-0.25, 4.5]


@pytest.mark.parametrize("templates", [None, ("a", "b")])
def test_without_common_templates_it_is_one_number_and_says_why(templates):
    found = made(joy=([1.0, 3.0], templates), fear=([4.0, 4.0, 1.0], templates and ("a", "c", "c")))
    assert found.prompts == pytest.approx(2 - 3)
    record = found.to_record()
    assert "fewer than two templates" in record["why_no_specificity_prompts_ci"]
    assert isinstance(record["specificity_prompts"], float)


def test_words_of_no_other_emotion_leave_specificity_out():
    found = made(joy=([1.0], None), fear=([1.0], None))
    record = found.to_record()
    assert record["specificity"] is None
    assert record["why_no_specificity"].startswith("no other emotion has a target of one token")
