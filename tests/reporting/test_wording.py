"""Figures in sentences: as exact as their intervals allow, and lists that people would write."""

from __future__ import annotations

import pytest
from made import around, rows_of

from emolib.reporting.wording import Estimate, estimate, figure, in_all, percent, spread


@pytest.mark.parametrize(
    ("mean", "ci", "said"),
    [
        (13.137, (12.949, 13.330), "13.1 [12.9, 13.3]"),
        (0.179, (-5.976, 6.332), "0.2 [−6.0, 6.3]"),
        (0.010, (0.004, 0.017), "0.010 [0.004, 0.017]"),
        (0.715, (0.692, 0.738), "0.71 [0.69, 0.74]"),
        (-0.00001, (-0.4, 0.4), "0.0 [−0.4, 0.4]"),
        (1.0, (1.0, 1.0), "1 [1, 1]"),
        (-3.4875, None, "−3.49"),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_gives_meaning_to(mean, ci, said):
    assert str(Estimate(mean, ci)) == said


def test_nothing_but_an_interval_beside_zero_tells_of_an_effect():
    found = [Estimate(1, ci).holds_zero for ci in ((0.5, 2.0), (-2.0, -0.5), (-1.0, 1.0), None)]
    assert found == [False, False, True, True]


def test_an_estimate_of_a_row_is_its_mean_and_interval():
    (row,) = rows_of("x", {"effect": around(2), "count": 3, "none": None})
    assert estimate(row, "effect") == (row.mean("effect"), row.interval("effect"))
    assert estimate(row, "count") == (3, None)
    assert estimate(row, "none") is None


def test_several_estimates_are_told_by_the_least_and_the_largest():
    found = {"a": Estimate(-5), "b": Estimate(2), "c": Estimate(3)}
    # Of both signs the ends are those of the axis: 2 to −5 would leave 3 out.
    assert spread(found) == "−5 (a) to 3 (c)"
    assert spread({"a": Estimate(-5), "b": Estimate(-2)}) == "−2 (b) to −5 (a)"
    assert percent([-0.3, 0.5]) == "−30 to 50 %"
    assert spread({"a": Estimate(-5)}) == "−5"


def test_figures_have_three_digits_and_a_minus_sign():
    assert [figure(x) for x in (-0.5, 1234.5, 0.000012)] == ["−0.500", "1234", "0.000"]
    assert in_all(["a"], "model") == "in a"
