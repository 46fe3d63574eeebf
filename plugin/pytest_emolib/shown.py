"""What the terminal shows of a run, taken from rows as they come; few of them are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from emolib.errors import InputError
from emolib.reporting.experiments import KNOWN
from emolib.reporting.notes import Designs, notes
from emolib.reporting.short_table import short_table
from emolib.reporting.tables import SHOWN, Strongest, summary_table
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, study_of
from pytest_emolib.item_files import is_own

_NOTED = ("left_out", "in_pieces")
# Of a run in short: rows of each experiment, and experiments.
_SHORT_ROWS, _SHORT_TABLES = 8, 3


HOW = ("short", "all", "none")
"""What ``--tables`` may be, the default first."""


def check_tables(how: str | None) -> None:
    """Check what ``--tables`` was given.

    Raises:
        InputError: When it is none of `HOW`.
    """
    if how is not None and how not in HOW:
        raise InputError(f"--tables {how}: expected one of {', '.join(HOW)}")


class Shown:
    """The rows of a run, as far as the terminal shows them and files of many items need them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._strongest: dict[str, Strongest] = {}
        self._designs = Designs()
        self._noted: dict[StudyKey, Row] = {}
        self._shared: dict[str, dict[str, Row]] = {}

    def add(self, row: Row) -> None:
        """See a row, an outline or whole."""
        self._strongest.setdefault(row.experiment, Strongest()).add(row)
        self._designs.add(row)
        if row.output and not is_own(row):
            self._shared.setdefault(row.experiment, {})[row.output["path"]] = row
        left_out = {name: row.provenance[name] for name in _NOTED if row.provenance.get(name)}
        noted = self._noted.get(study_of(row))
        if left_out and (noted is None or noted.provenance != left_out):
            self._noted[study_of(row)] = replace(row, provenance=left_out)

    @property
    def experiments(self) -> list[str]:
        """The experiments that rows are of."""
        return list(self._strongest)

    def shared(self, experiment: str) -> list[Row]:
        """Return of each results file that items of an experiment share one row that goes there."""
        return list(self._shared.get(experiment, {}).values())

    def notes(self) -> Iterator[str]:
        """Yield what was left out of studies."""
        return notes(self._noted.values())

    def out_of_reach(self, clusters: Callable[[Row], tuple[int, str]]) -> Iterator[str]:
        """Yield a line for each design that can tell too little from chance.

        Args:
            clusters: As `emolib.reporting.notes.Designs.out_of_reach` has it.
        """
        return self._designs.out_of_reach(clusters)

    def print_short(
        self,
        reporter: pytest.TerminalReporter,
        names: Sequence[str],
        fmt: str,
        lines: Sequence[Mapping[str, Any]],
    ) -> None:
        """Print a line per model and emotion, and few rows of each experiment of the user's own.

        A run without such lines shows few rows of each experiment.

        Args:
            reporter: Where to.
            names: As for `print_tables`.
            fmt: A format of tabulate.
            lines: What `emolib.reporting.findings.in_short` has of this run.
        """
        own = [name for name in sorted(self._strongest) if name not in KNOWN]
        if lines:
            reporter.write_sep("-", "in short")
            width, place = reporter._tw.fullwidth, _places(names)
            lines = sorted(lines, key=lambda line: place([line["model"], line["emotion"]]))
            reporter.write_line(short_table(lines, fmt=fmt, width=width))
        else:
            own += [name for name in sorted(self._strongest) if name in KNOWN]
        self.print_tables(reporter, names, fmt, own[:_SHORT_TABLES], _SHORT_ROWS)
        if others := own[_SHORT_TABLES:]:
            reporter.write_line(f"recorded too: {', '.join(others)}")

    def print_tables(
        self,
        reporter: pytest.TerminalReporter,
        names: Sequence[str],
        fmt: str,
        experiments: Sequence[str] | None = None,
        shown: int = SHOWN,
    ) -> None:
        """Print a table per experiment.

        Args:
            reporter: Where to.
            names: Models, emotions and kinds of ablation in the order in which to show them.
            fmt: A format of tabulate.
            experiments: Of these; of all by default.
            shown: About how many rows of each, no more than `emolib.reporting.tables.SHOWN`.
        """
        place = _places(names)
        for experiment in sorted(self._strongest) if experiments is None else experiments:
            found = self._strongest[experiment]
            reporter.write_sep("-", experiment)
            # Those of several workers come as they come.
            rows = sorted(found.rows(), key=lambda row: place(row.dims.values()))
            width = reporter._tw.fullwidth
            text = summary_table(rows, fmt=fmt, width=width, shown=shown, count=found.count)
            reporter.write_line(text)


def _places(names: Sequence[str]) -> Callable[[Iterable[str]], list[int]]:
    """Return where what some names tell stands among others; those not among them come last."""
    order = {name: i for i, name in enumerate(names)}
    return lambda told: [order.get(name, len(order)) for name in told]
