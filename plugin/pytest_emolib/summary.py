"""What a run prints at its end: the tables of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from emolib.reporting.tables import summary_table
from emolib.results.records import Row, group


def print_tables(
    reporter: pytest.TerminalReporter, rows: Sequence[Row], names: Sequence[str], fmt: str
) -> None:
    """Print a table per experiment.

    Args:
        reporter: Where to.
        rows: In any order; those of several workers come as they come.
        names: Models, emotions and kinds of ablation in the order in which to show them.
        fmt: A format of tabulate.
    """
    order = {name: i for i, name in enumerate(names)}

    def place(row: Row) -> list[int]:
        return [order.get(name, len(order)) for name in row.dims.values()]

    for experiment, members in sorted(
        group(sorted(rows, key=place), lambda row: row.experiment).items()
    ):
        reporter.write_sep("-", experiment)
        reporter.write_line(summary_table(members, fmt=fmt, width=reporter._tw.fullwidth))
