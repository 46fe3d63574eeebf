"""What stands in lines of a store is of its kind, or is refused by its name."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from lined import row

from emolib.errors import InputError
from emolib.results.members import Written, are_numbers, is_number, wrong_in_row, wrong_in_run
from emolib.results.rows import checked

SUMMARY = {"mean": 1.0, "ci": [0.5, 1.5], "n": 3, "sd": 0.1, "d_z": None, "g_z": None, "why": "x"}
PLAIN = {"mean": 1.0, "ci": [0.5, 1.5], "n": 3, "sd": 0.1, "d_z": 1.0, "g_z": 1.0}
"""As nearly all are."""


def test_numbers_are_finite_and_fit_a_table():
    assert all(map(is_number, (0, -1, 0.5, 2**63 - 1, Written("1e999"))))
    assert not any(map(is_number, (True, None, "1", 2**63, float("nan"), float("inf"), [], {})))
    assert are_numbers([0.5, 1]) and are_numbers([]) and are_numbers([Written("1")])
    assert not are_numbers([0.5, float("inf")]) and not are_numbers([1.0, True])


def test_a_row_of_every_kind_is_right():
    told = {"model": {"id": "m", "config": None}, "shape": {"layers": 2}, "left_out": [["a", "b"]],
            "heads": None, "clean_gap": 3, "settings": {"models": ["a", ["b"]]}}  # fmt: skip
    fields = {"values": {"a": 1, "b": None, "c": SUMMARY}, "lists": {"t": [["a", 1.5], []]},
              "pairs": {"ids": ["a"]}, "output": {"path": "a/b.json", "shape": "item"}}  # fmt: skip
    assert not list(wrong_in_row(asdict(row(provenance=told, **fields))))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"experiment": "../x"}, "experiment '../x' is no name of a function"),
        ({"experiment": "x" * 201}, "is no name of a function"),
        ({"row": True}, "row True of 1"),
        ({"values": {"a": "1.5"}}, "values.a is no number and no summary of some"),
        ({"values": {"a": SUMMARY | {"ci": [1.0]}}}, "values.a is no number"),
        ({"values": {"a": SUMMARY | {"n": "3"}}}, "values.a is no number"),
        ({"values": {"a": SUMMARY | {"mean": float("nan")}}}, "values.a is no number"),
        ({"values": {"a": PLAIN, "b": PLAIN | {"n": 2**63}}}, "values.b is no number"),
        ({"values": {"a": PLAIN, "b": PLAIN | {"sd": 1e200}}}, "values.b is no number"),
        ({"values": {"a": PLAIN, "b": PLAIN | {"ci": [0.5, float("nan")]}}}, "values.b is no"),
        ({"vectors": {"a": [1.0, None]}}, "vectors has a list of other things"),
        ({"vectors": {"a": "x"}}, "vectors has what is no list"),
        ({"texts": {"a": ["x", 1]}}, "texts has a list of other things"),
        ({"lists": {"a": [["x", None]]}}, "lists has a list of other things"),
        ({"pairs": {"ids": [1]}}, "pairs has a list of other things"),
        ({"labels": {"a": 1}}, "labels has what is no text"),
        ({"output": {"path": "../a", "shape": "item"}}, "leads out of the results folder"),
        ({"output": {"path": "records/a.jsonl", "shape": "item"}}, "leads into the store"),
        ({"output": {"path": "x"}}, "output has no path or no shape"),
        ({"provenance": {"shape": {"layers": 10**9}}}, "provenance.shape is not what that is"),
        ({"provenance": {"model": "m"}}, "provenance.model is not what that is"),
        ({"provenance": {"x": [[[[[[[[[1]]]]]]]]]}}, "provenance.x has no number, or is nested"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields, message):
    with pytest.raises(InputError, match=r"there: not a row \(") as caught:
        checked(asdict(row()) | fields, "there")
    assert message in str(caught.value)


def test_what_is_told_of_a_run():
    told = {"id": "a", "started": "now", "commit": None, "shard": "3/8", "settings": {"a": [1]}}
    assert not list(wrong_in_run(told | {"expected": 3, "left_out": [["a", 3]]}))
    for wrong in ({"shard": "3"}, {"expected": -1}, {"settings": []}, {"host": 1},
                  {"x": float("nan")}):  # fmt: skip
        assert list(wrong_in_run(told | wrong))
