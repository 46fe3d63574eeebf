"""The index of a store, in SQLite: a file that holds nothing which segments do not.

It may be deleted at any time, and is made again of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import cache_folder, is_local
from emolib.results.catalogue import Catalogue
from emolib.results.events import Event, Recorded, Shared, Walk
from emolib.results.intake import SCHEMA, SCHEMA_VERSION, add, drop, recount
from emolib.results.segments import RECORDS, Segment, member_lines, segments

_NAME = "index.sqlite"
_WAIT = 60.0
_TABLES = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
# Events taken in at once: what a process that dies loses, and how long others wait.
_BATCH = 500


class Index:
    """What is known of the segments of a results folder.

    It lies beside them. Where that is not a local disk, whose locks can be trusted, or cannot be
    written, it lies in the user's cache, and where that cannot be written in a temporary file.

    Attributes:
        segments: The segments by name, in order.
        ask: What is known of them.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index, or make one; take in what was written since it was.

        Raises:
            InputError: When a line is damaged other than by a torn end.
        """
        self._folder = folder
        self.segments: dict[str, Segment] = {}
        self._places: list[Path | None] = [*_places(folder), None]
        self._open()
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self) -> None:
        while True:
            try:
                self._db = _connected(self._places[0])
            except (sqlite3.Error, OSError):
                if len(self._places) == 1:
                    raise
                del self._places[0]
            else:
                self.ask = Catalogue(self._db, self.broken)
                return

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def broken(self, error: Exception | str) -> InputError:
        """Take a damaged index away, and return what to say: the next start makes it again."""
        place = self._places[0] or Path(_NAME)
        # One without a code is of Python's: what should be text is none.
        if isinstance(error, sqlite3.OperationalError) and hasattr(error, "sqlite_errorcode"):
            return InputError(f"{place}: cannot be read ({error}); delete it, it is made again")
        self._db.close()
        _remove(self._places[0])
        return InputError(
            f"{place}: the index is damaged ({error!s:.80}); it was taken away, and whatever is "
            "done next makes it again"
        )

    def check(self, name: str) -> None:
        """Check that what is known of a segment is what stands in it, where that led to no row.

        Raises:
            InputError: When a line of it is damaged; or the index is, which is taken away.
        """
        segment = self.segment(name)
        walk, starts = Walk(str(segment.path), old=segment.is_old), dict[int, int]()
        members = _noted(segment.members(), starts) if segment.is_packed else iter(())
        lines = member_lines(members) if segment.is_packed else segment.lines()
        found: set[tuple[Any, ...]] = set()
        seen: set[str] = set()
        for event in walk.through(lines):
            if isinstance(event, Recorded):
                found.add((*event[:3], event.rows[0].key))
            elif isinstance(event, Shared) and event.hash not in seen:
                seen.add(event.hash)
                found.add((*event[:3], event.hash))
        # Its writer may be further on by now.
        read, known = self.ask.told(name)
        if known != {one for one in found if one[0] < read} | set(starts.items()):
            raise self.broken(f"it is not what {segment.path.name} says")

    def segment(self, name: str) -> Segment:
        """Return a segment that is in the index, where another process has put it there too."""
        if name not in self.segments:
            self.refresh()
        return self.segments[name]

    def refresh(self) -> None:
        """Take in what segments have that the index has not.

        Raises:
            InputError: When a line is damaged other than by a torn end.
        """
        try:
            self._refresh()
        except sqlite3.Error as error:
            self._make_anew(error)

    def _make_anew(self, error: sqlite3.Error) -> None:
        """Read all segments again, into an index elsewhere where this one is not at fault."""
        self._db.close()
        if isinstance(error, sqlite3.OperationalError) and len(self._places) > 1:
            # It cannot be written, or somebody has held it for a minute.
            del self._places[0]
        else:
            _remove(self._places[0])
        self._open()
        self._refresh()

    def _refresh(self) -> None:
        self.segments = segments(self._folder)
        states = self._db.execute("SELECT name, packed, size, changed FROM segments").fetchall()
        known = {name: state for name, *state in states}
        if len(known) < len(states):
            raise sqlite3.DatabaseError("a segment is there twice")
        if gone := known.keys() - self.segments.keys():
            with self._changing():
                for name in gone:
                    drop(self._db, name)
        for segment in self.segments.values():
            if known.get(segment.name) != [segment.is_packed, *segment.state]:
                self._take_in(segment)

    def _take_in(self, segment: Segment) -> None:
        try:
            self._take_batches(segment)
        except InputError:
            # Perhaps it is another file by now; if not, this names the same line.
            with self._changing():
                drop(self._db, segment.name)
            self._take_batches(segment)
        behind = "SELECT 1 FROM replays r JOIN segments s ON s.id = r.segment WHERE s.name > ?"
        if self._db.execute(behind, (segment.name,)).fetchone():
            # A later run may have replayed what was not there yet, as when results are merged.
            with self._changing():
                recount(self._db)

    def _take_batches(self, segment: Segment) -> None:
        done = False
        while not done:
            with self._changing():
                done = self._take_batch(segment)

    def _take_batch(self, segment: Segment) -> bool:
        """Take in some of a segment, and tell whether that was all."""
        query = "SELECT packed, size, changed, read, line FROM segments WHERE name = ?"
        known = self._db.execute(query, (segment.name,)).fetchone()
        if known and known[:3] == (segment.is_packed, *segment.state):
            return True
        if known and not _goes_on(segment, *known[:4]):
            drop(self._db, segment.name)
            known = None
        read, line = known[3:] if known else (0, 0)
        walk = Walk(str(segment.path), read=read, line=line, old=segment.is_old)
        starts: dict[int, int] = {}
        if segment.is_packed:
            events = list(walk.through(member_lines(_noted(segment.members(), starts))))
            done = True
        else:
            events = list(islice(walk.through(segment.lines(read)), _BATCH))
            done = len(events) < _BATCH
        add(self._db, segment, events)
        state = segment.state if done else (None, None)
        self._db.execute(
            "UPDATE segments SET size = ?, changed = ?, read = ?, line = ?, left = ?, torn = ? "
            "WHERE name = ?",
            (*state, walk.read, walk.line, walk.left if done else 0, walk.torn, segment.name),
        )
        self._keep_members(segment.name, starts)
        return done

    def take(self, segment: Segment, events: Sequence[Event], start: int, end: int) -> None:
        """Take in what this process has just written, without reading it.

        Args:
            segment: The segment, as it is now.
            events: What was written.
            start: Where it begins, in bytes.
            end: Where it ends.
        """
        try:
            self._take(segment, events, start, end)
        except sqlite3.Error as error:
            self._make_anew(error)

    def _take(self, segment: Segment, events: Sequence[Event], start: int, end: int) -> None:
        self.segments[segment.name] = segment
        with self._changing():
            query = "SELECT read, line FROM segments WHERE name = ?"
            read, line = self._db.execute(query, (segment.name,)).fetchone() or (0, 0)
            if is_next := read == start:
                add(self._db, segment, events)
                line += sum(len(e.rows) if isinstance(e, Recorded) else 1 for e in events)
                self._db.execute(
                    "UPDATE segments SET size = ?, changed = ?, read = ?, line = ? WHERE name = ?",
                    (*segment.state, end, line, segment.name),
                )
        if not is_next:
            # Another process has read it meanwhile.
            self._take_in(segment)

    def _keep_members(self, name: str, starts: dict[int, int]) -> None:
        self._db.executemany(
            "INSERT INTO members SELECT id, ?, ? FROM segments WHERE name = ?",
            [(start, offset, name) for start, offset in starts.items()],
        )

    def note_made(self, experiment: str, state: str) -> None:
        """Take note of what files were made of an experiment's rows."""
        # Where it cannot be kept, the files are made anew the next time.
        with suppress(sqlite3.OperationalError), self._changing():
            self._db.execute("INSERT OR REPLACE INTO made VALUES(?, ?)", (experiment, state))

    def packed(self, before: Segment, after: Segment, starts: dict[int, int]) -> None:
        """Take note that a segment is packed: what stands where in its bytes is as it was.

        Args:
            before: The plain segment, which is removed.
            after: The packed one.
            starts: From where members begin in the bytes to where they begin in the file.
        """
        with self._changing():
            self._db.execute(
                "UPDATE segments SET packed = 1, size = ?, changed = ?, left = 0, torn = 0 "
                "WHERE name = ?",
                (*after.state, after.name),
            )
            self._keep_members(after.name, starts)
            before.path.unlink()
        self.segments[after.name] = after


