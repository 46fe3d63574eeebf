"""Files that users give and that runs have left, read within bounds: text, JSON, TOML.

Whatever the bytes are, what comes back is what the file says, or one `InputError` that names it.
What is read here is then checked against what is expected of it where that is known.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from emolib.errors import InputError

MOST = 1 << 28
"""Bytes of the largest file that is read whole (256 MiB)."""
DEEPEST = 64
"""Levels that lists and objects may be nested."""
LONGEST_NUMBER = 400
"""Characters that a number may have: more than any float or count takes."""

# A text as JSON and TOML have it; one that does not end goes to the end of its line.
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"?')
_BRACKETS = re.compile(r"[\[\]{}]")


class _RefusedError(ValueError):
    """What a file holds that no file of the project's may."""


@contextmanager
def opened(path: Path, expected: str) -> Iterator[tuple[IO[bytes], int]]:
    """Give a regular file to read, and its size in bytes.

    Args:
        path: The file.
        expected: What is expected in it, and what to do where it is not, for messages.

    Raises:
        InputError: When it is not there, no regular file or cannot be read.
    """
    try:
        # A FIFO would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {expected}") from None
    except OSError as error:
        why = "it is a loop of links" if error.errno == errno.ELOOP else error.strerror
        raise InputError(f"{shown(path)}: cannot be read ({why}); {expected}") from None
    except ValueError:
        raise InputError(f"{shown(path)}: no name that a file can have; {expected}") from None
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path}: is a folder; {expected}")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: is no regular file; {expected}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file, found.st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {expected}") from None
    finally:
        os.close(descriptor)


def read_bytes(path: Path, expected: str, *, most: int = MOST) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        expected: As in `opened`.
        most: Bytes that it may have.

    Raises:
        InputError: When it is not there, no regular file, too large or cannot be read.
    """
    with opened(path, expected) as (file, size):
        if size > most:
            raise InputError(
                f"{path}: {size / 1e6:.0f} MB, more than the {most / 1e6:.0f} MB that are read; "
                f"{expected}"
            )
        return file.read(most)


def shown(path: Path) -> str:
    """Return a path as a message can hold it: on one line, cut where it is too long for one."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(path))
    return text if len(text) <= 200 else f"{text[:200]}…"


def refused(error: OSError) -> str:
    """Return in one line what the system refused: a name too long, a loop of links, a lost disk."""
    where = f"{shown(Path(str(error.filename)))}: " if error.filename else ""
    return f"{where}{error.strerror}; name another place"


def read_text(path: Path, expected: str, *, most: int = MOST) -> str:
    """Return a text file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: As `read_bytes`, and when it is not UTF-8.
    """
    content = read_bytes(path, expected, most=most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); {expected}") from None


def read_json(path: Path, expected: str, *, nan: bool = False, most: int = MOST) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        expected: As in `read_bytes`.
        nan: Whether numbers that are none may stand in it.
        most: As in `read_bytes`.

    Raises:
        InputError: As `read_text`, and when it is not JSON, names something twice in one object, is
            nested deeper than `DEEPEST`, or has numbers or texts that nothing can be made of.
    """
    text = read_text(path, expected, most=most)
    try:
        return parse_json(text, nan=nan)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not JSON (line {error.lineno}, column {error.colno}: {error.msg}); {expected}"
        ) from None
    except _RefusedError as error:
        raise InputError(f"{path}: {error}; {expected}") from None


def parse_json(text: str, *, nan: bool = False) -> Any:
    """Return what a text in JSON says.

    Raises:
        json.JSONDecodeError: When it is not JSON.
        ValueError: When it holds what `read_json` refuses.
    """

    def constant(name: str) -> float:
        if not nan:
            raise _RefusedError(f"{name} is no number")
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[name]

    _check_depth(text)
    value = json.loads(
        text,
        parse_int=_number(int),
        parse_float=_number(float),
        parse_constant=constant,
        object_pairs_hook=_once,
    )
    # Only an escape can be half of a pair.
    if "\\u" in text:
        _check_texts(value)
    return value


def read_toml(path: Path, expected: str) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        InputError: As `read_text`, and when it is not TOML or nested deeper than `DEEPEST`.
    """
    text = read_text(path, expected, most=1 << 24)
    try:
        _check_depth(text)
        return tomllib.loads(text)
    except _RefusedError as error:
        raise InputError(f"{path}: {error}; {expected}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML ({_first_line(error)}); {expected}") from None


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def made(digits: str) -> Any:
        if len(digits) > LONGEST_NUMBER:
            raise _RefusedError(f"a number of {len(digits)} digits ({digits[:12]}…)")
        value = kind(digits)
        if isinstance(value, float) and math.isinf(value):
            raise _RefusedError(f"{digits} is too large for a number")
        return value

    return made


def _once(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise _RefusedError(f"{name[:80]!r} is named twice; name it once")
        found[name] = value
    return found


def _check_depth(text: str) -> None:
    """Refuse brackets nested too deep for a parser, which would end in its own error."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_QUOTED.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise _RefusedError(f"lists or objects nested more than {DEEPEST} deep")


def _check_texts(value: Any) -> None:
    left = [value]
    while left:
        member = left.pop()
        if isinstance(member, str):
            if not member.isascii() and any("\ud800" <= c <= "\udfff" for c in member):
                raise _RefusedError("a text with half a surrogate pair, which is no character")
        elif isinstance(member, list):
            left.extend(member)
        elif isinstance(member, dict):
            left.extend(member)
            left.extend(member.values())


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
