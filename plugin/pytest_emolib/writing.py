"""What a run writes and shows: rows to the store, results files, tables, lines in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from emolib.inputs.profiles import Profile
from emolib.reporting.notes import clusters_of, notes, out_of_reach
from emolib.reporting.tables import summary_table, write_tables
from emolib.results.item_files import write_output
from emolib.results.records import Store
from emolib.results.rows import Row, group
from pytest_emolib.intact import may_replay
from pytest_emolib.item_files import ItemFiles, is_own
from pytest_emolib.options import get
from pytest_emolib.rows import about_run


class Writing:
    """The one writer of a run's results; a worker asks it what is stored and writes nothing.

    Attributes:
        folder: Where the results of the profile go.
    """

    def __init__(self, config: pytest.Config, profile: Profile, folder: Path) -> None:
        """Hold where results go; read nothing yet."""
        self._config, self._profile, self.folder = config, profile, folder
        self._shown: list[Row] = []
        self._replayed = 0
        self._item_files = ItemFiles(config, folder)
        self._provenance: tuple[dict[str, Any], dict[str, Any]] = {}, {}

    def open(self) -> None:
        """Become the one writer of the store.

        Raises:
            InputError: When it cannot be written or another run is writing.
        """
        self.store.open(about=lambda: about_run(self._config, self._profile))

    @cached_property
    def store(self) -> Store:
        """The rows recorded so far."""
        return Store(self.folder)

    def holds(self, key: str) -> bool:
        """Return whether an item need not run: its rows are in the store."""
        return not get(self._config, "--fresh") and key in self._stored

    @cached_property
    def _stored(self) -> frozenset[str]:
        # A worker is told by the controller, which alone reads the store.
        told = getattr(self._config, "workerinput", {}).get("emolib_stored")
        return frozenset(self.stored() if told is None else told)

    def stored(self) -> list[str]:
        """Return the keys of the items that the store can stand in for."""
        return [key for key, under in self.store.under().items() if may_replay(under)]

    @property
    def where(self) -> str:
        """The folder as messages name it."""
        try:
            return str(self.folder.resolve().relative_to(Path.cwd()))
        except ValueError:
            return str(self.folder)

    def receive(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of an item to the store, and its results file."""
        self.store.open()
        made = [Row(**row | {"provenance": self._of_this_run(row["provenance"])}) for row in rows]
        self.store.append(made)
        if self._item_files.wants(made[0]):
            write_output(self.folder, made, ())
        self._shown += self.store.outline(made[0].key)

    def _of_this_run(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """Return the provenance of a row with the id of the run in it."""
        # Many items share one, which the store writes once.
        if provenance is not self._provenance[0]:
            self._provenance = provenance, provenance | {"run": self.store.run}
        return self._provenance[1]

    def replay(self, key: str) -> None:
        """Take note of an item that the store held; write its results file if it is another's."""
        self._replayed += 1
        self.store.touch(key)
        rows = self.store.outline(key)
        if self._item_files.lacks(rows[0]):
            write_output(self.folder, self.store[key], ())
        self._shown += rows

    def finish(self) -> None:
        """Write the files that many items share, from the store, and close it."""
        if "store" not in self.__dict__:
            return
        try:
            if self._shown:
                experiments = {row.experiment for row in self._shown}
                current = [row for row in self.store.rows() if row.experiment in experiments]
                # A file that many items share is written once.
                shared = [row for row in self._shown if row.output and not is_own(row)]
                for row in {row.output["path"]: row for row in shared}.values():
                    write_output(self.folder, [row], current)
                write_tables(self.folder / "tables", current)
        finally:
            self.store.close()

    def summarize(
        self,
        reporter: pytest.TerminalReporter,
        names: Callable[[], Iterable[str]],
        effects: Callable[[pytest.TerminalReporter, str], None],
    ) -> None:
        """Print what was repaired and left out, the tables of this run and where files are.

        Args:
            reporter: Where to.
            names: Models, emotions and kinds of ablation in the order in which to show them.
            effects: Prints what became of the effects of declared heads.
        """
        if "store" in self.__dict__ and self.store.repaired:
            reporter.write_line(self.store.repaired, yellow=True)
        for note in notes(self._shown):
            reporter.write_line(note, yellow=True)
        if not self._shown:
            return
        fmt = get(self._config, "--table-format") or "simple"
        print_tables(reporter, self._shown, list(names()), fmt)
        for limit in out_of_reach(self._shown, self._clusters):
            reporter.write_line(limit, yellow=True)
        effects(reporter, fmt)
        if left_out := self._item_files.note(self.where):
            reporter.write_line(left_out, yellow=True)
        stored = f", {self._replayed} items from the store (--fresh recomputes)"
        reporter.write_line(f"written to {self.where}{stored if self._replayed else ''}")

    def _clusters(self, row: Row) -> tuple[int, str]:
        """Return how many templates a row stands on; its outline does not say."""
        return clusters_of(self.store[row.key][row.row])


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
