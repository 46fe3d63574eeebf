"""The lines of a segment: how rows and what is told of a run become lines of JSON, and back.

Every line is a JSON object that begins with the version and ends with ``crc``, the CRC-32 of all
bytes before it. A row has the fields of its outline first and says how long they are, so that who
wants no more than the outline need not parse the rest. What rows have alike is written once, as a
line of its own, and referred to by its hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any
from zlib import crc32

from emolib.errors import InputError
from emolib.results.members import Written, wrong_in_provenance
from emolib.results.rows import RESTORE, Row, checked

VERSION = 3
OLD_VERSION = 2
"""Of the rows of ``records.jsonl``, which have no checksum."""
OUTLINE = (
    "item", "experiment", "key", "row", "of", "dims", "context", "labels", "values", "output",
    "provenance", "time",
)  # fmt: skip
"""Fields that a row begins with."""
DETAIL = ("vectors", "texts", "lists", "pairs")
"""Fields that follow them, nearly all of the bytes."""
SHARED = "shared"
# What differs from item to item, and stays beside the reference to all else.
_OWN = ("heads", "units", "ablation", "under")
# Shorter ones, in bytes of JSON, are written out.
_WORTH_SHARING = 120
_NOTHING: dict[str, Any] = {}
LEFT_OUT: dict[str, Any] = {name: _NOTHING for name in DETAIL}
_DECODE = json.JSONDecoder().decode
_NO_DETAIL = b'"vectors": {}, "texts": {}, "lists": {}, "pairs": {}'
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


_STRICT = json.JSONDecoder(parse_constant=_refuse)
_AS_WRITTEN = json.JSONDecoder(parse_float=Written, parse_constant=_refuse)
_NO_LISTS = b'"lists": {}'
_CRC = b', "crc": "%08x"}\n'
_CRC_LENGTH = len(_CRC % 0)
Look = Callable[[str], Any]
"""From a hash to what was written under it."""


def seal(body: bytes) -> bytes:
    """Return a line: an object of JSON, without its closing brace, and its checksum."""
    return body + _CRC % crc32(body)


def told(what: str, value: Any) -> bytes:
    """Return a line that is no row: ``run``, ``replayed`` or ``ended``."""
    return seal(_JSON.encode({"v": VERSION, what: value})[:-1].encode())


def unseal(line: bytes, where: str) -> bytes:
    """Return the bytes of a line that its checksum is of.

    Raises:
        InputError: When they are not those that were written.
    """
    body = line[:-_CRC_LENGTH]
    if line[-_CRC_LENGTH:] != _CRC % crc32(body):
        raise InputError(f"{where}: {_what_is_wrong(line)}; {RESTORE}")
    return body


def _what_is_wrong(line: bytes) -> str:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(data, dict) or data.get("v") != VERSION:
        return f"expected a line of version {VERSION}"
    if "crc" not in data:
        return "no checksum"
    return "wrong checksum: these are not the bytes that were written"


class Encoder:
    """Makes the lines of one segment, and knows what stands in it already."""

    def __init__(self) -> None:
        """Begin a segment."""
        self._written: set[str] = set()
        self._seen: set[str] = set()
        self._last: tuple[dict[str, Any], dict[str, Any]] = _NOTHING, _NOTHING
        self._new: list[tuple[str, bytes]] = []

    def shared(self) -> list[tuple[str, bytes]]:
        """Return what the lines made since the last call refer to for the first time."""
        new, self._new = self._new, []
        return new

    def outline(self, row: Row) -> bytes:
        """Return the outline of a row as an object of JSON."""
        fields: dict[str, Any] = {"v": VERSION}
        for name in OUTLINE:
            fields[name] = getattr(row, name)
        fields["provenance"] = self._provenance(row.provenance)
        return _JSON.encode(fields).encode()

    def line(self, row: Row, outline: bytes) -> bytes:
        """Return the line of a row whose outline that is."""
        head = outline[:-1]
        if not _has_detail(row):
            return seal(b'%b, %b, "outline": %d' % (head, _NO_DETAIL, len(head)))
        texts = self._columns(row.texts)
        detail = (
            f', "vectors": {_JSON.encode(row.vectors)}, "texts": {texts}, '
            f'"lists": {self._columns(row.lists)}, "pairs": {self._pairs(row.pairs)}, '
            f'"outline": {len(head)}'
        )
        return seal(head + detail.encode())

    def _provenance(self, provenance: dict[str, Any]) -> dict[str, Any]:
        if provenance is not self._last[0]:
            common = {name: None if name in _OWN else part for name, part in provenance.items()}
            own = {name: provenance[name] for name in _OWN if name in provenance}
            text = _JSON.encode(common)
            must = SHARED in provenance
            found = self._refer(text) if must or len(text) >= _WORTH_SHARING else None
            self._last = provenance, {SHARED: found} | own if found else provenance
        return self._last[1]

    def _pairs(self, pairs: dict[str, list[str]]) -> str:
        text = _JSON.encode(pairs)
        if SHARED not in pairs and len(text) < _WORTH_SHARING:
            return text
        return _JSON.encode({SHARED: self._refer(text)})

    def _columns(self, columns: dict[str, Any]) -> str:
        parts = []
        for name, column in columns.items():
            text = _JSON.encode(column)
            if len(text) >= _WORTH_SHARING:
                # Most texts are of one row alone: what comes a second time gets a line.
                found = _hash(text)
                if found in self._seen or found in self._written:
                    text = _JSON.encode({SHARED: self._refer(text)})
                self._seen.add(found)
            parts.append(f"{_JSON.encode(name)}: {text}")
        return f"{{{', '.join(parts)}}}"

    def _refer(self, text: str) -> str:
        found = _hash(text)
        if found not in self._written:
            self._written.add(found)
            self._new.append((found, text.encode()))
        return found


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def shared_line(name: str, value: bytes) -> bytes:
    """Return the line of what rows refer to, JSON, by its hash."""
    return seal(b'{"v": %d, "shared": "%b", "value": %b' % (VERSION, name.encode(), value))


def shared_value(line: bytes, where: str) -> Any:
    """Return what rows refer to from its line.

    Raises:
        InputError: When the line is damaged.
    """
    data = object_of(unseal(line, where) + b"}", where)
    return checked_value(data.get("value"), where)


def checked_value(value: Any, where: str) -> Any:
    """Return what rows refer to, a column or what may be their provenance.

    Raises:
        InputError: When it can be neither.
    """
    if isinstance(value, list):
        return value
    wrong = next(wrong_in_provenance(value), "") if isinstance(value, dict) else "neither"
    if wrong:
        raise InputError(f"{where}: not what rows refer to ({wrong}); {RESTORE}")
    return value


def slim(row: Row) -> Row:
    """Return a row without vectors, texts, lists and pairs."""
    return replace(row, **LEFT_OUT) if _has_detail(row) else row


def _has_detail(row: Row) -> bool:
    return bool(row.vectors or row.texts or row.lists or row.pairs)


def outlined(outline: bytes, where: str, look: Look) -> Row:
    """Return an outline as a row.

    Args:
        outline: What `Encoder.outline` gives.
        where: What it stands in, for messages.
        look: Finds what it refers to.

    Raises:
        InputError: When it refers to what is not there.
    """
    data = _DECODE(outline.decode())
    del data["v"]
    common, own = _parts(data["provenance"], look, where)
    data["provenance"] = common | own
    return Row(**data, **LEFT_OUT)


def whole(line: bytes, where: str, look: Look, *, as_written: bool = False) -> Row:
    """Return the row of a line, with all that it refers to.

    Args:
        line: The line.
        where: What it is called in messages.
        look: Finds what it refers to.
        as_written: Leave numbers the texts that they are in the line, where the row has no lists.

    Raises:
        InputError: When the line is damaged.
    """
    data = object_of(unseal(line, where) + b"}", where, as_written=as_written)
    data.pop("outline", None)
    for part in ("texts", "lists"):
        if isinstance(columns := data.get(part), dict):
            data[part] = {name: _found(column, look) for name, column in columns.items()}
    data["pairs"] = _found(data.get("pairs"), look)
    common: dict[str, Any] = {}
    if isinstance(told := data.get("provenance"), dict):
        common, data["provenance"] = _parts(told, look, where)
    return checked(data, where, common)


def _parts(
    provenance: dict[str, Any], look: Look, where: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a provenance refers to, and what it has of its own."""
    if SHARED not in provenance:
        return {}, provenance
    own = {name: part for name, part in provenance.items() if name != SHARED}
    common = look(provenance[SHARED]) if isinstance(provenance[SHARED], str) else None
    if not isinstance(common, dict):
        raise InputError(f"{where}: its provenance refers to what is none; {RESTORE}")
    return common, own


