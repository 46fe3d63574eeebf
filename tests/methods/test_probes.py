"""Probes of z: known on the planted model, and chance where there is nothing to be told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from tiny import profile

from emolib.errors import InputError
from emolib.methods.probes import ONE_EMOTION, Sides, last_z, probe, probe_on, told_apart
from emolib.methods.study import Study
from emolib.planted import DECOY, EMOTION_WORDS, PLANTED, planted_emotion, planted_model


@pytest.fixture(scope="module")
def studies():
    """Give the study of each emotion on the planted model."""
    model = planted_model()
    return {name: Study(model, planted_emotion(name), profile()) for name in EMOTION_WORDS}


@pytest.fixture(scope="module")
def z(studies):
    heads = next(iter(studies.values())).model.heads
    return {name: last_z(study, heads) for name, study in studies.items()}


HOW = {"folds": 5, "swaps": 19}


def test_emotion_is_told_from_neutral_by_the_head_that_reads_it(z):
    """By the decoy as well, which no later part of the model can use."""
    for of in z.values():
        for head in (PLANTED, DECOY):
            found = probe(of[head], **HOW)
            assert found.accuracy.tolist() == found.auroc.tolist() == [1.0] * 8
            assert found.accuracy_folds == found.auroc_folds == (1.0, 1.0)
            assert found.null_auroc < 0.8 and not found.why
        for head in of.keys() - {PLANTED, DECOY}:
            found = probe(of[head], **HOW)
            assert found.accuracy is found.p is None
            assert found.to_record()["why_no_accuracy"] == "z is the same on all prompts"


def test_which_emotion_it_is_the_planted_head_tells_alone(z):
    found = told_apart({name: of[PLANTED] for name, of in z.items()}, **HOW)
    assert {name: right.tolist() for name, right in found.right.items()} == {
        name: [1.0] * 8 for name in EMOTION_WORDS
    }
    assert found.p == 0.05
    record = found.to_record("anger")
    assert record["which_accuracy_all"] == 1 and record["which_accuracy"].tolist() == [1.0] * 8
    decoy = told_apart({name: of[DECOY] for name, of in z.items()}, **HOW)
    assert decoy.right is None and decoy.why == "z is the same on the prompts of all emotions"


def test_one_emotion_is_told_from_nothing(z):
    found = told_apart({"anger": z["anger"][PLANTED]}, **HOW)
    assert found.to_record("anger") == {
        "which_accuracy": None, "which_accuracy_all": None, "which_p": None,
        "why_no_which_accuracy": ONE_EMOTION,
    }  # fmt: skip


def test_what_is_told_carries_over_to_another_file(studies, z):
    found = probe_on(z["anger"][PLANTED], z["anger"][PLANTED])
    assert (found["test_accuracy"], found["test_auroc"]) == (1.0, 1.0)
    # Seven templates: two of 128 flips are as large.
    assert found["test_p"] == pytest.approx(2 / 128, abs=0.005)
    # Of gratitude the head reads another feature: nothing is told, all cases are on one side.
    other = probe_on(z["anger"][PLANTED], z["gratitude"][PLANTED])
    assert (other["test_accuracy"], other["test_auroc"]) == (0.5, 0.5)
    flat = probe_on(z["anger"][PLANTED], z["anger"][DECOY])
    assert set(flat) == set(found)
    constant = next(head for head in z["anger"] if head not in (PLANTED, DECOY))
    assert set(probe_on(z["anger"][constant], z["anger"][PLANTED]).values()) == {None}


def test_z_is_that_of_the_last_token(studies, z):
    study = studies["anger"]
    for side in ("emotion", "neutral"):
        whole = study.activations(side).of(PLANTED)
        assert torch.equal(getattr(z["anger"][PLANTED], side), whole[:, -1])
    assert z["anger"][PLANTED].templates == study.pairs.emotion.clusters


def made(seed, *, effect=0.0, templates=6, pairs=2, d=3, free=False):
    """Give z of pairs: noise of the template, an effect of the emotion, and per template its own.

    The difference between the sides is the same for the pairs of a template but for noise, and as
    often of one sign as of the other over templates.
    """
    rng = np.random.default_rng(seed)
    names = tuple(f"t{i}" for i in range(templates) for _ in range(pairs))
    of_template = rng.normal(0, 1, (templates, d)).repeat(pairs, 0)
    difference = rng.normal(effect, 1, (templates, d)).repeat(pairs, 0)
    noise = rng.normal(0, 0.3, (2, len(names), d))
    if free:
        of_template, difference = 0, effect
        noise = rng.normal(0, 1, (2, len(names), d))
    sides = (torch.from_numpy(of_template + noise[0] + difference / 2),
             torch.from_numpy(of_template + noise[1] - difference / 2))  # fmt: skip
    return Sides(*sides, None if free else names)


def p_values(count, swaps, **options):
    return np.array([
        probe(made(seed, **options), folds=3, swaps=swaps, seed=seed).p for seed in range(count)
    ])  # fmt: skip


@pytest.mark.parametrize("free", [False, True])
def test_p_is_uniform_where_there_is_nothing(free):
    """Within three standard errors of 80 tables."""
    p = p_values(80, 19, free=free)
    for level in (0.25, 0.5, 0.75):
        assert abs((p <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / 80)


@pytest.mark.slow
@pytest.mark.parametrize("free", [False, True])
def test_p_is_uniform_over_many_tables(free):
    p = p_values(2000, 99, free=free, templates=9)
    # Spread over the steps of 1/100, what is uniform on them is uniform on [0, 1].
    spread = p - np.random.default_rng(0).random(len(p)) / 100
    assert kstest(spread, "uniform").pvalue > 0.001
    assert abs((p <= 0.05).mean() - 0.05) < 0.015


def test_what_is_there_is_found():
    assert (p_values(5, 99, effect=2.0, templates=12) <= 0.02).all()
    found = probe(made(0, effect=2.0, templates=12), **HOW)
    assert found.accuracy.shape == (24,) and found.accuracy.mean() > 0.8
    assert set(np.unique(found.accuracy)) <= {0.0, 0.5, 1.0}
    low, high = found.accuracy_folds
    assert low <= found.accuracy.mean() <= high
    assert abs(found.null_auroc - 0.5) < 0.15


def test_free_lists_need_not_be_as_long_as_each_other():
    sides = made(0, effect=2.0, free=True)
    sides = dataclasses.replace(sides, neutral=sides.neutral[:7])
    found = probe(sides, **HOW)
    # The emotion's prompts first.
    assert found.accuracy.shape == (12 + 7,) and found.accuracy.mean() > 0.8
    with pytest.raises(InputError, match="in 8 folds need at least 8 prompts of a side, got 7"):
        probe(sides, folds=8, swaps=1)


def test_emotions_are_told_apart_without_common_templates_too():
    """Of free lists, and of pairs of templates of their own."""
    for free in (True, False):
        of = {}
        for number, name in enumerate(("joy", "fear", "envy")):
            sides = made(number, free=free)
            emotion = sides.emotion + 4 * torch.eye(3)[number]
            own = sides.templates and tuple(name + template for template in sides.templates)
            of[name] = Sides(emotion, sides.neutral, own)
        found = told_apart(of, folds=3, swaps=19)
        assert np.mean([right.mean() for right in found.right.values()]) > 0.8 and found.p == 0.05
        null = told_apart({name: made(i, free=free) for i, name in enumerate(of)}, folds=3, swaps=9)
        assert null.p > 0.1


def test_the_same_seed_gives_the_same():
    sides = made(3, effect=0.5)
    first, again, other = (probe(sides, **HOW, seed=seed) for seed in (1, 1, 2))
    assert first.to_record().keys() == again.to_record().keys()
    assert first.auroc.tolist() == again.auroc.tolist() and first.null_auroc == again.null_auroc
    assert first.null_auroc != other.null_auroc


def test_fewer_templates_than_folds_are_refused():
    with pytest.raises(InputError, match="in 7 folds need at least 7 templates, got 6"):
        probe(made(0), folds=7, swaps=1)