def _goes_on(segment: Segment, packed: bool, size: int | None, changed: int, read: int) -> bool:
    """Tell whether a file can be what was read of it, with more behind."""
    now, at = segment.state
    if packed or segment.is_packed or now < read:
        return False
    return not (now == size and changed != at)


def _noted(
    members: Iterator[tuple[int, bytes]], starts: dict[int, int]
) -> Iterator[tuple[int, bytes]]:
    """Yield members, and note from where each begins in the bytes to where in the file."""
    place = 0
    for offset, data in members:
        starts[place] = offset
        place += len(data)
        yield offset, data


def _places(folder: Path) -> Iterator[Path]:
    """Yield where an index may lie, best first."""
    if is_local(folder):
        yield folder / RECORDS / _NAME
    name = sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    yield cache_folder() / name / _NAME


def _connected(place: Path | None) -> sqlite3.Connection:
    """Return a connection to an index; to a new one where that is damaged or of another version.

    Args:
        place: Its file, None for one that goes with the connection.
    """
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        if place is not None and place.is_symlink():
            # Of somebody's whose store this was: it leads to another file.
            place.unlink()
        db = sqlite3.connect(place or "", timeout=_WAIT, isolation_level=None)
        try:
            # A store may be somebody else's, its index with it.
            db.execute("PRAGMA trusted_schema = OFF")
            if _is_current(db):
                return db
        except sqlite3.OperationalError:
            db.close()
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            # Of a damaged schema sqlite3 cannot even say what is wrong with it.
            pass
        db.close()
        _remove(place)
    raise sqlite3.OperationalError("changed by somebody else meanwhile")


@cache
def _tables() -> list[tuple[str, str]]:
    """Return the tables of this version as SQLite has them."""
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    found = db.execute(_TABLES).fetchall()
    db.close()
    return found


def _remove(place: Path | None) -> None:
    if place is not None:
        for end in ("", "-wal", "-shm"):
            place.with_name(place.name + end).unlink(missing_ok=True)


def _is_current(db: sqlite3.Connection) -> bool:
    """Make the tables where there are none, and tell whether they are of this version."""
    # What a power cut takes away is made again; it must not be wrong, though.
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -16000")
    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        db.execute("BEGIN EXCLUSIVE")
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        return False
    # Views and triggers of somebody else's would have it say anything.
    if db.execute(_TABLES).fetchall() != _tables():
        return False
    # Read by some while one writes; where somebody is just opening it, it is set the next time.
    with suppress(sqlite3.OperationalError):
        db.execute("PRAGMA journal_mode = WAL")
    return True
