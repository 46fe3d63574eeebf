from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.stats.regression import judge, tolerance

PAIRS = 48
GAP = 10.0


def effects(mean=-5.0, sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, PAIRS)


def outcome(before, now, **more):
    return judge(before, now, gap=GAP, **more).outcome


def test_delta_is_the_largest_of_three():
    assert tolerance(-5.0, 10.0) == 1.0
    assert tolerance(0.5, 10.0) == 0.2
    assert tolerance(0.1, 1.0) == tolerance(0.1, None) == 0.05


def test_equal_numbers_replay():
    before = effects()
    assert outcome(before, before) == "replayed"
    assert outcome(before, before + 0.9e-3) == "replayed"
    assert outcome(before, before * (1 + 0.9e-3)) == "replayed"


def test_one_pair_that_moved_is_no_replay_and_no_drift():
    before = effects()
    now = before.copy()
    now[3] += 0.1
    assert outcome(before, now) == "equivalent"


def test_without_replay_equal_numbers_are_equivalent():
    before = effects()
    verdict = judge(before, before, gap=GAP, replay=False)
    assert (verdict.outcome, verdict.drift, verdict.ci) == ("equivalent", 0.0, None)
    assert "SD ≈ 0" in verdict.why


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_shrink_has_drifted(share):
    before = effects()
    verdict = judge(before, before * (1 - share), gap=GAP, tests=45)
    assert verdict.outcome == "drifted"
    assert verdict.drift == pytest.approx(-share * before.mean())
    assert verdict.ci[0] < verdict.drift < verdict.ci[1]


def test_intervals_that_overlap_hide_such_a_shrink():
    """The pairs differ far more than the drift does: unpaired intervals cannot see it."""
    before = effects(sd=4.0)
    now = before * 0.75
    half = 1.96 * before.std(ddof=1) / PAIRS**0.5
    assert before.mean() + half > now.mean() - 0.75 * half
    assert outcome(before, now) == "drifted"


def test_growth_counts_as_much_as_shrinking():
    before = effects()
    assert outcome(before, before * 1.3) == "drifted"
    assert outcome(before, -before) == "drifted"


def test_a_small_shift_is_equivalent():
    before = effects()
    assert outcome(before, before * 0.9) == "equivalent"


def test_what_the_pairs_do_not_tell_is_inconclusive():
    before = effects()
    noise = np.random.default_rng(1).normal(0, 8, PAIRS)
    verdict = judge(before, before + noise - noise.mean() + 0.9, gap=GAP)
    assert verdict.outcome == "inconclusive" and "may be beyond δ" in verdict.why
    beyond = judge(before, before + noise - noise.mean() + 1.1, gap=GAP)
    assert beyond.outcome == "inconclusive" and "is beyond δ" in beyond.why


def test_among_many_tests_a_drift_has_to_stand_out_more():
    before = effects()
    noise = np.random.default_rng(2).normal(0, 3.4, PAIRS)
    now = before + noise - noise.mean() + 1.5
    assert outcome(before, now, tests=1) == "drifted"
    assert outcome(before, now, tests=10_000) == "inconclusive"


def test_one_pair_is_judged_by_its_size():
    assert judge([-5.0], [-2.5], gap=GAP).outcome == "drifted"
    assert judge([-5.0], [-4.9], gap=GAP).outcome == "equivalent"


def test_a_planted_effect_is_judged_by_its_size():
    before = np.full(8, -5.0)
    assert judge(before, np.full(8, -4.1), gap=5.0).outcome == "equivalent"
    verdict = judge(before, np.full(8, -3.9), gap=5.0)
    assert (verdict.outcome, verdict.ci) == ("drifted", None)


def test_a_control_is_judged_by_its_effect():
    null = effects(0.01, 0.02)
    control = {"role": "control"}
    assert outcome(null, null, **control) == "replayed"
    assert outcome(null, effects(0.0, 0.05, seed=1), **control) == "equivalent"
    assert outcome(null, effects(0.5, 0.2, seed=1), **control) == "drifted"
    assert outcome(null, effects(0.15, 1.0, seed=1), **control) == "inconclusive"
    # A baseline with an effect is no excuse.
    strong = effects(0.5, 0.2)
    assert outcome(strong, strong, **control) == "drifted"


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ([1.0, 2.0], [1.0], r"expected effects of the same pairs, shape \[n\], got \[2\]"),
        ([], [], r"got \[0\] before and \[0\] now"),
    ],
)
def test_what_cannot_be_judged(before, now, message):
    with pytest.raises(ValueError, match=message):
        judge(before, now, gap=None)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.floats(-20, 20), st.floats(0, 5), st.floats(-30, 30), st.floats(0, 5), st.integers(0, 999)
)
def test_verdicts_are_exclusive_and_fair(mean, sd, shift, noise, seed):
    """Equivalent only within δ, drifted only beyond it, and the sign of effects is no matter."""
    rng = np.random.default_rng(seed)
    before = rng.normal(mean, sd, PAIRS)
    now = before + rng.normal(shift, noise, PAIRS)
    found = judge(before, now, gap=GAP, replay=False)
    mirrored = judge(-before, -now, gap=GAP, replay=False)
    assert mirrored.outcome == found.outcome and mirrored.delta == found.delta
    if found.outcome == "equivalent":
        assert abs(found.drift) <= found.delta
    if found.outcome == "drifted":
        assert abs(found.drift) > found.delta
        if found.ci:
            assert not found.ci[0] <= 0 <= found.ci[1]
