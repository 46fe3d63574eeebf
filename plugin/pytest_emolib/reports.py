"""What travels on the report of an item: its rows, and what pytest is to call how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

RECORDED = pytest.StashKey[list[dict[str, Any]]]()
"""What an item gave ``record``, a dict a call."""
STORED = pytest.StashKey[str]()
"""The key of an item whose rows are in the store."""
DECLARED = pytest.StashKey[dict[str, Any]]()
"""Which effect of an item the regression check is on."""
Status = tuple[str, str, str | tuple[str, dict[str, bool]]]
_WRITTEN = {"rows": True}


def records(item: pytest.Item) -> bool:
    """Tell whether an item is an experiment: one that asks for ``record``."""
    return "record" in getattr(item, "fixturenames", ())


def carry(
    report: pytest.TestReport,
    item: pytest.Item,
    call: pytest.CallInfo[None],
    rows: Callable[[pytest.Item, list[dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    """Put rows, or the key of stored ones, on the report of an experiment's call.

    Args:
        report: The report.
        item: The experiment.
        call: How it went.
        rows: From an item and what it recorded to its rows as plain data.
    """
    if call.excinfo is not None and report.failed:
        from emolib.errors import InputError

        if call.excinfo.errisinstance(InputError):
            # What the user gave is wrong, and the message says so: no line of code is at fault.
            report.longrepr = f"{item.nodeid}: {call.excinfo.value}"
    if report.when != "call":
        return
    extra: dict[str, Any] = {}
    if report.passed and STORED in item.stash:
        extra["stored"] = item.stash[STORED]
    elif report.passed and item.stash.get(RECORDED, None):
        extra["rows"] = rows(item, item.stash[RECORDED])
        # pytest keeps every item to the end.
        del item.stash[RECORDED]
    elif report.failed:
        expected = (AssertionError, pytest.fail.Exception)
        extra["raised"] = call.excinfo is None or not call.excinfo.errisinstance(expected)
    if DECLARED in item.stash and extra.keys() & {"rows", "stored"}:
        extra["declared"] = item.stash[DECLARED]
    report.emolib = extra  # type: ignore[attr-defined]


def refuse(report: pytest.TestReport, item: pytest.Item, message: str) -> None:
    """Make an error of an item that ended well, and of what it recorded nothing."""
    report.outcome, report.longrepr = "failed", message
    item.stash.get(RECORDED, []).clear()


def carried(report: Any) -> dict[str, Any]:
    """Return what is on a report, empty where nothing is."""
    extra: dict[str, Any] = getattr(report, "emolib", None) or {}
    return extra


def lighten(report: pytest.TestReport) -> None:
    """Take written rows off a report: pytest keeps every one to the end."""
    report.emolib = _WRITTEN  # type: ignore[attr-defined]


def status(report: pytest.CollectReport | pytest.TestReport, *, in_a_line: bool) -> Status | None:
    """Return ``recorded`` or ``error`` for experiments, None to leave it to pytest.

    Args:
        report: The report.
        in_a_line: Whether a line of progress stands in for pytest's letters.
    """
    extra = carried(report)
    if verdict := extra.get("verdict"):
        return verdict, "", ""
    if "rows" in extra or "stored" in extra:
        if in_a_line:
            return "recorded", "", ""
        return "recorded", "r", ("RECORDED", {"green": True})
    if extra.get("raised"):
        return "error", "E", ("ERROR", {"red": True})
    ended = getattr(report, "when", "collect") == "call" or report.skipped
    if ended and not report.failed and not hasattr(report, "wasxfail") and in_a_line:
        return report.outcome, "", ""
    return None