def _found(value: Any, look: Look) -> Any:
    """Return what a value refers to, itself where it is no reference."""
    if isinstance(value, dict) and value.keys() == {SHARED} and isinstance(value[SHARED], str):
        return look(value[SHARED])
    return value


def old_row(line: bytes, where: str, *, as_written: bool = False) -> Row:
    """Return the row of a line of ``records.jsonl``.

    Args:
        line: The line.
        where: What it is called in messages.
        as_written: As in `whole`.

    Raises:
        InputError: When it is none.
    """
    return checked(object_of(line, where, OLD_VERSION, as_written=as_written), where)


def object_of(
    text: bytes, where: str, version: int = VERSION, *, as_written: bool = False
) -> dict[str, Any]:
    """Return what an object of JSON holds beside its version.

    Raises:
        InputError: When it is none, or of another version.
    """
    try:
        # In lists, a text could not be told from a number that stays one.
        decoder = _AS_WRITTEN if as_written and _NO_LISTS in text else _STRICT
        data = decoder.decode(text.decode())
        if b"\\u" in text:
            # An escape can be half of a character, which nothing can be written with.
            _JSON.encode(data).encode()
    except (ValueError, RecursionError):
        raise InputError(f"{where}: not JSON; {RESTORE}") from None
    if not isinstance(data, dict) or data.pop("v", None) != version:
        raise InputError(f"{where}: expected a row of version {version}; {RESTORE}")
    return data
