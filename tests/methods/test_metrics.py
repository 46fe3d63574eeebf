"""Logit metrics against torch's own functions and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, rel_entr, softmax

from emolib.methods.metrics import kl, log_odds, logit_diff, prob_mass

VOCAB = 7
WORDS, OTHERS = torch.tensor([1, 4]), torch.tensor([0, 2, 6])
logits = arrays(np.float64, (2, 3, VOCAB), elements=st.floats(-30, 30)).map(torch.from_numpy)
shifts = st.floats(-100, 100)


@given(logits)
def test_logit_diff_is_a_difference_of_means(x):
    a = x.numpy()
    expected = a[..., [1, 4]].mean(-1) - a[..., [0, 2, 6]].mean(-1)
    assert logit_diff(x, WORDS, OTHERS).numpy() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(logit_diff(x, OTHERS, WORDS), -logit_diff(x, WORDS, OTHERS))


@given(logits)
def test_log_odds_are_those_of_the_probability_mass(x):
    mass = prob_mass(x, WORDS).numpy()
    assert mass == pytest.approx(softmax(x.numpy(), -1)[..., [1, 4]].sum(-1), rel=1e-12)
    expected = logsumexp(x.numpy()[..., [1, 4]], -1) - logsumexp(
        x.numpy()[..., [0, 2, 3, 5, 6]], -1
    )
    assert log_odds(x, WORDS).numpy() == pytest.approx(expected, abs=1e-10)
    inner = (mass > 1e-6) & (mass < 1 - 1e-6)
    odds = np.log(mass[inner] / (1 - mass[inner]))
    assert log_odds(x, WORDS).numpy()[inner] == pytest.approx(odds, abs=1e-6)


@given(logits, logits)
def test_kl_is_torch_s_and_scipy_s(clean, other):
    found = kl(clean, other)
    log_p, log_q = clean.log_softmax(-1), other.log_softmax(-1)
    torch_s = torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(found, torch_s.clamp(min=0), rtol=1e-12, atol=1e-12)
    scipy_s = rel_entr(softmax(clean.numpy(), -1), softmax(other.numpy(), -1)).sum(-1)
    assert found.numpy() == pytest.approx(scipy_s, abs=1e-9)
    assert (found >= 0).all() and (kl(clean, clean) == 0).all()


def test_kl_of_a_coin_in_closed_form():
    fair, biased = torch.zeros(2), torch.tensor([math.log(3), 0.0])
    assert kl(fair, biased).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert kl(biased, fair).item() == pytest.approx(
        math.log(2) - (math.log(4) - 0.75 * math.log(3))
    )


@given(logits, shifts)
def test_a_shift_of_all_logits_changes_nothing(x, shift):
    moved = x + shift
    for metric in (
        lambda y: logit_diff(y, WORDS, OTHERS),
        lambda y: log_odds(y, WORDS),
        lambda y: prob_mass(y, WORDS),
        lambda y: kl(y, x),
    ):
        torch.testing.assert_close(metric(moved), metric(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_summed_in_double(dtype):
    x = torch.linspace(-3, 3, 1001).to(dtype)
    ids = torch.arange(0, 1001, 2)
    for found in (logit_diff(x, ids, ids + 0), log_odds(x, ids), prob_mass(x, ids), kl(x, x)):
        assert found.dtype == torch.float64
    exact = torch.softmax(x.double(), -1)[::2].sum()
    assert prob_mass(x, ids).item() == pytest.approx(exact.item(), rel=1e-14)


def test_the_logits_given_are_left_alone():
    x = torch.randn(2, VOCAB, dtype=torch.float64)
    before = x.clone()
    log_odds(x, WORDS), prob_mass(x, WORDS), kl(x, x + 1), logit_diff(x, WORDS, OTHERS)
    assert torch.equal(x, before)
