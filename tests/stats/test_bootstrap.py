"""The bootstrap is scipy's to the last bit, and what metrics share is drawn once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from emolib.stats import bootstrap
from emolib.stats.bootstrap import (
    BOOTSTRAPS,
    bca_interval,
    normal_tail,
    student_quantile,
    t_interval,
)


def scipy_s(sums, sizes, level, seed):
    """Return what scipy says; where BCa is undefined, the percentile interval."""

    def ends(method):
        found = scipy_stats.bootstrap(
            (sums, sizes),
            lambda sums, sizes, axis=-1: sums.sum(axis=axis) / sizes.sum(axis=axis),
            paired=True, vectorized=True, n_resamples=BOOTSTRAPS, confidence_level=level,
            method=method, rng=np.random.default_rng(seed),
        )  # fmt: skip
        return [float(end) for end in found.confidence_interval]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ends("BCa")
    return found if np.isfinite(found).all() else ends("percentile")


def clusters(count, seed, shape="normal"):
    rng = np.random.default_rng(seed)
    sums, sizes = rng.standard_normal(count), rng.integers(1, 7, count).astype(float)
    match shape:
        case "skewed":
            sums = np.exp(2 * sums)
        case "few differ":
            sums = (rng.random(count) < 0.2) * sizes
            sums[0], sums[1] = 0.0, sizes[1]
        case "one differs":
            sums, sizes = np.zeros(count), np.full(count, 5.0)
            sums[0] = 1.0
    return sums, sizes


@pytest.mark.parametrize("count", [8, 9, 18, 90])
@pytest.mark.parametrize("shape", ["normal", "skewed", "few differ", "one differs"])
def test_it_is_scipy_s_to_the_last_bit(count, shape):
    sums, sizes = clusters(count, 3, shape)
    expected = scipy_s(sums, sizes, 0.96, 5)
    assert bca_interval(sums, sizes, level=0.96, seed=5) == expected


def test_where_bca_is_undefined_it_is_the_percentile_interval(monkeypatch):
    monkeypatch.setattr(bootstrap, "_corrected", lambda *of: np.array([np.nan, 0.9]))
    found = bca_interval(*clusters(16, 3), level=0.95, seed=5)
    distribution = scipy_stats.bootstrap(
        (np.arange(16),), lambda i, axis=-1: ratio(i), n_resamples=BOOTSTRAPS, vectorized=True,
        confidence_level=0.95, method="percentile", rng=np.random.default_rng(5),
    )  # fmt: skip
    assert found == [float(end) for end in distribution.confidence_interval]


def ratio(drawn):
    sums, sizes = clusters(16, 3)
    return sums[drawn].sum(-1) / sizes[drawn].sum(-1)


@settings(max_examples=10, deadline=None)
@given(
    count=st.integers(8, 40),
    seed=st.integers(0, 2),
    data=st.integers(0, 10_000),
    level=st.floats(0.8, 0.99),
)
def test_what_was_asked_before_changes_nothing(count, seed, data, level):
    """Draws are kept by what they are of, whatever came between."""
    sums, sizes = clusters(count, data)
    bootstrap._drawn.cache_clear()
    bootstrap._sizes.cache_clear()
    fresh = bca_interval(sums, sizes, level=level, seed=seed)
    for other in (8, 41):
        bca_interval(*clusters(other, data), level=level, seed=seed)
    bca_interval(sums, sizes + 1, level=level, seed=seed)
    bca_interval(sums, sizes, level=level, seed=seed + 1)
    assert bca_interval(sums, sizes, level=level, seed=seed) == fresh


def test_metrics_of_the_same_clusters_share_their_draws(monkeypatch):
    made = []
    monkeypatch.setattr(
        np.random,
        "default_rng",
        lambda seed, make=np.random.default_rng: made.append(seed) or make(seed),
    )
    bootstrap._drawn.cache_clear()
    for data in range(5):
        _, sizes = clusters(16, 0)
        bca_interval(np.arange(16.0) ** data, sizes, level=0.95, seed=11)
    assert made.count(11) == 1


def by_hand(sums, sizes, level, seed):
    """Give the symmetric bootstrap-t interval, one resample after the other."""
    drawn = np.random.default_rng(seed).integers(0, len(sums), (BOOTSTRAPS, len(sums)))

    def estimate(s, n):
        ratio = s.sum() / n.sum()
        error = np.sqrt(len(s) / (len(s) - 1)) * np.sqrt(((s - ratio * n) ** 2).sum()) / n.sum()
        return ratio, error

    ratio, error = estimate(sums, sizes)
    far = []
    for chosen in drawn:
        other, its = estimate(sums[chosen], sizes[chosen])
        far.append(abs(other - ratio) / its if its > 1e-12 else np.inf)
    reach = np.sort(far)[int(np.ceil(level * (BOOTSTRAPS + 1))) - 1] * error
    return [ratio - reach, ratio + reach]


@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_the_symmetric_t_interval_against_one_by_hand(shape, monkeypatch):
    monkeypatch.setattr(bootstrap, "BOOTSTRAPS", 500)
    monkeypatch.setitem(globals(), "BOOTSTRAPS", 500)
    sums, sizes = clusters(12, 3, shape)
    found = t_interval(sums, sizes, level=0.95, seed=5)
    assert found == pytest.approx(by_hand(sums, sizes, 0.95, 5), rel=1e-9)
    assert sum(found) / 2 == pytest.approx(sums.sum() / sizes.sum())
    narrow = t_interval(sums, sizes, level=0.5, seed=5)
    assert found[0] < narrow[0] < narrow[1] < found[1]


def test_of_clusters_that_hardly_differ_the_t_interval_is_wide():
    """Most resamples lack the one that does: their error is 0, and nothing is known of the rest."""
    low, high = t_interval(*clusters(9, 3, "one differs"), level=0.95, seed=5)
    assert low == -np.inf and high == np.inf


def test_quantile_and_tail_are_scipy_s():
    for freedom in (1, 7, 89):
        assert student_quantile(0.975, freedom) == scipy_stats.t.ppf(0.975, freedom)
    for value in (-1.5, 0.0, 2.3):
        assert normal_tail(value) == scipy_stats.norm.sf(value)
