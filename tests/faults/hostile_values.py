"""What somebody might type, or put in a file, where a value is expected."""

from __future__ import annotations

import copy
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DIGITS = "9" * 5000

TEXTS = {
    "empty": "",
    "blanks": "  \t ",
    "newlines": "a\nb\r\nERROR: c",
    "long": "x" * 20_000,
    "long path": "x/" * 5_000,
    "many digits": DIGITS,
    "minus": "-1",
    "zero": "0",
    "one": "1",
    "plus": "+1",
    "underscored": "1_0",
    "padded": " 7 ",
    "huge": "10000000000",
    "fraction": "1.5",
    "exponent": "1e999",
    "hex": "0x10",
    "nan": "nan",
    "inf": "inf",
    "true": "True",
    "none": "None",
    "arabic digits": "\u0661\u0662",
    "superscript": "\u00b2",
    "not UTF-8": "\udcff\udcfe",
    "escape": "\x1b[31mred\x1b[0m",
    "bell": "\x07\x08",
    "bidi": "a\u202egnp\u2066x",
    "up": "../../x",
    "dots": "..",
    "dot": ".",
    "absolute": "/proc/nothing/x",
    "formula": "=cmd|' /C calc'!A0",
    "option": "-n",
    "long option": "--fresh",
    "semicolons": "a;b;c",
    "list": "a,b",
    "key": "a=b",
    "format": "%s{0}{name}%(x)s",
    "markup": "<script>x</script>",
    "head": "0:0",
    "head twice": "0:0,0:0",
    "no such head": "99:99",
    "minus head": "-1:0",
    "spaced head": " 1 : 2 ",
    "arabic head": "\u0661:\u0662",
    "top none": "top:0",
    "top minus": "top:-1",
    "random many": "random:1000000000",
    "layer text": "layer:x",
    "layer far": "layer:99",
    "shard none": "0/0",
    "shard beyond": "3/2",
    "shard": "1/1",
    "percent": "50%",
}
"""By name."""

PLACES = {
    "a folder": "things/folder",
    "a FIFO": "things/fifo",
    "zeros": "things/zeros",
    "full": "things/full",
    "null": "things/null",
    "a loop of links": "things/loop",
    "a dangling link": "things/dangling",
    "bytes": "things/bytes",
    "an empty file": "things/empty",
    "below a file": "things/empty/x",
    "a deep list": "things/deep.json",
}
"""Paths in a folder that `places` has been in, by name."""


def places(folder: Path) -> None:
    """Put things there that are not what a path is expected to lead to."""
    things = folder / "things"
    (things / "folder").mkdir(parents=True)
    os.mkfifo(things / "fifo")
    # Those of /dev themselves are not safe from whoever may do anything.
    for name, minor in {"null": 3, "zeros": 5, "full": 7}.items():
        try:
            os.mknod(things / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except PermissionError:
            (things / name).symlink_to(f"/dev/{name.removesuffix('s')}")
    (things / "loop").symlink_to("loop")
    (things / "dangling").symlink_to("nothing")
    (things / "bytes").write_bytes(b"\xff\xfe\x00{")
    (things / "empty").touch()
    (things / "deep.json").write_text("[" * 100_000)


MEMBERS = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "minus": "-1",
    "fraction": "1.5",
    "huge": "10000000000000",
    "exponent": "1e999",
    "NaN": "NaN",
    "many digits": DIGITS,
    "empty": '""',
    "blanks": '" \\t"',
    "text": '"x"',
    "controls": '"\\u0000\\u001b[31mx\\n"',
    "half a surrogate": '"\\ud800"',
    "long": json.dumps("x" * 20_000),
    "a formula": "\"=cmd|'/C calc'!A0\"",
    "a path": '"../../x"',
    "a list": "[]",
    "a list of lists": '[["x"]]',
    "an object": "{}",
    "an object of lists": '{"x": [1]}',
    "deep": "[" * 50_000 + "]" * 50_000,
}
"""What may stand in JSON where a value is expected, by name."""


