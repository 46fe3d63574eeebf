"""Numbers and intervals as cells: short, and right to what they show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.reporting.cells import cell, number


@given(st.floats(-1e12, 1e12) | st.integers(-(10**9), 10**9))
def test_numbers_are_right_to_three_digits_or_decimals(value):
    assert float(number(value)) == pytest.approx(value, abs=max(5e-4, 5e-3 * abs(value)))
    assert float(number(value)) != 0 or value == 0
    assert len(number(value)) <= 11


def test_what_is_no_number_is_told_too():
    assert [cell(value) for value in ("L0H1", None, True, {"mean": 2, "ci": None})] == [
        "L0H1", "–", "1", "2"
    ]  # fmt: skip
