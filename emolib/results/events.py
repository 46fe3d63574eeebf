"""What stands in a segment, item by item, as it is read there and as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from emolib.errors import InputError
from emolib.results.lines import (
    LEFT_OUT,
    SHARED,
    VERSION,
    Encoder,
    checked_value,
    object_of,
    old_row,
    shared_line,
    slim,
    unseal,
)
from emolib.results.members import are_texts, wrong_in_run
from emolib.results.rows import RESTORE, Row, checked

# Of the name that stands behind the version of a line.
_NAME = re.compile(rb'\{"v": \d+, "(\w+)"')
# Of how many bytes an outline has.
_DIGITS = 12


class Recorded(NamedTuple):
    """The rows of one item where they stand: outlines, whose provenance may be a reference."""

    offset: int
    length: int
    line: int
    rows: list[Row]
    outlines: list[bytes]


class Shared(NamedTuple):
    """What rows refer to: its hash, where it stands, and the value where it has no line."""

    offset: int
    length: int
    line: int
    hash: str
    value: bytes | None = None


class Replayed(NamedTuple):
    """Keys of items whose rows a run took from the store."""

    offset: int
    length: int
    line: int
    keys: list[str]


class Told(NamedTuple):
    """What a segment says of its run: ``run`` in its first line, ``ended`` in its last."""

    offset: int
    length: int
    line: int
    about: dict[str, Any]


Event = Recorded | Shared | Replayed | Told


class Walk:
    """Goes through the lines of a segment, from a place between two items on.

    Attributes:
        read: Where the last whole thing ends, in bytes from the segment's beginning.
        line: How many lines end before that.
        left: Bytes after it: the segment's writer was killed, or writes.
        torn: Whether they end inside a line.
    """

    def __init__(self, name: str, *, read: int = 0, line: int = 0, old: bool = False) -> None:
        """Begin at a place.

        Args:
            name: What the segment is called in messages.
            read: The place, in bytes from the segment's beginning.
            line: How many lines are before it.
            old: Whether it is a ``records.jsonl`` of rows without checksums.
        """
        self._name, self.read, self.line, self._old = name, read, line, old
        self.left, self.torn = 0, False
        self._encoder = Encoder()
        self._pending: list[Row] = []
        self._outlines: list[bytes] = []

    def through(self, lines: Iterable[bytes]) -> Iterator[Event]:
        """Yield what stands in the lines, item by item.

        Args:
            lines: From the place on, each with its end of line.

        Raises:
            InputError: When a line is damaged, other than by being the torn last one.
        """
        for number, line in enumerate(lines, self.line + 1):
            self.left += len(line)
            if not line.endswith(b"\n"):
                self.torn = True
                return
            where = f"{self._name}: line {number}"
            yield from self._old_row(line, where) if self._old else self._any(line, where)

    def _any(self, line: bytes, where: str) -> Iterator[Event]:
        body = unseal(line, where)
        if not body.startswith(b'{"v": %d, "item"' % VERSION):
            if self._pending:
                raise self._missing(where, f"a line {_kind(body)}")
            yield self._other(body, where)
        else:
            length = body[body.rindex(b" ") + 1 :]
            is_told = length.isdigit() and len(length) <= _DIGITS
            outline = body[: int(length)] + b"}" if is_told else b""
            data = object_of(outline, where)
            row = checked(data | LEFT_OUT, where)
            if not isinstance(row.provenance.get(SHARED, ""), str):
                raise InputError(f"{where}: its provenance refers to what is none; {RESTORE}")
            yield from self._row(row, outline, where)

    def _old_row(self, line: bytes, where: str) -> Iterator[Event]:
        row = slim(old_row(line, where))
        outline = self._encoder.outline(row)
        for name, value in self._encoder.shared():
            yield Shared(self.read, 0, self.line, name, value)
        yield from self._row(row, outline, where)

    def _row(self, row: Row, outline: bytes, where: str) -> Iterator[Recorded]:
        pending = self._pending
        if row.row != len(pending) or (pending and _of(pending[0]) != _of(row)):
            raise self._missing(where, f"row {row.row} of {row.item}")
        pending.append(row)
        self._outlines.append(outline)
        if len(pending) == row.of:
            found = Recorded(self.read, self.left, self.line + 1, pending, self._outlines)
            self._pending, self._outlines = [], []
            self._advance(len(pending))
            yield found

    def _other(self, body: bytes, where: str) -> Event:
        data = object_of(body + b"}", where)
        place = self.read, self.left, self.line + 1
        self._advance(1)
        match data:
            case {"run": {"id": str()}} if len(data) == 1:
                if wrong := list(wrong_in_run(data["run"])):
                    raise InputError(f"{where}: not told of a run ({wrong[0]}); {RESTORE}")
                return Told(*place, data)
            case {"ended": str()} if len(data) == 1:
                return Told(*place, data)
            case {"replayed": [*keys]} if are_texts(keys):
                return Replayed(*place, keys)
            case {"shared": str(name), "value": value}:
                checked_value(value, where)
                return Shared(*place, name)
        raise InputError(f"{where}: neither a row nor told of a run; {RESTORE}")

    def _advance(self, lines: int) -> None:
        self.read += self.left
        self.line += lines
        self.left = 0

    def _missing(self, where: str, got: str) -> InputError:
        item = self._pending[0].item if self._pending else "an item"
        return InputError(
            f"{where}: expected row {len(self._pending)} of {item}, got {got}: a line is "
            f"missing; {RESTORE}"
        )


def _of(row: Row) -> tuple[str, str, int]:
    return row.key, row.item, row.of


def _kind(body: bytes) -> str:
    found = _NAME.match(body)
    return f"of {found[1].decode()!r}" if found else "of no kind"


def events_of(
    rows: Sequence[Row], encoder: Encoder, offset: int, line: int
) -> tuple[list[Event], bytes]:
    """Return what the rows of one item are in a segment, and the bytes to write there.

    Args:
        rows: The rows.
        encoder: The segment's.
        offset: Where they will begin.
        line: How many lines are before that.
    """
    events: list[Event] = []
    data = bytearray()
    outlines = [encoder.outline(row) for row in rows]
    lines = [encoder.line(row, outline) for row, outline in zip(rows, outlines, strict=True)]
    for name, value in encoder.shared():
        added = shared_line(name, value)
        events.append(Shared(offset + len(data), len(added), line + len(events) + 1, name))
        data += added
    written = b"".join(lines)
    place = offset + len(data), len(written), line + len(events) + 1
    # Texts and vectors would be kept until the index has them.
    events.append(Recorded(*place, [slim(row) for row in rows], outlines))
    data += written
    return events, bytes(data)
