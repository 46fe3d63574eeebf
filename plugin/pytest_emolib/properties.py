"""What of an item's rows goes into a file of ``--junitxml``: its first metrics, no texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from emolib.results.rows import Row

MOST = 3
"""Metrics of a row."""
ROWS = 8
"""Rows of an item."""


class Properties:
    """Keeps what is told of an item from the report with its rows to the last one.

    pytest writes properties when it is told that an item was torn down.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Hold nothing yet; without a file to write there is nothing to hold."""
        self._is_asked = bool(config.getoption("xmlpath", None))
        self._waiting: dict[str, list[tuple[str, str]]] = {}

    def note(self, report: pytest.TestReport, rows: Sequence[Row]) -> None:
        """Take note of the rows of an item."""
        if self._is_asked:
            self._waiting[report.nodeid] = list(properties(rows))

    def add(self, report: pytest.TestReport) -> None:
        """Put on the last report of an item what was noted of it."""
        if report.when == "teardown":
            report.user_properties += self._waiting.pop(report.nodeid, [])


def properties(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield names and values of the first metrics of an item's first rows.

    A vector gives its mean under its name, and the ends of its 95 % interval under the names that
    columns have. Where an item has several rows, what tells them apart stands behind the name:
    ``logit_diff_ci_low[denoise-last]``.

    Args:
        rows: The rows of the item, in order.
    """
    for row in rows[:ROWS]:
        behind = f"[{_place(rows, row)}]" if len(rows) > 1 else ""
        known = [name for name in row.values if row.mean(name) is not None]
        for name in [name for name in known if not name.endswith(("_low", "_high"))][:MOST]:
            yield f"{name}{behind}", str(row.mean(name))
            for end, value in zip(("low", "high"), row.interval(name) or (), strict=False):
                yield f"{name}_ci_{end}{behind}", str(value)


def _place(rows: Sequence[Row], row: Row) -> str:
    """Return the labels of a row where no other has the same, else its number."""
    labels = [[text for name, text in one.labels.items() if _tells(name)] for one in rows]
    mine = labels[row.row]
    return "-".join(mine) if mine and labels.count(mine) == 1 else str(row.row)


def _tells(name: str) -> bool:
    # Why a number is null, and sentences on a whole study, tell no rows apart.
    return not name.startswith("why_no_") and name not in ("missed", "ranking", "precision")
