"""What rows stand on, and in what those of several places differ: they do not belong in a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emolib.inputs.profiles import SETTINGS
from emolib.results.rows import Row

_MODEL = ("weights", "config", "tokenizer")
_SHORT = 40
"""Characters of a value that are shown."""
_Owners = dict[str, None]


def stands_on(row: Row) -> dict[str, str]:
    """Return by name what a row follows from, its item aside, as people are told of it."""
    told = row.provenance
    found: dict[str, Any] = {name: told[name] for name in (*SETTINGS, "text_draws") if name in told}
    found |= told.get("versions", {})
    found["commit"] = told.get("commit")
    if model := row.dims.get("model"):
        found |= {f"{model}, {part}": told.get("model", {}).get(part) for part in _MODEL}
    if emotion := row.dims.get("emotion"):
        found[f"{emotion}, prompts"] = told.get("prompts")
    return {name: str(value) for name, value in found.items() if value is not None}


def differences(rows: Mapping[str, Iterable[Row]]) -> list[str]:
    """Return a line for all in which rows of one experiment differ that are to stand in one table.

    Args:
        rows: By the name of their place, rows that can stand in one table there.
    """
    found: dict[tuple[str, str], dict[str, _Owners]] = {}
    contexts: dict[tuple[str, ...], dict[str, _Owners]] = {}
    for place, members in rows.items():
        seen: set[tuple[str, ...]] = set()
        for row in members:
            family = row.experiment, row.dims.get("model", ""), row.dims.get("emotion", "")
            # Rows are many, and of one family and context all stand on the same.
            which = (*family, row.context, str(row.provenance.get("commit")))
            if which in seen:
                continue
            seen.add(which)
            contexts.setdefault(family, {}).setdefault(row.context, {})[place] = None
            for name, value in stands_on(row).items():
                found.setdefault((row.experiment, name), {}).setdefault(value, {})[place] = None
    lines = {_line(name, values): None for (_, name), values in found.items() if len(values) > 1}
    if not lines:
        # Code and lexicons are in a context by their hash alone.
        lines = {
            _line(f"code of {family[0]}, or what it reads", _numbered(by_context)): None
            for family, by_context in contexts.items()
            if len(by_context) > 1
        }
    return list(lines)


def _line(name: str, values: Mapping[str, _Owners]) -> str:
    parts = (
        f"{value[:_SHORT]}{'…' * (len(value) > _SHORT)} in {', '.join(owners)}"
        for value, owners in values.items()
    )
    return f"{name}: {'; '.join(parts)}"


def _numbered(values: Mapping[str, _Owners]) -> dict[str, _Owners]:
    return {f"version {n}": owners for n, owners in enumerate(values.values(), 1)}
