"""The append-only store of every row ever recorded: reading, and writing as the one run that may.

Rows are in segments, one file a run; see `emolib.results.segments` and docs/store.md.
"""

from __future__ import annotations

import shlex
import socket
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import sweep
from emolib.results.catalogue import SegmentState
from emolib.results.events import Event, Replayed, Told, events_of
from emolib.results.index import Index
from emolib.results.lines import Encoder, told
from emolib.results.made import is_made_of, made_of
from emolib.results.reading import Reading
from emolib.results.rows import Row
from emolib.results.runs import Run, chosen, run_of
from emolib.results.segments import RECORDS, Gate, Segment, Writer, new_name, segments

# Replayed items and lines whose index is written together.
_TOGETHER = 1000


class Store:
    """The rows of a results folder.

    The rows of an item are written together. What a killed run left half-written at the end of its
    segment is left out, with a message; any other damage is an error that names the line. Nothing
    is read as a whole: what stands where is in an index, and rows come from the disk as they are
    asked for.

    Attributes:
        folder: The results folder.
        run: The id of the run that this store is opened by for writing; None before.
    """

    def __init__(self, folder: Path) -> None:
        """Read what was written since the store was last read, when there is one.

        Args:
            folder: The results folder of a profile.

        Raises:
            InputError: When a line is damaged other than by a torn end.
        """
        self.folder = folder
        self.run: str | None = None
        self._gate = Gate(folder)
        self._is_open = False
        self._about: Callable[[], Mapping[str, Any]] = dict
        self._shard: str | None = None
        self._writer: Writer | None = None
        self._encoder = Encoder()
        self._events: list[Event] = []
        self._indexed = 0
        self._replayed: list[str] = []
        self._reading: Reading | None = None
        if segments(folder):
            self._read()

    @property
    def path(self) -> Path:
        """Where the segments are, for messages."""
        return self.folder / RECORDS

    def _read(self) -> Reading:
        index = Index(self.folder)
        weakref.finalize(self, index.close)
        self._reading = Reading(index)
        return self._reading

    def _known(self) -> Reading | None:
        """Return what can be asked, with all in it that this run has told so far."""
        if self._is_open:
            self._tell_replayed()
            self._index()
        return self._reading

    def __contains__(self, key: str) -> bool:
        """Tell whether an item's rows are all there."""
        self._index()
        return self._reading is not None and self._reading.index.ask.latest(key) is not None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys of the items."""
        return iter(self.under())

    def __len__(self) -> int:
        """Return how many items there are."""
        return len(self.under())

    def __getitem__(self, key: str) -> list[Row]:
        """Return the rows of an item, read from its segment.

        Raises:
            KeyError: When there are none.
            InputError: When they are damaged.
        """
        known, item = self._item(key)
        return known.rows(item)

    def outline(self, key: str) -> list[Row]:
        """Return the rows of an item without their vectors, texts, lists and pairs."""
        known, item = self._item(key)
        return list(known.outlines([item]))

    def _item(self, key: str) -> tuple[Reading, int]:
        self._index()
        found = self._reading.index.ask.latest(key) if self._reading else None
        if self._reading is not None and found is None:
            known = self._reading.index.ask.keys()
            if key in known:
                raise self._reading.index.broken("its parts say different things")
        if self._reading is None or found is None:
            raise KeyError(key)
        return self._reading, found

    def under(self) -> dict[str, list[str]]:
        """Return the keys of the items, and of each what its rows say that the model carried."""
        known = self._known()
        return known.index.ask.keys() if known else {}

    def rows(self, experiment: str | None = None, *, run: str | None = None) -> Iterator[Row]:
        """Yield the rows that can stand in one table, in order of item and row, as outlines.

        Of every experiment, model and emotion these are all rows of the context that was recorded
        or replayed last: what was recorded under other prompts, settings or code is not to be
        compared with them. Where functions of several files have one name, the experiment is the
        one that ran last.

        Args:
            experiment: Of this one alone.
            run: What this run recorded or took from the store; its id, or how that begins.

        Raises:
            InputError: When there is no such run, or it is damaged.
        """
        known, items = self._items(experiment, run)
        if known is not None:
            yield from known.outlines(items)

    def whole_rows(
        self, experiment: str, *, run: str | None = None, as_written: bool = False
    ) -> Iterator[Row]:
        """Yield the rows of `rows` of one experiment, with their vectors and texts.

        Args:
            experiment: The experiment.
            run: As in `rows`.
            as_written: Leave the numbers of rows without lists the texts that they are on the
                disk, for who writes them on as texts: to read and to write a float takes longer
                than all else.
        """
        known, items = self._items(experiment, run)
        if known is not None:
            for item in items:
                yield from known.rows(item, as_written=as_written)

    def _items(
        self, experiment: str | None, run: str | None
    ) -> tuple[Reading | None, Sequence[int]]:
        known = self._known()
        chosen = self.find(run).id if run is not None else None
        return known, known.index.ask.items(experiment, chosen) if known else ()

    def recorded_again(self) -> Iterator[list[list[Row]]]:
        """Yield, of each item that was recorded more than once, its rows of each time."""
        known = self._known()
        for items in known.index.ask.again() if known else ():
            assert known is not None
            yield [known.rows(item) for item in items]

    def experiments(self, *, run: str | None = None) -> list[str]:
        """Return the experiments that `rows` has rows of, in order of their items."""
        known = self._known()
        chosen = self.find(run).id if run is not None else None
        return known.index.ask.experiments(chosen) if known else []

    def is_made(self, experiment: str, files: Iterable[Path]) -> bool:
        """Tell whether files were made of what `rows` has of an experiment, and are as they were.

        Args:
            experiment: The experiment.
            files: Files that `note_made` was told of, all or some of them.
        """
        known = self._known()
        noted = known.index.ask.made(experiment) if known else None
        if known is None or noted is None:
            return False
        return is_made_of(noted, known.index.ask.items(experiment, None), files)

    def note_made(self, experiment: str, files: Iterable[Path]) -> None:
        """Take note of files that were made of what `rows` has of an experiment."""
        if known := self._known():
            items = known.index.ask.items(experiment, None)
            known.index.note_made(experiment, made_of(items, files))

    def runs(self) -> list[Run]:
        """Return the runs that wrote into the store, in order of their beginning."""
        known = self._known()
        return [run_of(state) for state in known.index.ask.states()] if known else []

    def find(self, run: str) -> Run:
        """Return a run by its id, or by how that begins.

        Raises:
            InputError: When there is none, or several.
        """
        return chosen(self.runs(), run, self.path)

    @property
    def repaired(self) -> str | None:
        """What was left out of segments that a killed run left half-written, or None.

        What a run that wrote afterwards has told is not told again.
        """
        said = [
            f"{self._segment(state.name).path}: "
            f"{'its last line was torn' if state.torn else 'it ends inside an item'} (the run was "
            f"killed while writing); left out {state.left} bytes, that item runs again"
            for state in self._left_out
        ]
        return "\n".join(said) or None

    @cached_property
    def _left_out(self) -> list[SegmentState]:
        states = self._reading.index.ask.states() if self._reading else []
        told_before = [part for state in states for part in _listed(state.run.get("left_out"))]
        return [
            state
            for state in states
            if state.left
            and [state.name, state.left] not in told_before
            and not self._segment(state.name).is_being_written
        ]

    def _segment(self, name: str) -> Segment:
        assert self._reading is not None
        return self._reading.index.segment(name)

    def check_free(self, *, shard: str | None = None) -> None:
        """Check that no other run is writing.

        Args:
            shard: Of a run that writes side by side with other shards.

        Raises:
            InputError: When one is.
        """
        self._gate.check(shared=shard is not None)

    def open(
        self,
        *,
        shard: str | None = None,
        about: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Become a writer, once. The run's segment begins with what it writes first.

        Args:
            shard: Which part of a larger run this is, ``3/8``: shards write side by side.
            about: Gives what is told of the run: ``command``, ``settings``, ``commit``.

        Raises:
            InputError: When the folder cannot be written or another run is writing.
        """
        if self._is_open:
            return
        self._gate.enter(shared=shard is not None)
        self._shard, self._about = shard, about or dict
        sweep(self.folder)
        try:
            found = segments(self.folder)
            if self._reading is not None:
                # Somebody may have written since.
                self._reading.index.refresh()
            elif found:
                self._read()
        except InputError:
            self._gate.leave()
            raise
        self.run = new_name(max(found, default=None))
        self._is_open = True

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows of one item and flush them, so that they outlive this process."""
        self._tell_replayed()
        writer = self._writing()
        with self._noting():
            events, data = events_of(rows, self._encoder, writer.size, writer.line)
            writer.write(data, len(events) - 1 + len(rows))
            self._events += events
        if len(self._events) >= _TOGETHER:
            self._index()

    def touch(self, key: str) -> None:
        """Take note that an item's rows were taken from the store.

        Their context becomes the latest of its table, and the run has them among its own.
        """
        self.open()
        self._replayed.append(key)
        if len(self._replayed) >= _TOGETHER:
            self._tell_replayed()

    def close(self) -> None:
        """Let go of the store, what was written on the disk.

        Raises:
            InputError: When something does not get there.
        """
        if not self._is_open:
            return
        try:
            if self._writer is None or not self._writer.failed:
                self._tell_replayed()
                if self._shard is not None:
                    # One without items has its segment too: who joins the shards misses none.
                    self._writing()
                if self._writer is not None:
                    self._tell("ended", _now())
                    self._index()
        finally:
            writer, self._writer, self._is_open = self._writer, None, False
            try:
                if writer is not None:
                    writer.close()
            finally:
                self._gate.leave()

    def _writing(self) -> Writer:
        """Return the writer of this run's segment, which begins with what is told of the run."""
        self.open()
        if self._writer is None:
            assert self.run is not None
            if self._reading is None:
                self._read()
            first = {
                "id": self.run,
                "started": _now(),
                "command": shlex.join(sys.argv),
                "host": socket.gethostname(),
                "shard": self._shard,
                **self._about(),
                "left_out": [[state.name, state.left] for state in self._left_out],
            }
            line = told("run", first)
            with self._noting():
                self._writer, self._encoder = Writer(self.folder, line, self.run), Encoder()
                self._events, self._indexed = [Told(0, len(line), 1, {"run": first})], 0
        return self._writer

    def _tell_replayed(self) -> None:
        has_failed = self._writer is not None and self._writer.failed
        if self._replayed and not has_failed:
            keys, self._replayed = self._replayed, []
            self._tell("replayed", keys)

    def _tell(self, what: str, value: Any) -> None:
        writer, line = self._writing(), told(what, value)
        place = writer.size, len(line), writer.line + 1
        with self._noting():
            self._events.append(
                Replayed(*place, value) if what == "replayed" else Told(*place, {what: value})
            )
            writer.write(line, 1)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Write nothing more where it is not told to its end what was written, as by Ctrl-C."""
        try:
            yield
        except BaseException:
            if self._writer is not None:
                self._writer.failed = True
            raise

    def _index(self) -> None:
        """Have the index know what was written."""
        if self._writer is not None and self._writer.failed:
            # The file says it; what was noted of it may lack its end.
            self._events = []
            if self._reading is not None:
                self._reading.index.refresh()
        elif self._events and self._writer is not None and self._reading is not None:
            segment = replace(self._writer.segment)
            self._reading.index.take(segment, self._events, self._indexed, self._writer.size)
            self._events, self._indexed = [], self._writer.size


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
