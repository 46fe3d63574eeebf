"""Folds, labels that mean nothing, and how well cases are told."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.methods.cross_validation import (
    deal,
    in_turn,
    numbered,
    over_folds,
    permuted,
    told_ahead,
    told_right,
)


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(0, 20), st.integers(0, 5))
def test_folds_are_as_large_as_each_other(folds, more, seed):
    count = folds + more
    for dealt in (
        list(deal([[f"t{i % count}" for i in range(3 * count)]], folds, seed).values()),
        in_turn(count, folds, seed).tolist(),
    ):
        sizes = Counter(dealt)
        assert len(dealt) == count and len(sizes) == folds
        assert max(sizes.values()) - min(sizes.values()) <= 1


def test_folds_follow_from_names_and_seed():
    assert deal([["b", "a", "c"]], 2, 1) == deal([["c", "a", "b", "a"]], 2, 1)
    assert len({tuple(in_turn(12, 3, seed).tolist()) for seed in range(4)}) > 1


def test_each_emotion_is_dealt_evenly_where_templates_differ():
    """Its prompts are in every fold then, so that none is told without having been seen."""
    left, right = [f"l{i}" for i in range(6)], [f"r{i}" for i in range(9)]
    fold = deal([left, [*right, "l0"]], 3, 0)
    for names in (left, right):
        assert len({fold[name] for name in names}) == 3


def test_fewer_templates_than_folds():
    with pytest.raises(InputError, match="need at least 4 templates, got 3; lower probe_folds"):
        deal([["a", "b", "c", "a"]], 4)
    with pytest.raises(InputError, match="need at least 4 templates, got 1"):
        deal([["a", "b", "c", "d"], ["a"]], 4)
    with pytest.raises(InputError, match="need at least 3 prompts of a side, got 2"):
        in_turn(2, 3, 0)


def test_the_pairs_of_a_template_are_swapped_together():
    template = numbered(["a", "a", "b", "c"]).repeat(2)
    labels = torch.arange(8) < 4
    found = permuted(labels, template, 2 * template + labels, 500, 0)
    emotion, neutral = found[:4], found[4:]
    assert torch.equal(neutral, ~emotion) and torch.equal(emotion[0], emotion[1])
    swaps = Counter(map(tuple, emotion[1:].T.tolist()))
    # Three templates: all eight ways, each as often as the others.
    assert len(swaps) == 8 and min(swaps.values()) > 30


@settings(max_examples=15)
@given(st.integers(0, 99))
def test_classes_stay_as_large_in_every_stratum(seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (20,), generator=draw)
    strata = torch.randint(4, (20,), generator=draw)
    found = permuted(labels, strata, torch.arange(20), 10, seed)
    for stratum in strata.unique():
        rows = strata == stratum
        for column in found[rows].T:
            assert column.sort().values.tolist() == labels[rows].sort().values.tolist()


def test_told_right():
    values = torch.tensor([[2.0], [-1.0], [0.0], [-3.0]])
    labels = torch.tensor([[1], [1], [1], [0]])
    assert told_right(values, labels)[:, 0].tolist() == [1, 0, 0.5, 1]


@settings(max_examples=20)
@given(st.integers(0, 999))
def test_the_area_is_the_share_of_pairs_in_order(seed):
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.integers(0, 5, (14, 3)).astype(float))
    dealt = torch.tensor([0] * 6 + [1] * 8)
    labels = torch.tensor([0, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0])[:, None].repeat(1, 3)
    found = told_ahead(values, labels, dealt).numpy()
    for case in range(14):
        for column in range(3):
            others = [
                other for other in range(14)
                if dealt[other] == dealt[case] and labels[other, 0] != labels[case, 0]
            ]  # fmt: skip
            sign = 1 if labels[case, 0] else -1
            gaps = [sign * (values[case, column] - values[o, column]) for o in others]
            share = np.mean([(gap > 0) + 0.5 * (gap == 0) for gap in gaps])
            assert found[case, column] == pytest.approx(share)


def test_the_interval_over_folds_counts_what_fits_share():
    """Means 0.6, 0.8 and 0.7: SD 0.1, times √(1/3 + 1/2), times t of 2 degrees of freedom."""
    cases = torch.tensor([0.6, 0.6, 0.8, 0.8, 0.7])
    low, high = over_folds(cases, torch.tensor([0, 0, 1, 1, 2]))
    reach = 4.302653 * 0.1 * np.sqrt(1 / 3 + 1 / 2)
    assert (low, high) == pytest.approx((0.7 - reach, 1.0), abs=1e-5)
    assert over_folds(torch.ones(4), torch.tensor([0, 0, 1, 1])) == (1.0, 1.0)
