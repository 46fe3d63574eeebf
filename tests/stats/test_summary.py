"""Statistics against scipy, numpy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from emolib.stats.bootstrap import BOOTSTRAPS
from emolib.stats.summary import (
    FEWEST,
    rank_correlation,
    split_half,
    studentized,
    summarize,
    two_halves,
)

values = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=2, max_size=12)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.4, 1, shape)


def test_standardised_effects():
    x = normal(16)
    found = summarize(x)
    t = scipy_stats.ttest_1samp(x, 0).statistic
    assert (found["n"], found["mean"]) == (16, pytest.approx(x.mean()))
    assert found["sd"] == pytest.approx(np.sqrt(((x - x.mean()) ** 2).sum() / 15))
    assert found["d_z"] == pytest.approx(t / 4)
    assert found["g_z"] == pytest.approx(found["d_z"] * (1 - 3 / 59))
    exact = special.gamma(7.5) / (math.sqrt(7.5) * special.gamma(7))
    assert found["g_z"] == pytest.approx(found["d_z"] * exact, rel=1e-3)
    assert "why" not in found


@pytest.mark.parametrize("skewed", [False, True])
def test_interval_is_scipy_s_bca_where_no_template_is_shared(skewed):
    """At the level that makes up for the resamples' scatter, 29/30 of the variance, and for t."""
    x = np.exp(normal(30)) if skewed else normal(30)
    reach = scipy_stats.t.ppf(0.975, 29) * math.sqrt(30 / 29)
    expected = scipy_stats.bootstrap(
        (x,), np.mean, n_resamples=BOOTSTRAPS, method="BCa", rng=np.random.default_rng(3),
        confidence_level=1 - 2 * scipy_stats.norm.sf(reach),
    ).confidence_interval  # fmt: skip
    assert summarize(x, seed=3)["ci"] == pytest.approx(list(expected), rel=1e-9)
    assert summarize(x, [f"t{i:02}" for i in range(30)], seed=3) == summarize(x, seed=3)
    assert summarize(x, seed=4)["ci"] != summarize(x, seed=3)["ci"]


def test_repeating_a_template_s_value_tells_nothing_new():
    """Three equal values per cluster have the interval of one, which is wider than that of 3n."""
    x = normal(12)
    clusters = [f"t{i:02}" for i in range(12)]
    once, thrice = summarize(x, clusters), summarize(np.repeat(x, 3), np.repeat(clusters, 3))
    assert thrice["ci"] == pytest.approx(once["ci"])
    assert np.ptp(thrice["ci"]) > 1.5 * np.ptp(summarize(np.repeat(x, 3))["ci"])


@pytest.mark.parametrize("count", [8, 16, 64])
def test_interval_of_few_normal_clusters_is_about_as_wide_as_student_s(count):
    """BCa at 95 % is narrower by a fifth at 8; its own scatter is a twentieth."""
    ratios = []
    for seed in range(40):
        x = normal(count, seed=seed)
        student = scipy_stats.ttest_1samp(x, 0).confidence_interval(0.95)
        ratios.append(np.ptp(summarize(x)["ci"]) / np.ptp(student))
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_interval_of_too_few_clusters_for_a_bootstrap_is_student_s(count):
    means = normal(count)
    x, clusters = np.repeat(means, 3), np.repeat([f"t{i}" for i in range(count)], 3)
    x += np.tile([0.1, -0.1, 0], count)
    student = scipy_stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert summarize(x, clusters)["ci"] == pytest.approx(list(student))


@pytest.mark.parametrize("others", [1, 9])
def test_clusters_of_different_size_weigh_by_it(others):
    """A cluster of 3 ones beside single fives: means, and what a resample of one alone gives."""
    x = [1.0] * 3 + [5.0] * others
    found = summarize(x, ["a"] * 3 + [f"b{i}" for i in range(others)])
    assert found["mean"] == pytest.approx((3 + 5 * others) / (3 + others))
    low, high = found["ci"]
    if others == 1:
        # Residuals from 2 of the sums 3 and 5: −3 and 3, over the 4 values.
        error = math.sqrt(2 * 18) / 4
        assert [low, high] == pytest.approx([2 - 12.7062 * error, 2 + 12.7062 * error], rel=1e-4)
    else:
        assert 1 < low < found["mean"] < high == 5


@pytest.mark.parametrize("count", [16, 64])
def test_the_bootstrap_t_of_normal_clusters_is_about_student_s(count):
    ratios = []
    for seed in range(20):
        x = normal(count, seed=seed)
        student = scipy_stats.ttest_1samp(x, 0).confidence_interval(0.95)
        found = studentized(np.repeat(x, 2), np.repeat([f"t{i}" for i in range(count)], 2))
        assert sum(found) / 2 == pytest.approx(x.mean())
        ratios.append(np.ptp(found) / np.ptp(student))
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_the_bootstrap_t_where_there_is_none():
    means = normal(5)
    student = scipy_stats.ttest_1samp(means, 0).confidence_interval(0.95)
    clusters = np.repeat([f"t{i}" for i in range(5)], 3)
    assert studentized(np.repeat(means, 3), clusters) == pytest.approx(list(student))
    assert studentized([2.5]) is None and studentized([2.5, 2.5, 2.5]) == [2.5, 2.5]
    assert studentized([1, 3, 1, 3], ["a", "a", "b", "b"]) is None
    assert studentized([0.0] * 9 + [1.0]) is None


