"""Columns of exports: those that were asked for, in order, and a clear error for any other."""

from __future__ import annotations

import pytest

from emolib.errors import InputError
from emolib.reporting.chosen_columns import Chosen
from emolib.results.blocks import Block

BLOCKS = [
    Block(1, {"item": "a", "heads": "L0H0", "kl": 1.0, "kl_n": 3}, {}),
    Block(2, {"item": "b", "late": 2}, {"prompt": ["p", "q"], "kl": [1.0, 2.0]},
          frozenset({"kl"})),
    Block(1, {"item": "c"}, {}),
]  # fmt: skip


def test_columns_come_in_the_order_asked_for():
    first, second = Chosen(["late,kl*", "heads"]).of(BLOCKS)
    assert first.names == ["kl", "kl_n", "heads"] and first.constants["kl_n"] == 3
    assert second.names == ["late", "kl"] and second.column("kl") == [1.0, 2.0]
    assert second.numbers == {"kl"} and second.length == 2


def test_a_name_comes_before_a_pattern_that_it_follows():
    (first, _) = Chosen(["kl*", "kl"]).of(BLOCKS)
    assert first.names == ["kl_n", "kl"]


def test_reading_ends_when_all_was_found():
    def blocks():
        yield BLOCKS[0]
        raise AssertionError("read on")

    Chosen(["heads", "kl?n"]).check([blocks])


def test_what_no_frame_has_is_named_with_what_is_near():
    with pytest.raises(InputError) as error:
        Chosen(["heads", "prompts", "x*"]).check([lambda: iter(BLOCKS)])
    said = str(error.value)
    assert said.startswith("--columns prompts,x*: no such columns") and "mean prompt?" in said
    assert "heads" not in said
    with pytest.raises(InputError, match="expected names of columns, got none"):
        Chosen([" , "]).check([])


def test_what_names_a_row_tells_nothing_of_it():
    assert not Chosen(["item", "heads", "direction"]).is_told(["item", "heads", "direction"])
    assert Chosen(["kl"]).is_told(["item", "kl"]) and not Chosen(["kl"]).is_told(["item"])
