"""Blocks of lines: one value a prompt by column, beside what all lines of a row share."""

from __future__ import annotations

from dataclasses import replace

from made import FEW, around, rows_of

from emolib.results.blocks import Block, by_prompt, by_record, flat
from emolib.results.item_files import per_prompt


def test_a_block_gives_columns_in_order_and_its_own_before_shared_ones():
    block = Block(2, {"item": "x", "a": 1}, {"b": [1, 2], "a": [3, 4]})
    assert block.names == ["item", "a", "b"]
    assert [list(block.column(name)) for name in block.names] == [["x", "x"], [3, 4], [1, 2]]


def test_a_line_a_record_is_flat():
    (row,) = rows_of("it", {"kl": around(1.0), "n": 3, "none": None}, heads="L0H0")
    (block,) = by_record([row])
    assert (block.length, block.constants, block.columns) == (1, flat(row), {})
    assert block.constants["n"] == 3 and block.constants["kl_n"] == FEW


def test_a_line_a_prompt_has_what_the_prompt_has():
    record = {"kl": around(1.0), "prompt": ["p"] * FEW, "tokens": [["é", 0.5]] * FEW,
              "spec": "top1"}  # fmt: skip
    rows = rows_of("it", record, {"a": 1}, {"kl": around(2.0)}, heads="L0H0")
    # Pairs are of a row's prompts; the second row has none of its own.
    rows[1] = replace(rows[1], pairs={})
    first, last = by_prompt(rows, profile="demo")
    assert first.names == ["profile", "item", "model", "emotion", "heads", "spec", "record",
                           "prompt_index", "id", "template", "prompt", "kl", "tokens"]  # fmt: skip
    assert list(first.column("tokens")) == ['["é", 0.5]'] * FEW
    assert first.column("kl") == [line["kl"] for line in per_prompt(rows[0])]
    assert set(first.numbers) == {"prompt_index", "kl"} and last.constants["record"] == 2
