"""Logistic regression of many labellings: the optimum, whatever else is fitted beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from sklearn.linear_model import LogisticRegression

from emolib.methods.logistic import decided, fit, held_out, is_constant


def drawn(seed, n=30, d=4, k=3, spread=1.0):
    """Give inputs and labellings, each with both classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, k))
    labels[0], labels[1] = 0, 1
    return torch.from_numpy(rng.normal(0, spread, (n, d))), torch.from_numpy(labels)


def loss(w, x, y, penalty):
    scores = x @ w[:-1] + w[-1]
    return np.logaddexp(0, scores).sum() - y @ scores + penalty / 2 * w[:-1] @ w[:-1]


@settings(max_examples=15)
@given(st.integers(0, 999), st.sampled_from([0.1, 1.0, 10.0]), st.sampled_from([1, 5, 40]))
def test_it_is_the_optimum_that_a_general_solver_finds(seed, penalty, d):
    """Of 40 inputs and 30 cases any labelling can be told for certain: there it takes Newton."""
    x, y = drawn(seed, d=d)
    found = fit(x, y, penalty).numpy()
    for column in range(y.shape[1]):
        args = x.numpy(), y[:, column].numpy(), penalty
        start = np.zeros(d + 1)
        known = minimize(loss, start, args, "L-BFGS-B", options={"ftol": 1e-15, "maxiter": 5000})
        assert loss(found[:, column], *args) <= known.fun + 1e-6
        assert found[:, column] == pytest.approx(known.x, abs=5e-3)


@pytest.mark.parametrize("m", [1, 4, 50])
def test_two_points_have_a_closed_form(m):
    """m cases at 1 and m at −1: ``w = 2m·σ(−w)``, and no intercept."""
    x = torch.tensor([1.0] * m + [-1.0] * m, dtype=torch.float64)[:, None]
    w, b = fit(x, (x > 0).long())[:, 0].tolist()
    assert w == pytest.approx(brentq(lambda w: w - 2 * m / (1 + np.exp(w)), 0, 20), abs=1e-4)
    assert b == pytest.approx(0, abs=1e-6)


def test_it_is_what_scikit_learn_finds():
    x, y = drawn(3, n=60, d=10)
    found = fit(x, y)
    for column in range(y.shape[1]):
        known = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
        known.fit(x.numpy(), y[:, column].numpy())
        assert found[:-1, column].numpy() == pytest.approx(known.coef_[0], abs=1e-4)
        assert found[-1, column].item() == pytest.approx(known.intercept_[0], abs=1e-4)


def test_a_labelling_is_fitted_alike_alone_and_beside_others():
    x, y = drawn(5, k=20)
    together = fit(x, y)
    for column in (0, 7, 19):
        alone = fit(x, y[:, [column]])[:, 0]
        assert together[:, column].numpy() == pytest.approx(alone.numpy(), abs=1e-9)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_refused(label):
    x, y = drawn(0)
    y[:, 1] = label
    with pytest.raises(ValueError, match="both classes in every labelling, got one class only"):
        fit(x, y)


@settings(max_examples=10)
@given(st.integers(0, 999), st.floats(0.01, 100), st.floats(-50, 50))
def test_units_of_an_input_change_nothing(seed, factor, shift):
    x, y = drawn(seed)
    folds = torch.arange(len(x)) % 3
    other = x.clone()
    other[:, 1] = factor * other[:, 1] + shift
    values, moved = held_out(x, y, folds), held_out(other, y, folds)
    assert moved.numpy() == pytest.approx(values.numpy(), abs=1e-6)


def test_a_case_is_told_by_the_fit_on_the_other_folds():
    x, y = drawn(1)
    folds = torch.arange(len(x)) % 5
    values = held_out(x, y, folds)
    rest = folds != 2
    assert torch.equal(values[~rest], decided(x[rest], y[rest], x[~rest]))
    # What it is labelled itself makes no difference to that.
    changed = y.clone()
    changed[~rest] = 1 - changed[~rest]
    assert torch.equal(held_out(x, changed, folds)[~rest], values[~rest])


def test_an_input_that_does_not_vary_takes_no_part():
    x, y = drawn(2)
    wide = torch.cat([x, torch.full((len(x), 1), 3.0).double()], dim=1)
    wide[0, -1] += 1e-9
    folds = torch.arange(len(x)) % 3
    assert held_out(wide, y, folds).numpy() == pytest.approx(held_out(x, y, folds).numpy())


def test_what_is_constant_but_for_rounding():
    flat = torch.full((5, 3), 2.0).double()
    assert is_constant(flat) and is_constant(torch.zeros(5, 3).double())
    assert is_constant(flat + 1e-7 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    flat[2, 1] = 2.1
    assert not is_constant(flat)