@settings(max_examples=60)
@given(values, st.integers(1, 9))
def test_no_data_breaks_it(x, templates):
    clusters = [str(i % templates) for i in range(len(x))]
    found = summarize(x, clusters)
    ends = studentized(x, clusters)
    assert ends is None or (ends[0] <= np.mean(x) + 1e-9 and np.mean(x) - 1e-9 <= ends[1])
    assert found.keys() - {"why"} == {"mean", "ci", "n", "sd", "d_z", "g_z"}
    means = [np.mean(x[i::templates]) for i in range(min(templates, len(x)))]
    if found["ci"] is None:
        assert np.ptp(means) < 1e-9
        assert found["why"] == "fewer than 2 clusters that differ: no CI"
    else:
        low, high = found["ci"]
        assert low <= high
        if len(means) < FEWEST:
            assert low + high == pytest.approx(2 * found["mean"], abs=1e-9)
        else:
            assert min(means) - 1e-9 <= low <= high <= max(means) + 1e-9
    assert (found["d_z"] is None) == (found.get("why") == "SD ≈ 0") == (len(set(x)) == 1)


@settings(max_examples=30)
@given(values.filter(lambda x: len(set(x)) > 1), st.sampled_from([-2.0, -1.0, 0.5, 4.0]))
def test_another_unit_scales_what_has_a_unit(x, factor):
    one, other = summarize(x), summarize(np.array(x) * factor)
    for name in ("mean", "sd"):
        scale = abs(factor) if name == "sd" else factor
        assert other[name] == pytest.approx(one[name] * scale, abs=1e-12)
    for name in ("d_z", "g_z"):
        assert other[name] == pytest.approx(one[name] * math.copysign(1, factor), abs=1e-12)
    if factor > 0:
        assert other["ci"] == pytest.approx([end * factor for end in one["ci"]], abs=1e-12)


def test_what_is_undefined_says_why():
    assert summarize([2.5]) == {
        "mean": 2.5, "ci": None, "n": 1, "sd": 0.0, "d_z": None, "g_z": None, "why": "n < 2"
    }  # fmt: skip
    for noise in (1e-14, 4e-7):
        found = summarize([-5.0, -5.0 + noise, -5.0])
        assert (found["d_z"], found["g_z"], found["why"]) == (None, None, "SD ≈ 0")
        assert found["ci"] == pytest.approx([-5, -5])
    for clusters in (["a"] * 4, ["a", "a", "b", "b"]):
        found = summarize([1, 3, 1, 3], clusters)
        assert found["ci"] is None and found["why"] == "fewer than 2 clusters that differ: no CI"
        assert found["d_z"] == pytest.approx(2 / math.sqrt(4 / 3))


@pytest.mark.parametrize(
    ("x", "clusters", "message"),
    [
        ([], None, "expected values of shape [n], n >= 1, got shape [0]"),
        ([[1.0]], None, "expected values of shape [n], n >= 1, got shape [1, 1]"),
        ([1, math.nan, math.inf], None, "expected finite values, got 2 of 3 that are not"),
        ([1, 2, 3], ["a"], "expected one cluster for each of 3 values, got 1"),
    ],
)
def test_what_cannot_be_summarised(x, clusters, message):
    with pytest.raises(ValueError) as error:
        summarize(x, clusters)
    assert str(error.value) == message


def test_split_half_steps_up_by_spearman_brown():
    """Of n prompts with noise σ² on heads of variance 1, halves correlate 1 / (1 + 2σ²/n).

    Spearman's ρ of a bivariate normal with correlation r is 6/π · asin(r/2).
    """
    rng = np.random.default_rng(0)
    n, heads, noise = 10, 4000, 3.0
    table = rng.normal(size=heads) + rng.normal(0, noise, (n, heads))
    rho = 6 / math.pi * math.asin(1 / (1 + 2 * noise**2 / n) / 2)
    expected = 2 * rho / (1 + rho)
    assert split_half(table, score=lambda half: half.mean(0)) == pytest.approx(expected, abs=0.02)


def test_split_half_at_its_ends():
    perfect = np.tile(np.arange(5.0), (8, 1))
    assert split_half(perfect) == pytest.approx(1)
    # The first head sums to 0: where one half ranks it first, the other ranks it last.
    opposed = np.array([[1.0, 0], [2, 0], [4, 0], [-7, 0]])
    assert split_half(opposed, score=lambda half: half.mean(0)) == -1
    assert abs(split_half(normal(12, 500) - 0.4)) < 0.2


def test_split_half_ranks_by_the_absolute_mean_unless_told():
    signed = np.tile([-3.0, -1, 2, 5], (6, 1)) + normal(6, 4) * 0.9
    by_abs = split_half(signed, score=lambda half: np.abs(half.mean(0)), seed=2)
    assert split_half(signed, seed=2) == by_abs
    assert by_abs != split_half(signed, score=lambda half: half.mean(0), seed=2)
    assert len({split_half(normal(8, 9), seed=seed) for seed in range(3)}) == 3


@pytest.mark.parametrize("table", [np.ones((3, 5)), normal(8, 1), np.ones((8, 5))])
def test_split_half_of_nothing_to_rank(table):
    assert split_half(table) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=9))
def test_rank_correlation_is_pearson_s_of_the_mid_ranks(points):
    left, right = zip(*points, strict=True)
    found = rank_correlation(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert found is None
    else:
        assert found == scipy_stats.spearmanr(left, right).statistic
        ranks = [scipy_stats.rankdata(side) for side in (left, right)]
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)


def test_rank_correlation_of_one_point():
    assert rank_correlation([1.0], [2.0]) is None


def test_halves_keep_a_template_together():
    assert two_halves(6, ["a", "b", "a", "c", "b", "d"]).tolist() == [0, 1, 0, 0, 1, 1]
    for clusters in (None, ["a"] * 5):
        assert two_halves(5, clusters).tolist() == [0, 1, 0, 1, 0]
