"""What the index of a store holds, and how what stands in segments gets into it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from emolib.results.catalogue import outline_sum
from emolib.results.events import Event, Recorded, Replayed, Shared, Told
from emolib.results.rows import Row
from emolib.results.segments import Segment

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE segments(
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, packed INTEGER NOT NULL, size INTEGER,
  changed INTEGER, read INTEGER NOT NULL, line INTEGER NOT NULL, left INTEGER NOT NULL,
  torn INTEGER NOT NULL, items INTEGER NOT NULL, replayed INTEGER NOT NULL, run TEXT, ended TEXT);
CREATE TABLE members(
  segment INTEGER, start INTEGER, offset INTEGER, PRIMARY KEY(segment, start)) WITHOUT ROWID;
CREATE TABLE families(
  id INTEGER PRIMARY KEY, experiment TEXT, function TEXT, model TEXT, emotion TEXT, context TEXT,
  segment TEXT NOT NULL, offset INTEGER NOT NULL, nth INTEGER NOT NULL,
  UNIQUE(experiment, function, model, emotion, context));
CREATE TABLE items(
  id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
  length INTEGER NOT NULL, line INTEGER NOT NULL, key TEXT NOT NULL, item TEXT NOT NULL,
  family INTEGER NOT NULL, under TEXT);
CREATE INDEX items_of_key ON items(key);
CREATE INDEX items_of_family ON items(family);
CREATE INDEX items_of_segment ON items(segment);
CREATE TABLE outlines(
  item INTEGER PRIMARY KEY, outline BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE metrics(
  item INTEGER, row INTEGER, name TEXT, mean REAL, low REAL, high REAL, n INTEGER, d_z REAL,
  PRIMARY KEY(item, row, name)) WITHOUT ROWID;
CREATE TABLE replays(
  segment INTEGER, offset INTEGER, keys TEXT NOT NULL, PRIMARY KEY(segment, offset)) WITHOUT ROWID;
CREATE TABLE shared(
  segment INTEGER, hash TEXT, offset INTEGER, length INTEGER, line INTEGER, value TEXT,
  PRIMARY KEY(segment, hash)) WITHOUT ROWID;
CREATE TABLE made(experiment TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
"""
_OF_A_SEGMENT = """
DELETE FROM metrics WHERE item IN (SELECT id FROM items WHERE segment = :s);
DELETE FROM outlines WHERE item IN (SELECT id FROM items WHERE segment = :s);
DELETE FROM items WHERE segment = :s;
DELETE FROM members WHERE segment = :s;
DELETE FROM replays WHERE segment = :s;
DELETE FROM shared WHERE segment = :s;
DELETE FROM segments WHERE id = :s;
DELETE FROM made;
"""


# Of items by their keys: which families they are of, and how far back in the list each comes last.
_FAMILIES_OF_KEYS = (
    "SELECT i.family, MAX(j.key) FROM json_each(?) j JOIN items i ON i.key = j.value "
    "GROUP BY i.family"
)
_Family = tuple[str, str, str, str, str]
_Place = tuple[str, int, int]


def family_of(row: Row) -> tuple[str, str, str]:
    """Return what the rows of a table share: function, model and emotion."""
    return row.item.partition("[")[0], row.dims.get("model", ""), row.dims.get("emotion", "")


def add(db: sqlite3.Connection, segment: Segment, events: Iterable[Event]) -> None:
    """Put into the tables what stands in a segment."""
    added = _Added(db, segment)
    for event in events:
        added.add(event)
    added.write()


def drop(db: sqlite3.Connection, name: str) -> None:
    """Take out of the tables all that stands in a segment."""
    (number,) = db.execute("SELECT MAX(id) FROM segments WHERE name = ?", (name,)).fetchone()
    for statement in _OF_A_SEGMENT.strip().splitlines():
        db.execute(statement, {"s": number} if ":s" in statement else {})
    recount(db)


def recount(db: sqlite3.Connection) -> None:
    """Find out anew when each context was last recorded or replayed."""
    last: dict[int, _Place] = {}
    recorded = db.execute(
        "SELECT i.family, s.name, MAX(i.offset), 0 FROM items i "
        "JOIN segments s ON s.id = i.segment GROUP BY i.family, i.segment"
    )
    for family, *place in recorded:
        last[family] = max(last.get(family, ("", 0, 0)), (place[0], place[1], place[2]))
    replays = db.execute(
        "SELECT s.name, r.offset, r.keys FROM replays r JOIN segments s ON s.id = r.segment"
    )
    for name, offset, keys in replays.fetchall():
        for family, nth in db.execute(_FAMILIES_OF_KEYS, (keys,)):
            last[family] = max(last.get(family, ("", 0, 0)), (name, offset, nth))
    db.execute("DELETE FROM families WHERE id NOT IN (SELECT family FROM items)")
    db.executemany(
        "UPDATE families SET segment = ?, offset = ?, nth = ? WHERE id = ?",
        [(*place, family) for family, place in last.items()],
    )


