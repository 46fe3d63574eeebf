"""F, its curve, the areas under it and what resampled templates say of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.stats.faithfulness import areas, estimate, faithfulness

SHARES = [0, 1 / 8, 2 / 8, 3 / 8, 5 / 8, 1]
TEMPLATES = [f"t{i // 3}" for i in range(36)]


def drawn(seed=0, sets=4, n=36, noise=0.5):
    """Give metrics of sets that keep more and more, with scatter of pairs and of templates."""
    rng = np.random.default_rng(seed)
    empty, gap = rng.normal(0, 1, n), 4 + np.repeat(rng.normal(0, 0.5, n // 3), 3)
    kept = np.linspace(0, 1, sets)
    found = empty[:, None] + gap[:, None] * kept + rng.normal(0, noise, (n, sets))
    found[:, 0], found[:, -1] = empty, empty + gap
    return found, empty, empty + gap


def test_f_is_a_ratio_of_means():
    found, empty, full = drawn()
    expected = (found.mean(0) - empty.mean()) / (full.mean() - empty.mean())
    np.testing.assert_allclose(faithfulness(found, empty, full), expected, atol=1e-12)
    assert faithfulness(found, empty, full)[[0, -1]] == pytest.approx([0, 1], abs=1e-12)
    # Not a mean of ratios: these differ as soon as gaps do.
    each = ((found - empty[:, None]) / (full - empty)[:, None]).mean(0)
    assert abs(each - expected).max() > 1e-3


@given(st.floats(-3, 3).filter(lambda x: abs(x) > 0.1), st.floats(-5, 5))
def test_f_has_no_unit_and_no_zero(scale, shift):
    found, empty, full = drawn()
    moved = faithfulness(scale * found + shift, scale * empty + shift, scale * full + shift)
    np.testing.assert_allclose(moved, faithfulness(found, empty, full), atol=1e-9)


def test_areas_of_curves_that_are_known():
    linear, log = areas(SHARES), areas(SHARES, log=True)
    # As good as the whole from the first head on; as the share; half of it throughout.
    whole, share = np.array([0, 1, 1, 1, 1, 1.0]), np.array(SHARES)
    assert linear(whole) == pytest.approx([1 - 1 / 16, 1 / 16])
    assert log(whole) == pytest.approx([1, 0])
    assert linear(share) == pytest.approx([0.5, 0.5])
    assert linear(np.full(6, 0.5)) == pytest.approx([0.5, 0.5])
    # ∫ s d(log s) from 1/8 to 1, by trapezoids over these points.
    at = [1 / 8, 1 / 4, 3 / 8, 5 / 8, 1]
    steps = np.diff(np.log(at)) / math.log(8)
    expected = sum((a + b) / 2 * w for a, b, w in zip(at[:-1], at[1:], steps, strict=True))
    assert log(share) == pytest.approx([expected, 1 - expected])
    # Above 1 counts as far from it as below.
    over = np.array([0, 1.5, 1.5, 1.5, 1.5, 1])
    assert linear(over)[0] > 1 and linear(over)[1] > 0.4
    both = linear(np.stack([whole, share]))
    np.testing.assert_allclose(both, [linear(whole), linear(share)])


def test_a_logarithmic_axis_needs_two_points():
    with pytest.raises(ValueError, match="a share between 0 and 1"):
        areas([0, 1], log=True)


def test_intervals_hold_the_value_and_the_ends_of_the_curve_are_known():
    found = estimate(*drawn(), TEMPLATES)
    assert found.why == ""
    low, high = found.ends
    assert (low <= found.values + 1e-12).all() and (found.values <= high + 1e-12).all()
    # F of none and of all are 0 and 1 in every resample.
    for ends in (found.ends, found.band):
        np.testing.assert_allclose(ends[:, [0, -1]], [[0, 1], [0, 1]], atol=1e-12)
    inner = slice(1, -1)
    assert (high - low)[inner].min() > 0.01
    # Together they take more room than each by itself.
    assert ((found.band[1] - found.band[0])[inner] > 1.02 * (high - low)[inner]).all()


def test_templates_are_resampled_whole():
    """Pairs that are copies of each other say no more than one of them."""
    found, empty, full = drawn(n=36)
    once = estimate(found, empty, full, [f"t{i}" for i in range(36)])
    thrice = estimate(*(np.repeat(v, 3, axis=0) for v in (found, empty, full)),
                      [f"t{i // 3}" for i in range(108)])  # fmt: skip
    np.testing.assert_allclose(thrice.ends - once.ends, 0, atol=0.02)
    alone = estimate(*(np.repeat(v, 3, axis=0) for v in (found, empty, full)))
    assert (alone.ends[1] - alone.ends[0])[1] < 0.75 * (once.ends[1] - once.ends[0])[1]


def test_the_same_seed_gives_the_same_ends_and_none_is_each_its_own():
    first, second = (estimate(*drawn(), TEMPLATES, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.ends, second.ends)
    assert (estimate(*drawn(), TEMPLATES, seed=4).ends != first.ends).any()
    each = [f"p{i:02}" for i in range(36)]
    np.testing.assert_allclose(estimate(*drawn()).ends, estimate(*drawn(), each).ends)


def test_few_templates_have_student_s_interval_and_no_band():
    found, empty, full = drawn(n=18)
    few = estimate(found, empty, full, [f"t{i // 3}" for i in range(18)])
    assert few.band is None and few.why == "fewer than 8 templates: no band"
    # The jackknife of a mean is the standard error of it.
    gains = (found - empty[:, None]).reshape(6, 3, -1).sum(1)
    gaps = (full - empty).reshape(6, 3).sum(1)
    rest = (gains.sum(0) - gains) / (gaps.sum() - gaps)[:, None]
    error = np.sqrt(5 / 6 * ((rest - rest.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(few.ends[1] - few.values, 2.570582 * error, rtol=1e-6, atol=1e-12)
    one = estimate(found, empty, full, ["t"] * 18)
    assert one.ends is None and one.why == "fewer than 2 templates: no interval"


def test_without_scatter_ends_are_the_value():
    ones = np.ones(40)
    for count in (5, 40):
        found = estimate(np.outer(ones, [0, 0.3, 1]), 0 * ones, ones,
                         [f"t{i % count}" for i in range(40)])  # fmt: skip
        np.testing.assert_allclose(found.ends, [[0, 0.3, 1]] * 2, atol=1e-12)
    np.testing.assert_allclose(found.band, [[0, 0.3, 1]] * 2, atol=1e-12)


def test_a_gap_that_is_no_denominator():
    found, empty, _ = drawn()
    none = estimate(found, empty, empty + 0.05, floor=0.1)
    assert none.values is None and none.ends is None
    assert none.why == "the gap between all heads and none, 0.05, is below 0.1"
    assert estimate(found, empty, empty).values is None
    # Of one sign in some templates and of the other in the rest: the mean is above the floor.
    signs = np.where(np.arange(36) // 3 % 2, 1.0, -0.6)
    unsure = estimate(found, empty, empty + signs, TEMPLATES, floor=0.1)
    assert unsure.values is not None and unsure.ends is None
    assert unsure.why == "without some templates the gap is below 0.1: no interval"


def test_what_is_made_of_a_curve_has_intervals_of_its_own():
    data, shares = drawn(sets=6), areas(SHARES)
    made, plain = estimate(*data, TEMPLATES, of=shares), estimate(*data, TEMPLATES)
    np.testing.assert_allclose(made.values, shares(plain.values))
    assert (made.ends[0] < made.values).all() and (made.values < made.ends[1]).all()
    # An area scatters less than the points it is of.
    assert (made.ends[1] - made.ends[0])[0] < (plain.ends[1] - plain.ends[0])[1:-1].max()


@settings(max_examples=20)
@given(st.permutations(range(36)), st.integers(0, 99))
def test_the_order_of_pairs_is_none_of_the_value_s(order, seed):
    found, empty, full = drawn(seed)
    moved = estimate(found[order], empty[order], full[order], [TEMPLATES[i] for i in order])
    plain = estimate(found, empty, full, TEMPLATES)
    np.testing.assert_allclose(moved.values, plain.values, atol=1e-12)
    np.testing.assert_allclose(moved.ends, plain.ends, atol=1e-9)


@pytest.mark.slow
def test_coverage_of_ends_and_band():
    """Of 400 samples of 16 templates the truth is within the ends, or all of it in the band."""
    inside, together = np.zeros(6), 0
    truth = np.linspace(0, 1, 6)
    for seed in range(400):
        data = drawn(seed, sets=6, n=48)
        found = estimate(*data, [f"t{i // 3}" for i in range(48)], seed=seed)
        inside += (found.ends[0] <= truth + 1e-9) & (truth - 1e-9 <= found.ends[1])
        lies = (found.band[0] <= truth + 1e-9) & (truth - 1e-9 <= found.band[1])
        together += lies.all()
    assert (inside[1:-1] / 400 > 0.92).all() and 0.91 < together / 400 <= 1
