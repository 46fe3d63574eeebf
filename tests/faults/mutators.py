"""Files as nobody would write them: bytes changed at random, and members of another kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from hostile import HOSTILE

Place = tuple[str | int, ...]
"""Where a value stands in a tree: keys and indices from its root."""


class Raw(str):
    """What stands in JSON as it is, whether that is JSON or not."""


DEEP = Raw("[" * 100_000 + "]" * 100_000)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 0.5, -0.0, 2**31, 2**63, -(2**63) - 1, 10**30, Raw("1" * 401),
    Raw("9" * 5000), 1e300, -1e300, 5e-324, Raw("1e999"), Raw("NaN"), Raw("Infinity"),
    "", "x", "last", "../../../x", "/etc/passwd", ".", "a/b", "C:\\x", "x" * 300, *HOSTILE,
    [], [[]], [None], [1], [1.5, "a"], ["a"], [[1], ["a"]], ["last"], [{}], [0] * 1000,
    {}, {"": None}, {"a": 1}, {"shared": "x"}, {"shared": ["x"]}, {"mean": "x", "ci": None, "n": 1},
    {"mean": 1.0, "ci": [1.0], "n": 1}, {"mean": 1.0, "ci": ["a", None], "n": "a"},
    Raw("[" * 63 + "]" * 63), Raw('{"a":' * 200 + "1" + "}" * 200), DEEP,
)  # fmt: skip
"""What somebody might put in the place of any value."""


def of_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one of them, or some that follow each other, changed."""
    start = draw.randrange(len(data) + 1)
    end = min(len(data), start + draw.choice([1, 2, 8, 64, 1000]))
    part = data[start:end]
    match draw.randrange(7):
        case 0:
            return flipped(data, draw)
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:start] + draw.randbytes(draw.choice([1, 4, 16])) + data[start:]
        case 3:
            return data[:end] + part * draw.choice([1, 2, 50]) + data[end:]
        case 4:
            return data[:start]
        case 5:
            other = draw.randrange(len(data) + 1)
            return data[:start] + data[other : other + len(part)] + data[end:]
    return data[:start] + draw.choice(_TOKENS) + data[end:]


_TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", b"=",
    b"null", b"NaN", b"-1", b"1e999", b"9" * 5000, b"\\ud800", b"\\u0000", b"\xef\xbb\xbf", b"'",
    b"[" * 100_000, b'{"a":' * 50_000, b"#", b"true",
)  # fmt: skip


def flipped(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one bit the other way."""
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def places(value: Any, most: int = 3) -> Iterator[Place]:
    """Yield where values stand in a tree, its root first; of a list the first and the last ones.

    Args:
        value: The tree.
        most: Members of one list.
    """
    yield ()
    members: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
        members = members[: most - 1] + members[most - 1 :][-1:]
    for name, member in members:
        yield from ((name, *rest) for rest in places(member, most))


def at(value: Any, place: Place) -> Any:
    """Return what stands at a place of a tree."""
    for name in place:
        value = value[name]
    return value


def put(value: Any, place: Place, change: Callable[[Any], None] | None, new: Any = None) -> Any:
    """Return a tree with another value at a place.

    Args:
        value: The tree.
        place: The place.
        change: Changes the dict or list that the value stands in; None to put `new` there.
        new: The new value.
    """
    if not place:
        return new
    name, *rest = place
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rest or change is None:
        copy[name] = put(copy[name], tuple(rest), change, new)
    else:
        change(copy)
    return copy


def of_tree(value: Any, draw: random.Random) -> Any:
    """Return a tree with one of its values replaced, gone, doubled, renamed or put deeper."""
    known = list(places(value))
    place = draw.choice(known)
    here = at(value, place)
    kind = draw.randrange(10)
    if kind < 5 or not place:
        return put(value, place, None, draw.choice(VALUES))
    if kind == 5:
        return put(value, place, None, at(value, draw.choice(known)))
    if kind == 6:
        return put(value, place, None, draw.choice([[here], {"a": here}, [[here]], str(here)]))

    def change(parent: Any) -> None:
        name = place[-1]
        if isinstance(parent, list):
            if draw.random() < 0.5:
                del parent[name]
            else:
                parent.insert(name, here)
        elif kind == 7:
            del parent[name]
        elif kind == 8:
            del parent[name]
            parent[draw.choice(["x", "", f"{name}x", *HOSTILE])] = here
        else:
            parent[draw.choice(["x", "", *HOSTILE])] = here

    return put(value, place, change)


def to_json(value: Any) -> bytes:
    """Return a tree as JSON, with what is raw in it as it stands."""
    raw: list[Raw] = []
    text = json.dumps(_marked(value, raw), allow_nan=True)
    for number, part in enumerate(raw):
        text = text.replace(f'"@@raw{number}@@"', part)
    return text.encode()


def _marked(value: Any, raw: list[Raw]) -> Any:
    if isinstance(value, Raw):
        raw.append(value)
        return f"@@raw{len(raw) - 1}@@"
    if isinstance(value, dict):
        return {name: _marked(member, raw) for name, member in value.items()}
    return [_marked(member, raw) for member in value] if isinstance(value, list) else value