class _Added:
    """Lines for the tables of the index, gathered and written together."""

    def __init__(self, db: sqlite3.Connection, segment: Segment) -> None:
        self._db, self._name = db, segment.name
        db.execute(
            "INSERT OR IGNORE INTO segments VALUES(NULL, ?, ?, NULL, NULL, 0, 0, 0, 0, 0, 0, "
            "NULL, NULL)",
            (segment.name, segment.is_packed),
        )
        (self._segment,) = db.execute(
            "SELECT id FROM segments WHERE name = ?", (segment.name,)
        ).fetchone()
        (self._next,) = db.execute("SELECT IFNULL(MAX(id), 0) + 1 FROM items").fetchone()
        self._families: dict[_Family, int] = {}
        self._last: dict[int, int] = {}
        self._items: list[tuple[Any, ...]] = []
        self._outlines: list[tuple[int, bytes, int]] = []
        self._metrics: list[tuple[Any, ...]] = []
        self._replays: list[Replayed] = []
        self._shared: list[tuple[Any, ...]] = []

    def add(self, event: Event) -> None:
        match event:
            case Recorded():
                self._record(event)
            case Replayed():
                self._replays.append(event)
            case Shared():
                value = event.value and event.value.decode()
                place = event.offset, event.length, event.line
                self._shared.append((self._segment, event.hash, *place, value))
            case Told():
                for name in event.about.keys() & {"run", "ended"}:
                    self._db.execute(
                        f"UPDATE segments SET {name} = ? WHERE id = ?",
                        (json.dumps(event.about[name]), self._segment),
                    )

    def _record(self, event: Recorded) -> None:
        first, number = event.rows[0], self._next
        self._next += 1
        family = self._family(first)
        self._last[family] = event.offset
        under = first.provenance.get("under")
        item = (
            self._segment, event.offset, event.length, event.line, first.key, first.item, family,
            json.dumps(under) if under else None,
        )  # fmt: skip
        outlines = b"\n".join(event.outlines)
        self._items.append((number, *item))
        self._outlines.append((number, outlines, outline_sum(item, outlines)))
        self._metrics += [
            (number, row.row, name, *_numbers(value))
            for row in event.rows
            for name, value in row.values.items()
        ]

    def _family(self, row: Row) -> int:
        function, model, emotion = family_of(row)
        family = row.experiment, function, model, emotion, row.context
        if family not in self._families:
            self._db.execute(
                "INSERT OR IGNORE INTO families VALUES(NULL, ?, ?, ?, ?, ?, '', 0, 0)", family
            )
            (self._families[family],) = self._db.execute(
                "SELECT id FROM families WHERE experiment = ? AND function = ? AND model = ? "
                "AND emotion = ? AND context = ?",
                family,
            ).fetchone()
        return self._families[family]

    def write(self) -> None:
        many = self._db.executemany
        many("INSERT INTO items VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", self._items)
        many("INSERT INTO outlines VALUES(?, ?, ?)", self._outlines)
        many("INSERT OR REPLACE INTO metrics VALUES(?, ?, ?, ?, ?, ?, ?, ?)", self._metrics)
        many("INSERT OR IGNORE INTO shared VALUES(?, ?, ?, ?, ?, ?)", self._shared)
        replays = [(self._segment, e.offset, json.dumps(e.keys)) for e in self._replays]
        many("INSERT INTO replays VALUES(?, ?, ?)", replays)
        self._db.execute(
            "UPDATE segments SET items = items + ?, replayed = replayed + ? WHERE id = ?",
            (len(self._items), sum(len(e.keys) for e in self._replays), self._segment),
        )
        events = [(family, offset, 0) for family, offset in self._last.items()]
        for _, offset, keys in replays:
            found = self._db.execute(_FAMILIES_OF_KEYS, (keys,))
            events += [(family, offset, nth) for family, nth in found]
        many(
            "UPDATE families SET segment = ?2, offset = ?3, nth = ?4 WHERE id = ?1 "
            "AND (segment, offset, nth) < (?2, ?3, ?4)",
            [(family, self._name, offset, nth) for family, offset, nth in events],
        )


def _numbers(value: Any) -> tuple[float | None, ...]:
    """Return mean, ends of the interval, n and d_z of a metric; of a number alone itself."""
    if not isinstance(value, dict):
        return value, None, None, None, None
    low, high = value.get("ci") or (None, None)
    return value["mean"], low, high, value.get("n"), value.get("d_z")
