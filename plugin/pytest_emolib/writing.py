"""What a run writes and shows: rows to the store, results files, tables, lines in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest

from emolib.errors import InputError
from emolib.files import command
from emolib.reporting.experiments import KNOWN
from emolib.reporting.notes import clusters_of
from emolib.reporting.tables import write_table_of
from emolib.results.item_files import write_output
from emolib.results.lines import slim
from emolib.results.records import Store
from emolib.results.rows import Row
from pytest_emolib.intact import may_replay
from pytest_emolib.item_files import ItemFiles
from pytest_emolib.options import get
from pytest_emolib.shown import Shown


class Writing:
    """The one writer of a run's results; a worker asks it what is stored and writes nothing.

    Attributes:
        folder: Where the results of the profile go.
    """

    def __init__(
        self,
        config: pytest.Config,
        folder: Path,
        about: Callable[[], Mapping[str, Any]] = dict,
        shard: str | None = None,
    ) -> None:
        """Hold where results go; read nothing yet.

        Args:
            config: Of the run.
            folder: Where results go.
            about: Gives what the store is told of the run.
            shard: Which part of a larger run it is, ``3/8``: shards write side by side.
        """
        self._config, self._about, self.folder = config, about, folder
        self._shard = shard
        self._shown = Shown()
        self._replayed = 0
        self._page: Path | None = None
        self._item_files = ItemFiles(config, folder)
        self._provenance: tuple[dict[str, Any], dict[str, Any]] = {}, {}

    def open(self) -> None:
        """Become the one writer of the store, or of a shard beside others.

        Raises:
            InputError: When it cannot be written or another run is writing.
        """
        self.store.open(shard=self._shard, about=self._about)

    def check_free(self) -> None:
        """Check that no other run is writing, but for other shards beside a shard.

        Raises:
            InputError: When one is.
        """
        self.store.check_free(shard=self._shard)

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

    def receive(self, rows: list[dict[str, Any]]) -> list[Row]:
        """Write the rows of an item to the store, and its results file; return them."""
        self.open()
        made = [Row(**row | {"provenance": self._of_this_run(row["provenance"])}) for row in rows]
        self.store.append(made)
        if self._item_files.wants(made[0]):
            write_output(self.folder, made, ())
        for row in made:
            self._shown.add(slim(row))
        return made

    def _of_this_run(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """Return the provenance of a row with the id of the run in it."""
        # Many items share one, which the store writes once.
        if provenance is not self._provenance[0]:
            self._provenance = provenance, provenance | {"run": self.store.run}
        return self._provenance[1]

    def replay(self, key: str) -> list[Row]:
        """Take note of an item that the store held, and return the outlines of its rows.

        Its results file is written if it is another's.
        """
        self._replayed += 1
        self.store.touch(key)
        rows = self.store.outline(key)
        if self._item_files.lacks(rows[0]):
            write_output(self.folder, self.store[key], ())
        for row in rows:
            self._shown.add(row)
        return rows

    def finish(self) -> None:
        """Write the files that many items share, from the store, and close it."""
        if "store" not in self.__dict__:
            return
        try:
            for experiment in self._shown.experiments:
                self._make(experiment)
        finally:
            self.store.close()

    def write_page(self, baseline: Path | None) -> None:
        """Write the page to explore the results in, where that is asked for and any are there.

        Args:
            baseline: What effects are compared with; None where the run compares none.

        Raises:
            InputError: When it cannot be written.
        """
        if get(self._config, "--html") and self._shown.experiments:
            from emolib.reporting.page.page_writer import write_page

            self._page = write_page(self.folder, baseline=baseline)

    def _make(self, experiment: str) -> None:
        """Write the files that are made of an experiment's rows, unless they would be the same."""
        shared, tables = self._shown.shared(experiment), self.folder / "tables"
        files = [self.folder / row.output["path"] for row in shared]
        files += [tables / f"{experiment}{ending}" for ending in (".csv", ".md")]
        if self.store.is_made(experiment, files):
            return
        for row in shared:
            write_output(self.folder, [row], self.store.rows(experiment))
        rows, whole = partial(self.store.rows, experiment), self.store.whole_rows(experiment)
        write_table_of(tables, experiment, rows, whole)
        self.store.note_made(experiment, files)

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
        for note in self._shown.notes():
            reporter.write_line(note, yellow=True)
        if not self._shown.experiments:
            return
        fmt = get(self._config, "--table-format") or "simple"
        match get(self._config, "--tables") or "short":
            case "all":
                self._shown.print_tables(reporter, list(names()), fmt)
            case "short":
                lines = self._in_short(reporter)
                self._shown.print_short(reporter, list(names()), fmt, lines)
        for limit in self._shown.out_of_reach(self._clusters):
            reporter.write_line(limit, yellow=True)
        effects(reporter, fmt)
        if left_out := self._item_files.note(self.where):
            reporter.write_line(left_out, yellow=True)
        stored = f", {self._replayed} items from the store (--fresh recomputes)"
        reporter.write_line(f"written to {self.where}{stored if self._replayed else ''}")
        if self._page is not None:
            reporter.write_line(f"page: {self._page}")
        for line in self._what_next():
            reporter.write_line(line)

    def _in_short(self, reporter: pytest.TerminalReporter) -> list[dict[str, Any]]:
        """Return a line per model and emotion of this run, none where it has none of heads."""
        if not KNOWN.intersection(self._shown.experiments) or self.store.run is None:
            return []
        # Imported here: it loads numpy, which runs of own experiments do without.
        from emolib.reporting.findings import in_short

        try:
            return in_short(self.store, run=self.store.run)
        except InputError as error:
            reporter.write_line(f"ERROR: {error}", red=True)
            return []

    def _what_next(self) -> Iterator[str]:
        """Yield where the rest is, and what to type next."""
        if (get(self._config, "--tables") or "short") == "none":
            return
        more = "" if get(self._config, "--tables") == "all" else "; --tables all prints them"
        yield f"every row: {self.where}/tables/{more}"
        if KNOWN.intersection(self._shown.experiments):
            yield f"next: {command('view --open', self.folder)} (or report, plots)"

    def _clusters(self, row: Row) -> tuple[int, str]:
        """Return how many templates a row stands on; its outline does not say."""
        return clusters_of(self.store[row.key][row.row])
