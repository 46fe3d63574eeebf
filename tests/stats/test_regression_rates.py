"""How often the regression check is wrong, on the effects of the committed baseline.

Each re-run is made of a baseline effect by a change of its pairs: float noise, or a shrink that
differs from pair to pair. The rates are kept in the README.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emolib.results.baselines import load
from emolib.stats.regression import judge

pytestmark = pytest.mark.slow
RERUNS = 200
BASELINE = load(Path(__file__).parents[2] / "results/demo/effects/baseline.json")
GATED = [e for e in BASELINE.effects.values() if e.role == "gated"]
CONTROLS = [e for e in BASELINE.effects.values() if e.role == "control"]


def outcomes(effects, change, *, replay=True):
    """Return how the verdicts on all effects in `RERUNS` re-runs of each came out."""
    found = Counter()
    for effect in effects:
        gap, values = BASELINE.grounds[effect.study].gap, np.array(effect.values)
        for seed in range(RERUNS):
            now = change(values, np.random.default_rng(seed))
            verdict = judge(values, now, gap=gap, tests=len(BASELINE.effects), replay=replay,
                            role=effect.role)  # fmt: skip
            found[verdict.outcome] += 1
    return {name: count / found.total() for name, count in found.items()}


def noise(size):
    """Float noise: of logits that other threads or batches add up in another order."""
    return lambda e, rng: e * (1 + rng.normal(0, size, len(e))) + rng.normal(0, size, len(e))


def shrink(share, spread):
    return lambda e, rng: e * (1 - rng.normal(share, spread, len(e)))


def test_there_is_something_to_guard():
    assert len(GATED) >= 40 and len(CONTROLS) >= 40


@pytest.mark.parametrize("size", [1e-6, 1e-5, 1e-4])
def test_float_noise_replays(size):
    assert outcomes(GATED, noise(size)) == {"replayed": 1.0}
    assert outcomes(CONTROLS, noise(size)) == {"replayed": 1.0}


@pytest.mark.parametrize("size", [1e-5, 1e-3, 1e-2])
def test_float_noise_never_drifts_where_a_replay_is_not_asked_for(size):
    """As after a change of device: bfloat16's last digit is 4e-3."""
    for effects in (GATED, CONTROLS):
        assert outcomes(effects, noise(size), replay=False) == {"equivalent": 1.0}


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.2])
def test_a_shrink_by_a_quarter_is_caught(spread):
    assert outcomes(GATED, shrink(0.25, spread))["drifted"] >= 0.9


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5])
def test_a_shrink_by_half_is_always_caught(spread):
    assert outcomes(GATED, shrink(0.5, spread)) == {"drifted": 1.0}


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_a_shrink_by_a_tenth_is_let_through(spread):
    assert outcomes(GATED, shrink(0.1, spread))["equivalent"] >= 0.99


def test_a_control_that_gets_an_effect_is_caught():
    def grown(values, rng):
        return values + rng.normal(0.5, 0.5, len(values))

    assert outcomes(CONTROLS, grown)["drifted"] >= 0.9
