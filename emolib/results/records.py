"""The append-only store of every row ever recorded: the file, its index, its one writer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from emolib.errors import InputError
from emolib.results.rows import RESTORE, Row, parse

RECORDS = "records.jsonl"
"""The store's file in a results folder."""
# One dict for all outlines: a long run keeps many, and nobody writes into a row.
_NOTHING: dict[str, Any] = {}
_LEFT_OUT: dict[str, Any] = {name: _NOTHING for name in ("vectors", "texts", "lists", "pairs")}


@dataclass(frozen=True, slots=True)
class _Entry:
    """The rows of one item: where they stand in the file, and what of them is kept in memory."""

    start: int
    end: int
    outline: tuple[Row, ...]


class Store:
    """`RECORDS`: one row a line, appended and flushed as rows come, by one writer.

    The rows of an item are written together. A torn end (the process was killed while writing)
    is cut off with a message; any other damage is an error that names the line. Texts and values
    per prompt, nearly all of the file, stay on the disk until they are asked for.

    Attributes:
        path: The file.
        repaired: What was repaired on opening, or None.
    """

    def __init__(self, path: Path) -> None:
        """Read the file when there is one.

        Raises:
            InputError: When a line is damaged other than by a torn end.
        """
        self.path = path
        self.repaired: str | None = None
        self._size = 0
        self._intact: int | None = None
        self._entries: dict[str, _Entry] = {}
        self._latest: dict[tuple[str, str], str] = {}
        # Of each experiment the function that ran last, of each table its context.
        self._functions: dict[str, str] = {}
        self._contexts: dict[tuple[str, str | None, str | None], str] = {}
        self._provenance: dict[str, Any] = {}
        self._file: IO[bytes] | None = None
        if path.is_file():
            self._read()

    def __contains__(self, key: str) -> bool:
        """Tell whether an item's rows are all there."""
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys of the items."""
        return iter(self._entries)

    def __getitem__(self, key: str) -> list[Row]:
        """Return the rows of an item, read from the file."""
        entry = self._entries[key]
        with self.path.open("rb") as file:
            file.seek(entry.start)
            lines = file.read(entry.end - entry.start).splitlines(keepends=True)
        return [parse(line, f"{self.path}: row {i} of {key}") for i, line in enumerate(lines)]

    def outline(self, key: str) -> list[Row]:
        """Return the rows of an item without their vectors and texts."""
        return list(self._entries[key].outline)

    def rows(self) -> list[Row]:
        """Return the rows that can stand in one table, in order of item and row, as outlines.

        Of every experiment, model and emotion these are all rows of the context that was recorded
        last: what was recorded under other prompts, settings or code is not to be compared with
        them. Where functions of several files have one name, the experiment is the one that ran
        last.
        """
        found = [row for row in self._in_order() if self._is_current(row)]
        return sorted(found, key=lambda row: (row.item, row.row))

    def whole_rows(self, experiment: str) -> list[Row]:
        """Return the rows of `rows` of one experiment, with their vectors and texts."""
        keys = dict.fromkeys(row.key for row in self.rows() if row.experiment == experiment)
        return [row for key in keys for row in self[key]]

    def _in_order(self) -> Iterator[Row]:
        for key in self._latest.values():
            yield from self._entries[key].outline

    def touch(self, key: str) -> None:
        """Make the context of an item's stored rows the latest of its table.

        Where it is not, the rows are recorded once more, so that who reads the file next finds
        it so too.
        """
        first = self._entries[key].outline[0]
        if not self._is_current(first):
            self.append(self[key])

    def _is_current(self, row: Row) -> bool:
        family = _family(row)
        return (self._functions[row.experiment], self._contexts[family]) == (family[0], row.context)

    def check_free(self) -> None:
        """Check that no other run is writing.

        Raises:
            InputError: When one is.
        """
        if self.path.is_file():
            with self.path.open("rb") as file:
                self._lock(file)

    def open(self) -> None:
        """Become the one writer, once: repair a torn end and lock the file.

        Raises:
            InputError: When the folder cannot be written or another run is writing.
        """
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise InputError(
                f"{error.filename or self.path}: cannot be written ({error.strerror}); "
                "choose another folder with --results-dir"
            ) from None
        try:
            self._lock(self._file)
            if self.path.stat().st_size != self._size:
                # Somebody has written since it was read: what was torn then may be whole now.
                self._read()
        except InputError:
            self.close()
            raise
        if self._intact is not None:
            os.truncate(self.path, self._intact)
            self._size, self._intact = self._intact, None

    def _lock(self, file: IO[Any]) -> None:
        try:
            import fcntl
        except ImportError:  # No such locks on Windows: two runs at once are the user's to avoid.
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{self.path}: another run is writing to it; wait for it, or choose another "
                "folder with --results-dir"
            ) from None

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows of one item and flush them, so that they outlive this process."""
        self.open()
        assert self._file is not None
        data = "".join(row.to_json() + "\n" for row in rows).encode()
        self._file.write(data)
        self._file.flush()
        self._add(_Entry(self._size, self._size + len(data), self._outline(rows)))
        self._size += len(data)

    def close(self) -> None:
        """Let go of the file, its content on the disk."""
        if self._file is not None:
            # Once a run: rows outlive the process without it, a power cut they do not.
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _add(self, entry: _Entry) -> None:
        first = entry.outline[0]
        self._entries[first.key] = entry
        # Taken out first, so that the order is that of the latest record.
        self._latest.pop((first.item, first.context), None)
        self._latest[first.item, first.context] = first.key
        self._functions[first.experiment] = _family(first)[0]
        self._contexts[_family(first)] = first.context

    def _outline(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Return what is kept of rows in memory; what two in a row have alike is kept once."""
        kept = []
        for row in rows:
            last = self._provenance
            if row.provenance is not last and row.provenance != last:
                self._provenance = {
                    name: old if (old := last.get(name)) == value else value
                    for name, value in row.provenance.items()
                }
            slim = row.provenance is self._provenance and not (
                row.vectors or row.texts or row.lists
            )
            kept.append(row if slim else replace(row, provenance=self._provenance, **_LEFT_OUT))
        return tuple(kept)

    def _read(self) -> None:
        data = self.path.read_bytes()
        self._size, self._intact = len(data), None
        for index in (self._entries, self._latest, self._functions, self._contexts):
            index.clear()
        start, intact = 0, 0
        pending: list[Row] = []
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            start += len(line)
            if start == len(data) and not line.endswith(b"\n"):
                break
            row = parse(line, f"{self.path}: line {number}")
            if row.row != len(pending) or (pending and pending[0].key != row.key):
                item = pending[0].item if pending else "an item"
                raise InputError(
                    f"{self.path}: line {number}: expected row {len(pending)} of {item}, got row "
                    f"{row.row} of {row.item}: a line is missing; {RESTORE}"
                )
            pending.append(row)
            if len(pending) == row.of:
                self._add(_Entry(intact, start, self._outline(pending)))
                pending, intact = [], start
        if intact != len(data):
            self._intact = intact
            torn = not data.endswith(b"\n")
            lost = "its last line was torn" if torn else "it ends inside an item"
            self.repaired = (
                f"{self.path}: {lost} (the run was killed while writing); "
                f"cut off {len(data) - intact} bytes, that item runs again"
            )


def _family(row: Row) -> tuple[str, str | None, str | None]:
    """Return what the rows of a table share: function, model and emotion."""
    return row.item.partition("[")[0], row.dims.get("model"), row.dims.get("emotion")
