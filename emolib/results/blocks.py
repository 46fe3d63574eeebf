"""Rows as blocks of lines: what one row gives to a table, column by column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from emolib.results.item_files import prompt_columns
from emolib.results.rows import Row

More = Mapping[tuple[str, int], Mapping[str, float | None]]
"""Columns of rows, by item and number of the row."""


class Block(NamedTuple):
    """Lines that one row gives to a table.

    Attributes:
        length: How many.
        constants: Values that all of them have.
        columns: Values line by line, each of length `length`; one of the name of a constant takes
            its place.
        numbers: Which columns hold numbers throughout.
    """

    length: int
    constants: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]
    numbers: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """Names of all columns, in order."""
        return list({**self.constants, **self.columns})

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of one column, line by line."""
        return self.columns[name] if name in self.columns else [self.constants[name]] * self.length


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


def by_record(rows: Iterable[Row], more: More | None = None) -> Iterator[Block]:
    """Yield a block of one line a row, outline or whole: what it ran on, and every metric.

    Args:
        rows: The rows.
        more: Columns behind these, by (item, number of the row).
    """
    for row in rows:
        yield Block(1, flat(row) | dict((more or {}).get((row.item, row.row), {})), {})


def by_prompt(rows: Iterable[Row], **constants: str) -> Iterator[Block]:
    """Yield a block of a line a prompt per row: what it ran on, its vectors, texts and lists.

    A list is written as JSON, which every format holds and every tool reads.

    Args:
        rows: Whole rows, with vectors and texts.
        constants: Columns before all others.
    """
    for row in rows:
        columns = prompt_columns(row)
        if not columns:
            continue
        count = len(next(iter(columns.values())))
        named = {"item": row.item} | row.dims | row.labels | {"record": row.row}
        numbers = columns.keys() & row.vectors.keys() - row.lists.keys()
        columns |= {n: list(map(_json, columns[n])) for n in columns.keys() & row.lists.keys()}
        yield Block(
            count,
            constants | named,
            {"prompt_index": _numbered(count)} | columns,
            frozenset(numbers | {"prompt_index"} - columns.keys()),
        )


@cache
def _numbered(count: int) -> Sequence[int]:
    return range(count)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
