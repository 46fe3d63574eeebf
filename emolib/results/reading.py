"""From what an index knows to rows: outlines from the index, whole rows from their segments."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from emolib.errors import InputError
from emolib.results.catalogue import Place
from emolib.results.index import Index
from emolib.results.lines import (
    Look,
    checked_value,
    old_row,
    outlined,
    shared_value,
    whole,
)
from emolib.results.rows import RESTORE, Row

# Items come in order of their names, which is nearly that of the file: a few members will do.
_MEMBERS = 32
_VALUES = 512
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Reading:
    """Reads the rows of a store.

    Attributes:
        index: Where they stand.
    """

    def __init__(self, index: Index) -> None:
        """Hold the index; read nothing yet."""
        self.index = index
        self._members: dict[tuple[Path, int], bytes] = {}
        self._values: dict[tuple[str, str], Any] = {}

    def outlines(self, items: Sequence[int]) -> Iterator[Row]:
        """Yield the rows of items without their vectors, texts, lists and pairs."""
        for segment, outlines in self.index.ask.outlines(items):
            look, where = self._look(segment), str(self.index.segment(segment).path)
            try:
                rows = [outlined(outline, where, look) for outline in outlines]
            except InputError:
                self.index.check(segment)
                raise
            yield from rows

    def rows(self, item: int, *, as_written: bool = False) -> list[Row]:
        """Return the rows of an item.

        Args:
            item: Its number in the index.
            as_written: As in `emolib.results.lines.whole`.

        Raises:
            InputError: When a line is not what was written.
        """
        place = self.index.ask.place(item)
        try:
            return self._rows(place, as_written)
        except InputError:
            # Where the index is at fault, no segment is to be blamed.
            self.index.check(place.segment)
            raise

    def _rows(self, place: Place, as_written: bool) -> list[Row]:
        path, data = self._bytes(place)
        look = self._look(place.segment)
        rows = []
        for number, line in enumerate(io.BytesIO(data), place.line):
            where = f"{path}: line {number}"
            if self.index.segment(place.segment).is_old:
                rows.append(old_row(line, where, as_written=as_written))
            else:
                rows.append(whole(line, where, look, as_written=as_written))
        return rows

    def _look(self, segment: str) -> Look:
        def look(name: str) -> Any:
            # Hashes are those of their segment: nothing of one can go into the rows of another.
            key = segment, name
            if key not in self._values:
                _keep(self._values, key, self._value(segment, name), _VALUES)
            return self._values[key]

        return look

    def _value(self, segment: str, name: str) -> Any:
        found = self.index.ask.shared(segment, name)
        if found is None:
            path = self.index.segment(segment).path
            raise InputError(f"{path}: a row refers to {name}, which is not there; {RESTORE}")
        place, value = found
        if value is not None:
            return checked_value(json.loads(value), str(self.index.segment(segment).path))
        path, line = self._bytes(place)
        return shared_value(line, f"{path}: line {place.line}")

    def _bytes(self, place: Place) -> tuple[Path, bytes]:
        try:
            return self._bytes_now(place)
        except FileNotFoundError:
            # Packed meanwhile.
            self.index.refresh()
            return self._bytes_now(place)

    def _bytes_now(self, place: Place) -> tuple[Path, bytes]:
        segment = self.index.segment(place.segment)
        if not segment.is_packed:
            return segment.path, segment.read(place.offset, place.length)
        start, offset = self.index.ask.member(place)
        key = segment.path, offset
        if key not in self._members:
            _keep(self._members, key, segment.member(offset), _MEMBERS)
        begin = place.offset - start
        return segment.path, self._members[key][begin : begin + place.length]


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value, count: int) -> None:
    """Put a value among those kept, and the one that came first away where there are too many."""
    if len(kept) >= count:
        del kept[next(iter(kept))]
    kept[key] = value
