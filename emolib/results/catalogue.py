"""What the index of a store is asked: which items there are, where they stand, of which run."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import update_wrapper
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from zlib import crc32

from emolib.errors import InputError


class Place(NamedTuple):
    """Where the rows of an item, or what rows refer to, stand: bytes of a segment, unpacked."""

    segment: str
    offset: int
    length: int
    line: int


class SegmentState(NamedTuple):
    """What the index knows of a segment: see `emolib.results.events.Walk` for the numbers."""

    name: str
    read: int
    line: int
    left: int
    torn: bool
    items: int
    replayed: int
    run: dict[str, Any]
    ended: str


_PLACE = "s.name, i.offset, i.length, i.line FROM items i JOIN segments s ON s.id = i.segment"
_ITEMS_OF_KEYS = (
    "SELECT i.item, i.id, i.family, j.key FROM json_each(?) j JOIN items i ON i.key = j.value "
    "JOIN segments s ON s.id = i.segment WHERE (s.name, i.offset) < (?, ?) "
    "ORDER BY s.name, i.offset"
)
_NOTHING: list[str] = []
# Items whose outlines are fetched together.
_AT_ONCE = 256
_Family = tuple[str, str, str, str, str]
_Event = tuple[str, int, int]


_P = ParamSpec("_P")
_T = TypeVar("_T")
Broken = Callable[[Exception], InputError]
"""From what went wrong with an index to what is said of it."""
# What an index leads to that holds what nobody has put there.
_DAMAGE = (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError, OverflowError)


def outline_sum(item: Sequence[Any], outline: bytes) -> int:
    """Return the checksum of a line of ``items`` less its id, and of the outlines of its rows."""
    return crc32(outline, crc32(repr(tuple(item)).encode("utf-8", "replace")))


def _asked(
    ask: Callable[Concatenate[Catalogue, _P], _T],
) -> Callable[Concatenate[Catalogue, _P], _T]:
    """Say what is wrong with the index where that is what a question ends with."""

    def asked(self: Catalogue, /, *args: _P.args, **named: _P.kwargs) -> _T:
        try:
            return ask(self, *args, **named)
        except InputError:
            raise
        except _DAMAGE as error:
            raise self.broken(error) from None

    update_wrapper(asked, ask)
    return asked


def _each(
    ask: Callable[Concatenate[Catalogue, _P], Iterator[_T]],
) -> Callable[Concatenate[Catalogue, _P], Iterator[_T]]:
    """Do what `_asked` does of a question with many answers."""

    def asked(self: Catalogue, /, *args: _P.args, **named: _P.kwargs) -> Iterator[_T]:
        answers = ask(self, *args, **named)
        while True:
            try:
                answer = next(answers)
            except StopIteration:
                return
            except _DAMAGE as error:
                raise self.broken(error) from None
            yield answer

    update_wrapper(asked, ask)
    return asked


class Catalogue:
    """Questions to an index.

    Attributes:
        broken: Gives what is said where the index is damaged.
    """

    def __init__(self, db: sqlite3.Connection, broken: Broken) -> None:
        """Hold its connection."""
        self._db, self.broken = db, broken

    @_asked
    def states(self) -> list[SegmentState]:
        """Return what is known of every segment, in order."""
        found = self._db.execute(
            "SELECT name, read, line, left, torn, items, replayed, IFNULL(run, '{}'), "
            "IFNULL(ended, '\"\"') FROM segments ORDER BY name"
        )
        return [
            SegmentState(*state[:7], *map(json.loads, state[7:])) for state in map(tuple, found)
        ]

    @_asked
    def keys(self) -> dict[str, list[str]]:
        """Return the keys of all items, and of each what its rows say the model carried."""
        found: dict[str, list[str]] = {}
        for (number,) in self._db.execute("SELECT id FROM segments ORDER BY name").fetchall():
            query = "SELECT key, under FROM items WHERE segment = ? ORDER BY id"
            for key, under in self._db.execute(query, (number,)):
                found[key] = json.loads(under) if under else _NOTHING
        return found

    @_asked
    def latest(self, key: str) -> int | None:
        """Return the item that was recorded last under a key."""
        query = f"SELECT i.id, {_PLACE} WHERE i.key = ? ORDER BY s.name DESC, i.offset DESC LIMIT 1"
        found = self._db.execute(query, (key,)).fetchone()
        return int(found[0]) if found else None

    @_each
    def again(self) -> Iterator[list[int]]:
        """Yield the items that were recorded under each key that has more than one, in order."""
        query = "SELECT key FROM items GROUP BY key HAVING COUNT(*) > 1 ORDER BY MIN(id)"
        for (key,) in self._db.execute(query).fetchall():
            found = f"SELECT i.id, {_PLACE} WHERE i.key = ? ORDER BY s.name, i.offset"
            yield [row[0] for row in self._db.execute(found, (key,))]

    @_asked
    def place(self, item: int) -> Place:
        """Return where the rows of an item stand."""
        found = self._db.execute(f"SELECT {_PLACE} WHERE i.id = ?", (item,)).fetchone()
        return Place(*found)

    @_each
    def outlines(self, items: Sequence[int]) -> Iterator[tuple[str, list[bytes]]]:
        """Yield the segment and the outlines of each item's rows, in the order of the items."""
        for start in range(0, len(items), _AT_ONCE):
            part = list(items[start : start + _AT_ONCE])
            found = self._db.execute(
                "SELECT o.item, s.name, o.outline, o.crc, i.segment, i.offset, i.length, i.line, "
                "i.key, i.item, i.family, i.under FROM outlines o JOIN items i ON i.id = o.item "
                f"JOIN segments s ON s.id = i.segment WHERE o.item IN ({_marks(part)})",
                part,
            )
            known = {row[0]: row[1:] for row in found}
            for item in part:
                segment, outlines, checksum, *told = known[item]
                if outline_sum(told, outlines) != checksum:
                    raise ValueError("wrong checksum")
                yield segment, outlines.split(b"\n")

    @_asked
    def shared(self, segment: str, name: str) -> tuple[Place, str | None] | None:
        """Return where stands what rows of a segment refer to, or its JSON where it has no line."""
        query = (
            "SELECT s.name, h.offset, h.length, h.line, h.value FROM shared h "
            "JOIN segments s ON s.id = h.segment WHERE s.name = ? AND h.hash = ?"
        )
        found = self._db.execute(query, (segment, name)).fetchone()
        return (Place(*found[:4]), found[4]) if found else None

    @_asked
    def told(self, segment: str) -> tuple[int, set[tuple[Any, ...]]]:
        """Return how much of a segment is known, and where what is in it stands.

        Returns:
            (Bytes; of items and of what they refer to offset, length, line, key or hash; of members
            where they begin, unpacked and packed.)
        """
        query = "SELECT read FROM segments WHERE name = ?"
        (read,) = self._db.execute(query, (segment,)).fetchone()
        items = (
            "SELECT i.offset, i.length, i.line, i.key FROM items i "
            "JOIN segments s ON s.id = i.segment WHERE s.name = ?"
        )
        shared = (
            "SELECT h.offset, h.length, h.line, h.hash FROM shared h "
            "JOIN segments s ON s.id = h.segment WHERE s.name = ?"
        )
        members = (
            "SELECT m.start, m.offset FROM members m JOIN segments s ON s.id = m.segment "
            "WHERE s.name = ?"
        )
        return read, {
            row for query in (items, shared, members) for row in self._db.execute(query, (segment,))
        }

    @_asked
    def member(self, place: Place) -> tuple[int, int]:
        """Return where the member begins that has a place: in the segment and in its file."""
        query = (
            "SELECT m.start, m.offset FROM members m JOIN segments s ON s.id = m.segment "
            "WHERE s.name = ? AND m.start <= ? ORDER BY m.start DESC LIMIT 1"
        )
        start, offset = self._db.execute(query, (place.segment, place.offset)).fetchone()
        return start, offset

    @_asked
    def items(self, experiment: str | None, run: str | None) -> array[int]:
        """Return the items whose rows can stand in one table, in order of their names.

        Args:
            experiment: Of this one alone.
            run: Of what this run recorded or replayed; of all that there is by default.
        """
        found = self._of_run(run) if run is not None else self._of_all(experiment)
        return array("q", [i for i, name in found if experiment in (None, name)])

    @_asked
    def made(self, experiment: str) -> str | None:
        """Return what `Index.note_made` was told last."""
        query = "SELECT state FROM made WHERE experiment = ?"
        found = self._db.execute(query, (experiment,)).fetchone()
        return str(found[0]) if found else None

    @_asked
    def experiments(self, run: str | None) -> list[str]:
        """Return the experiments of `items`, in order of their items."""
        found = self._of_run(run) if run is not None else self._of_all(None)
        return list(dict.fromkeys(name for _, name in found))

    def _of_all(self, experiment: str | None) -> Iterator[tuple[int, str]]:
        current = {
            family: name
            for family, name in _current(self._families()).items()
            if experiment in (None, name)
        }
        found = self._db.execute(
            "SELECT i.id, i.item, i.family FROM items i JOIN segments s ON s.id = i.segment "
            f"WHERE i.family IN ({_marks(current)}) ORDER BY i.item, s.name, i.offset",
            list(current),
        )
        before: tuple[int, str, int] | None = None
        for row in found:
            if before and before[1] != row[1]:
                yield before[0], current[before[2]]
            before = row
        if before:
            yield before[0], current[before[2]]

    def _of_run(self, run: str) -> list[tuple[int, str]]:
        """Return items and experiments of what a run recorded or replayed, in order of items."""
        events: dict[str, tuple[_Event, int, int]] = {}
        last: dict[int, _Event] = {}

        def note(item: str, number: int, family: int, *place: Any) -> None:
            event: _Event = place[0], place[1], place[2]
            if item not in events or events[item][0] < event:
                events[item] = event, number, family
            last[family] = max(last.get(family, event), event)

        recorded = (
            "SELECT i.item, i.id, i.family, s.name, i.offset, 0 FROM items i "
            "JOIN segments s ON s.id = i.segment WHERE s.name = ?"
        )
        for row in self._db.execute(recorded, (run,)):
            note(*row)
        replays = (
            "SELECT r.offset, r.keys FROM replays r JOIN segments s ON s.id = r.segment "
            "WHERE s.name = ? ORDER BY r.offset"
        )
        for offset, keys in self._db.execute(replays, (run,)).fetchall():
            for *row, nth in self._db.execute(_ITEMS_OF_KEYS, (keys, run, offset)):
                note(*row, run, offset, nth)
        families = self._families()
        current = _current({f: (families[f][0], place) for f, place in last.items()})
        return [
            (number, current[family])
            for _, (_, number, family) in sorted(events.items())
            if family in current
        ]

    def _families(self) -> dict[int, tuple[_Family, _Event]]:
        query = (
            "SELECT id, experiment, function, model, emotion, context, segment, offset, nth "
            "FROM families"
        )
        return {row[0]: (row[1:6], row[6:]) for row in self._db.execute(query)}


def _marks(values: Collection[Any]) -> str:
    """Return the place of each of some values in a statement."""
    return ", ".join("?" * len(values))


def _current(families: dict[int, tuple[_Family, _Event]]) -> dict[int, str]:
    """Return the experiments of those contexts whose rows can stand in one table.

    Of every function, model and emotion that is the context of the last event. Where functions of
    several files have one name, the experiment is the one whose event came last.
    """
    functions: dict[str, str] = {}
    contexts: dict[tuple[str, str, str], str] = {}
    for (experiment, *family, context), _ in sorted(families.values(), key=lambda found: found[1]):
        functions[experiment] = family[0]
        contexts[family[0], family[1], family[2]] = context
    return {
        number: experiment
        for number, ((experiment, *family, context), _) in families.items()
        if functions[experiment] == family[0]
        and contexts[family[0], family[1], family[2]] == context
    }
