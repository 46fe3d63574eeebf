"""Records as flat lines: what tables and exports write."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any

from emolib.errors import InputError
from emolib.results.item_files import per_prompt
from emolib.results.rows import Row

Lines = list[dict[str, Any]]
"""Lines of a table, each a value by the name of its column."""


def flat(row: Row) -> dict[str, Any]:
    """Return what a row ran on and its metrics as columns, vectors as mean, CI, n and d_z."""
    line: dict[str, Any] = {"item": row.item} | row.dims | row.labels
    for name, value in row.values.items():
        if isinstance(value, dict):
            low, high = row.interval(name) or (None, None)
            line |= {name: value["mean"], f"{name}_ci_low": low, f"{name}_ci_high": high}
            line |= {f"{name}_n": value["n"], f"{name}_d_z": value["d_z"]}
        else:
            line[name] = value
    return line


def by_prompt(rows: Sequence[Row]) -> Lines:
    """Return a line per row and prompt: what the row ran on, and its vectors, texts and lists.

    A list is written as JSON, which every format holds and every tool reads.

    Args:
        rows: Whole rows, with vectors and texts.
    """
    return [
        {"item": row.item}
        | row.dims
        | row.labels
        | {"record": row.row, "prompt_index": i}
        | {name: _plain(value) for name, value in values.items()}
        for row in rows
        for i, values in enumerate(per_prompt(row))
    ]


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def needed(package: str, what: str) -> Any:
    """Return a package of the extra ``export``.

    Args:
        package: Its name.
        what: What needs it, for the message.

    Raises:
        InputError: When it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{what} needs {error.name}; install emolib's extra: pip install 'emolib[export]'"
        ) from None
