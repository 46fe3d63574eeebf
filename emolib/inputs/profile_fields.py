"""What the fields of a profile say of themselves, and the check of a value by its field's type."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

from emolib.errors import InputError

# A field in a docstring's list, and what is said of it, which may go on in lines set further in.
_LISTED = re.compile(r"^(\w+): (.*(?:\n .*)*)", re.MULTILINE)
MOST_COUNTED = 1_000_000
"""Draws, tokens, heads beyond which a number is a mistake, where its field says no more."""
NUMBER_OR_ALL = int | Literal["all"]
Follows = Literal["value", "content", "item", "nothing"]
"""How a row follows from a field of its profile, so that it stands while that is unchanged.

``value``: by its value, which is in the key of every row. ``content``: by the files it leads to,
whose hash is. ``item``: by which items there are, each of which is in the key of its own rows.
``nothing``: no number follows from it.
"""


def said(
    follows: Follows,
    *,
    compared: int | None = None,
    least: int | None = None,
    most: int = MOST_COUNTED,
) -> dict[str, Any]:
    """Return what is to be known of a field beside its type and its default.

    Args:
        follows: How rows follow from it.
        compared: Its place among the settings without which two runs are not comparable; None of
            one that is not among them.
        least: The least that a whole number may be.
        most: The most that it may be.
    """
    return {"follows": follows, "compared": compared, "least": least, "most": most}


def following(kind: type, how: Follows) -> tuple[str, ...]:
    """Return the fields of a dataclass that rows follow from in one way, in order."""
    return tuple(f.name for f in fields(kind) if f.metadata["follows"] == how)


def compared(kind: type) -> tuple[str, ...]:
    """Return the fields without which two runs are not comparable, in the order of their places."""
    places = {f.name: f.metadata["compared"] for f in fields(kind)}
    return tuple(sorted((n for n, place in places.items() if place), key=lambda n: places[n]))


def described(kind: type) -> dict[str, str]:
    """Return what the docstring of a dataclass says of each of its fields.

    Without docstrings (``python -OO``) that is nothing.
    """
    _, _, listed = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    found: dict[str, str] = {}
    for name, said in _LISTED.findall(inspect.cleandoc(listed)):
        found[name] = " ".join(said.replace("``", "`").split())
    return found


def check_value(
    label: str, value: Any, hint: Any, least: int | None, most: int = MOST_COUNTED
) -> None:
    """Check that a value is of a field's type.

    Args:
        label: Where it was given, for messages.
        value: The value, a list as a tuple.
        hint: The type.
        least: The least that a whole number may be.
        most: The most that it may be.

    Raises:
        InputError: When it is not.
        TypeError: When no check is known for the type, which is a mistake of the profile's.
    """
    origin, members = get_origin(hint), get_args(hint)
    if origin is tuple and members[0] is float:
        _check_numbers(label, value)
        return
    if origin is tuple:
        check_names(label, value)
        if get_origin(members[0]) is Literal:
            for member in value:
                check_value(label, member, members[0], least, most)
        return
    if origin is Literal:
        fits, expected = value in members, f"one of {', '.join(members)}"
    elif hint is bool:
        fits, expected = isinstance(value, bool), "true or false"
    elif hint == str | None:
        fits = value is None or (isinstance(value, str) and bool(value.strip()))
        expected = "a text"
    elif hint is str:
        fits, expected = isinstance(value, str), "a name"
    elif hint in (int, int | None, NUMBER_OR_ALL) and least is not None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        fits = (is_whole and least <= value <= most) or (value is None and hint == int | None)
        up_to = f" to {most}" if is_whole and value > most else ""
        expected = f"a whole number from {least}{up_to}"
        if hint == NUMBER_OR_ALL:
            fits, expected = fits or value == "all", f"{expected}, or all"
    else:
        raise TypeError(f"{label}: nothing checks a field of type {hint}; add it here")
    if not fits:
        raise InputError(f"{label}: expected {expected}, got {value!r}")


def _check_numbers(label: str, values: Any) -> None:
    """Check that values are a tuple of different finite numbers.

    Raises:
        InputError: When they are not.
    """
    are = isinstance(values, tuple) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < math.inf
        for v in values
    )
    if not are or not values:
        raise InputError(f"{label}: expected a list of numbers, got {values!r}")
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{label}: {value!r} is named twice; name it once")


def check_names(label: str, values: Any) -> None:
    """Check that values are a tuple of different names.

    Raises:
        InputError: When they are not.
    """
    if not (isinstance(values, tuple) and values and all(isinstance(v, str) for v in values)):
        raise InputError(f"{label}: expected a list of names, got {values!r}")
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{label}: {value!r} is named twice; name it once")
