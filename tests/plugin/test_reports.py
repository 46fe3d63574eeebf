"""What travels on a report, and what pytest calls how an experiment ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pytest_emolib.reports import DECLARED, RECORDED, STORED, carried, carry, lighten, status

from emolib.errors import InputError


def report(outcome="passed", when="call"):
    return pytest.TestReport("exp.py::exp_it[m]", ("", 0, ""), {}, outcome, None, when)


def sent(made, stash=(), error=None):
    """Put on a report what an item with a stash sends, and give it."""
    item = SimpleNamespace(stash=pytest.Stash(), nodeid=made.nodeid)
    for key, value in stash:
        item.stash[key] = value
    info = None if error is None else pytest.ExceptionInfo.from_exc_info((type(error), error, None))
    carry(made, item, SimpleNamespace(excinfo=info), lambda item, recorded: [*recorded, "made"])
    return carried(made), item


def test_rows_travel_and_the_item_keeps_none():
    found, item = sent(report(), [(RECORDED, [{"a": 1}]), (DECLARED, {"metric": "a"})])
    assert found == {"rows": [{"a": 1}, "made"], "declared": {"metric": "a"}}
    assert RECORDED not in item.stash


def test_of_a_stored_item_its_key_travels():
    assert sent(report(), [(STORED, "key")])[0] == {"stored": "key"}
    assert sent(report(when="setup"), [(STORED, "key")])[0] == {}


@pytest.mark.parametrize(
    ("error", "raised"), [(AssertionError(), False), (ValueError(), True), (InputError("x"), True)]
)
def test_of_a_failed_item_it_travels_whether_it_raised(error, raised):
    made = report("failed")
    found, _ = sent(made, [(RECORDED, [{"a": 1}]), (DECLARED, {})], error)
    assert found == {"raised": raised}
    # A message on wrong input stands alone: no line of code is at fault.
    wrong = isinstance(error, InputError)
    assert made.longrepr == ("exp.py::exp_it[m]: x" if wrong else None)


def test_written_rows_are_taken_off_and_the_item_stays_recorded():
    made = report()
    sent(made, [(RECORDED, [{"a": 1}])])
    lighten(made)
    assert carried(made) == {"rows": True}
    assert status(made, in_a_line=False)[0] == "recorded"


@pytest.mark.parametrize(
    ("extra", "outcome", "letters", "line"),
    [
        ({"rows": True}, "passed", "r", ""),
        ({"stored": "key"}, "passed", "r", ""),
        ({"raised": True}, "failed", "E", "E"),
        ({"raised": False}, "failed", None, None),
        ({"verdict": "drifted"}, "failed", "", ""),
        ({}, "passed", None, ""),
        ({}, "skipped", None, ""),
    ],
)
def test_how_an_item_ended(extra, outcome, letters, line):
    made = report(outcome)
    made.emolib = extra
    for in_a_line, letter in ((False, letters), (True, line)):
        found = status(made, in_a_line=in_a_line)
        assert (found and found[1]) == letter
