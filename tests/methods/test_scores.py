"""What a run's logits say: the metrics averaged over draws, and moved from type to type."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emolib.methods import metrics
from emolib.methods.scores import Measuring, Scores, mean_draws, score, to_numpy

TARGETS = torch.tensor([1, 4]), torch.tensor([0, 2, 6])
WORDS = torch.tensor([1, 4, 5])
DRAWS, PROMPTS, VOCAB = 3, 2, 7
VECTORS = ("logit_diff", "log_odds", "prob_mass", "kl")
logits = arrays(np.float64, (DRAWS, PROMPTS, VOCAB), elements=st.floats(-20, 20)).map(
    torch.from_numpy
)
vectors = arrays(np.float64, 4, elements=st.floats(-10, 10))


@given(logits, logits)
def test_a_score_is_each_metric_s_mean_over_draws(run, other):
    clean = other[:1]
    found = score(run, clean, Measuring(TARGETS, WORDS))
    each = {
        "logit_diff": [metrics.logit_diff(draw, *TARGETS) for draw in run],
        "log_odds": [metrics.log_odds(draw, WORDS) for draw in run],
        "prob_mass": [metrics.prob_mass(draw, WORDS) for draw in run],
        "kl": [metrics.kl(clean[0], draw) for draw in run],
    }
    for name, draws in each.items():
        vector = getattr(found, name)
        assert vector.shape == (PROMPTS,) and vector.dtype == np.float64
        assert vector == pytest.approx(np.mean([draw.numpy() for draw in draws], axis=0))
    assert found.effect is found.logit_diff


def test_a_score_by_hand():
    """Two draws of one prompt; probabilities 1/2, 1/4, 1/4, and then all alike."""
    run = torch.tensor([[[0.5, 0.25, 0.25]], [[1 / 3] * 3]]).log()
    found = score(
        run, run[:1], Measuring((torch.tensor([0]), torch.tensor([1, 2])), torch.tensor([1]))
    )
    assert found.logit_diff == pytest.approx([np.log(2) / 2])
    assert found.prob_mass == pytest.approx([(1 / 4 + 1 / 3) / 2])
    assert found.log_odds == pytest.approx([(np.log(1 / 3) + np.log(1 / 2)) / 2])
    assert found.kl == pytest.approx([(0.5 * np.log(1.5) + 0.5 * np.log(0.75)) / 2])


def test_what_is_not_known_is_none():
    run = torch.randn(DRAWS, PROMPTS, VOCAB)
    whole = score(run, run[:1], Measuring(TARGETS, WORDS))
    unseen, wordless = (
        score(run, None, Measuring(TARGETS, WORDS)),
        score(run, run[:1], Measuring(TARGETS, None)),
    )
    assert unseen.kl is None
    assert wordless.log_odds is wordless.prob_mass is None
    for name in VECTORS:
        for part in (unseen, wordless):
            if getattr(part, name) is not None:
                assert getattr(part, name) == pytest.approx(getattr(whole, name), abs=1e-12)
    assert unseen.log_odds is not None and wordless.kl is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_score_names_the_type_it_was_computed_in(dtype):
    run = torch.randn(1, PROMPTS, VOCAB).to(dtype)
    found = score(run, run, Measuring(TARGETS, WORDS))
    assert f"torch.{found.dtype}" == str(dtype)
    assert found.kl.tolist() == [0] * PROMPTS
    assert found.prob_mass == pytest.approx(metrics.prob_mass(run[0], WORDS).numpy())


@given(st.tuples(*[vectors] * 10))
def test_scores_move_by_what_lies_between_two_others(made):
    full, old, new = (Scores(*made[i : i + 3], None) for i in (0, 3, 6))
    new = dataclasses.replace(new, kl=made[9], dtype="bfloat16")
    moved = full.moved(old, new)
    for name in VECTORS[:3]:
        here, before, after = (getattr(of, name) for of in (full, old, new))
        assert getattr(moved, name) == pytest.approx(here + (after - before), abs=1e-12)
    # KL is from the clean run already, in the type of the run.
    assert moved.kl is new.kl and moved.dtype == "bfloat16"
    assert new.moved(new, new).logit_diff == pytest.approx(new.logit_diff)


def test_scores_without_words_move_without_them():
    one = np.ones(2)
    plain = Scores(one, None, None, None)
    moved = plain.moved(plain, Scores(3 * one, None, None, one))
    assert moved.log_odds is moved.prob_mass is None
    assert moved.logit_diff.tolist() == [3, 3] and moved.kl is one


def test_tensors_become_float64_without_their_gradient():
    values = torch.tensor([[1.5, -2.0], [0.5, 4.0]], dtype=torch.bfloat16, requires_grad=True)
    assert to_numpy(values).tolist() == [[1.5, -2], [0.5, 4]]
    assert to_numpy(values).dtype == np.float64
    assert mean_draws(values).tolist() == [1, 1]
