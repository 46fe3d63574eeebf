"""Rows: a line each, sorted from what was recorded, and their numbers."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.results.members import lies_inside
from emolib.results.rows import Row, checked, group, sort_values

texts = st.text('a"\n\r\u2028é\\{', max_size=5)


def row(name="a", **changes):
    fields = {"values": {"n": 0.0}} | changes
    return Row(f"exp_x.py::exp_x[{name}]", "x", f"key-{name}", 0, 1, {"heads": name}, **fields)


def test_a_metric_is_one_number():
    summary = {"mean": 1.5, "ci": [1.0, 2.0]}
    found = row(values={"kl": summary, "n": 3, "gap": {"mean": 0.0, "ci": None}, "none": None})
    assert [found.mean(name) for name in ("kl", "n", "gap", "none", "x")] == [
        1.5,
        3,
        0.0,
        None,
        None,
    ]
    assert [found.interval(name) for name in ("kl", "n", "gap", "x")] == [
        (1.0, 2.0),
        None,
        None,
        None,
    ]


def test_group_keeps_the_order():
    members = [row("b"), row("a"), row("b", time="x")]
    found = group(members, lambda row: row.dims["heads"])
    assert list(found.items()) == [("b", [members[0], members[2]]), ("a", [members[1]])]


def test_values_are_sorted_by_kind():
    vectors = {
        "list": [1, 2], "tuple": (1, 2), "array": np.array([1, 2], dtype=np.float32),
        "tensor": torch.tensor([1, 2], dtype=torch.bfloat16, requires_grad=False),
        "graph": torch.tensor([1.0, 2.0], requires_grad=True),
    }  # fmt: skip
    numbers = {"int": 3, "bool": True, "numpy": np.float32(0.5), "scalar": torch.tensor(2)}
    recorded = vectors | numbers | {"none": None, "label": "x", "texts": ("a", "b")}
    recorded["tokens"] = [["a", "b"], [1.5], []]
    found = sort_values(recorded, lambda vector: {"sum": sum(vector)})
    assert found == {
        "labels": {"label": "x"},
        "values": {key: {"sum": 3.0} for key in vectors}
        | {"int": 3.0, "bool": 1.0, "numpy": 0.5, "scalar": 2.0, "none": None},
        "vectors": {key: [1.0, 2.0] for key in vectors},
        "texts": {"texts": ["a", "b"]},
        "lists": {"tokens": [["a", "b"], [1.5], []]},
    }
    json.dumps(found)


WHOLE = "expected a number, a vector of shape [n] or texts"
BAD = "are not finite; leave them out, or record None where the metric is undefined"


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ({"a": 1}, TypeError, f"{WHOLE}, got dict"),
        ([1, "a"], TypeError, f"{WHOLE}, got list"),
        (1j, TypeError, f"{WHOLE}, got complex"),
        ([], ValueError, f"{WHOLE}, got an array of shape [0]"),
        (np.ones((2, 3)), ValueError, f"{WHOLE}, got an array of shape [2, 3]"),
        (["a", 1], TypeError, "expected texts throughout, got int at [1]"),
        (float("nan"), ValueError, f"1 of 1 values {BAD}"),
        (torch.tensor(torch.inf), ValueError, f"1 of 1 values {BAD}"),
        ([[1.0], 2.0], TypeError, "expected lists throughout, got float"),
        ([["a"], [None]], TypeError, "expected lists of numbers or texts, got NoneType"),
        ([["a", 1], [float("nan")]], ValueError, f"1 of 1 values {BAD}"),
        ([1, None, float("inf")], ValueError, f"2 of 3 values {BAD}"),
    ],
)
def test_other_values_are_refused_by_name(value, kind, message):
    with pytest.raises(kind) as error:
        sort_values({"fine": 1, "x": value}, lambda vector: {})
    assert str(error.value) == f"record(x=…): {message}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"experiment": "../../x"}, "experiment '../../x' is no name of a function"),
        ({"experiment": ""}, "experiment '' is no name of a function"),
        ({"output": {"path": "../x.json", "shape": "item"}}, "output.path '../x.json' leads out"),
        ({"output": {"path": "/x.json", "shape": "item"}}, "output.path '/x.json' leads out"),
        ({"output": {"path": "a.json"}}, "output has no path or no shape"),
        ({"dims": {"model": 1}}, "dims has what is no text"),
        ({"labels": {"why": None}}, "labels has what is no text"),
        ({"row": -1}, "row -1 of 1"),
        ({"of": 0}, "row 0 of 0"),
        ({"values": {"a": [1]}}, "values.a is no number and no summary of some"),
        ({"values": {"a": {"mean": 1}}}, "values.a is no number and no summary of some"),
        ({"values": {"a": True}}, "values.a is no number and no summary of some"),
        ({"vectors": {"a": 1}}, "vectors has what is no list"),
        ({"texts": {"a": {"b": "c"}}}, "texts has what is no list"),
    ],
    ids=str,
)
def test_a_stored_row_that_none_could_have_recorded_is_refused(changes, why):
    data = asdict(row()) | {"experiment": "x"}
    assert checked(data, "here") == Row(**data)
    with pytest.raises(InputError, match=f"^here: not a row .{re.escape(why)}"):
        checked(data | changes, "here")


@given(st.text("./\\a\0"))
def test_a_path_that_lies_inside_stays_below_its_folder(path):
    if lies_inside(path):
        assert Path(os.path.normpath(f"/some/folder/{path}")).is_relative_to("/some/folder")


@pytest.mark.parametrize("value", [1e151, [1.0, -1e300], 2**63, [["a", 1e200]]])
def test_numbers_whose_squares_end_are_refused(value):
    with pytest.raises(ValueError, match=r"record\(a=…\): 1 of \d values are larger than 1e\+150"):
        sort_values({"a": value}, len)