def contents(good: str) -> dict[str, bytes]:
    """Return what a file may hold in place of what it should, by name."""
    raw = good.encode()
    return {
        "nothing": b"",
        "blanks": b" \n\t",
        "null": b"null",
        "a number": b"1",
        "a text": b'"x"',
        "a list": b"[]",
        "a list of texts": b'["x"]',
        "an object": b"{}",
        "cut": raw[: len(raw) // 2],
        "more behind it": raw + b"}",
        "twice": raw + raw,
        "a mark in front": b"\xef\xbb\xbf" + raw,
        "UTF-16": good.encode("utf-16"),
        "no UTF-8": raw[:-2] + b"\xff" + raw[-2:],
        "NUL in front": b"\0" + raw,
        "NUL behind it": raw + b"\0",
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"x":' * 100_000,
        "many digits": DIGITS.encode(),
        "zeros": b"\0" * 1_000_000,
        "a page": b"<!DOCTYPE html><script>x</script>",
        "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system",
    }


def members(good: Any) -> Iterator[tuple[str, str]]:
    """Yield what a document in JSON may be in place of a good one: by name its text."""
    for place in _places(good):
        where = ".".join(map(str, place))
        for name, text in MEMBERS.items():
            yield f"{where}: {name}", json.dumps(_put(good, place, _HERE)).replace(_QUOTED, text)
        if isinstance(place[-1], str):
            yield f"{where}: left out", json.dumps(_put(good, place, None))
            twice = json.dumps(_put(good, place, _HERE))
            named = json.dumps(place[-1])
            yield f"{where}: named twice", twice.replace(_QUOTED, f"1, {named}: 1")
        if isinstance(_at(good, place), dict):
            yield f"{where}: unknown key", json.dumps(_put(good, (*place, "x\n"), 1))
    if isinstance(good, dict):
        yield "unknown key", json.dumps(good | {"x\n": 1})


_HERE = "@here@"
_QUOTED = json.dumps(_HERE)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of values; of a list, and of an object of many, that of the first alone."""
    if place:
        yield place
    if isinstance(value, dict):
        for name, member in list(value.items())[: None if len(value) < 16 else 1]:
            yield from _places(member, (*place, name))
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*place, 0))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def _put(value: Any, place: tuple[Any, ...], member: Any) -> Any:
    """Return a document with another member; of None without it."""
    made = copy.deepcopy(value)
    inner = _at(made, place[:-1])
    if member is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = member
    return made


TOML = {
    "empty": "''",
    "blanks": "' '",
    "text": "'x'",
    "controls": r'"\u0000\u001b[31mx\n"',
    "long": f"'{'x' * 20_000}'",
    "a path": "'../../x'",
    "a number as text": "'1'",
    "zero": "0",
    "one": "1",
    "minus": "-1",
    "huge": "1000000000000",
    "fraction": "1.5",
    "whole fraction": "2.0",
    "nan": "nan",
    "inf": "-inf",
    "true": "true",
    "many digits": DIGITS,
    "a date": "1979-05-27",
    "a list": "[]",
    "a list of texts": "['x', 'y']",
    "twice in a list": "['x', 'x']",
    "a list of blanks": "[' ']",
    "a list of many digits": f"['{DIGITS}:0', 'top:{DIGITS}', '{DIGITS}%']",
    "a list of numbers": "[1, 2.5]",
    "a list of nan": "[nan]",
    "a list of true": "[true]",
    "a list of lists": "[['x']]",
    "a list of controls": r'["a\u0000b", "\u001b[31m", "../x"]',
    "a table": "{x = 1}",
    "a table of tables": "{x = {y = ['z']}}",
    "a table of paths": "{gratitude = {pairs = '/etc/passwd'}}",
    "deep": "[" * 50_000,
}
"""What may stand in TOML where a value is expected, by name."""
