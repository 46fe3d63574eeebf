"""Parquet written in groups of lines, under a schema that a first pass over the lines gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from emolib.files import written
from emolib.results.blocks import Block
from emolib.results.frames import needed

# Lines held in memory until they are written together.
_LINES = 1 << 14


def write_parquet(blocks: Callable[[], Iterator[Block]], path: Path) -> bool:
    """Write lines as a table with a column for every name in any of them, a group at a time.

    A column is text where any of its values is, else double where any is a float or missing, else
    int64. Numbers in a column of texts are written as texts.

    Args:
        blocks: Gives the lines, the same ones at both calls.
        path: The file, written whole or not at all.

    Returns:
        Whether there were any lines; without any nothing is written.

    Raises:
        InputError: When pyarrow is not installed or the file cannot be written.
    """
    pa, pq = (needed(name, "--format parquet") for name in ("pyarrow", "pyarrow.parquet"))
    kinds = _kinds(blocks())
    if not kinds:
        return False
    types = {
        "text": pa.string(), "mixed": pa.string(), "double": pa.float64(), "int": pa.int64(),
        "none": pa.null(),
    }  # fmt: skip
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    with written(path) as file, pq.ParquetWriter(file, schema) as writer:
        for columns in _groups(blocks(), kinds):
            arrays = [pa.array(values, schema.field(n).type) for n, values in columns.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return True


def _kinds(blocks: Iterable[Block]) -> dict[str, str]:
    """Return of each column what its values are."""
    found: dict[str, set[type]] = {}
    counts: dict[str, int] = {}
    total = 0
    for block in blocks:
        total += block.length
        for name in block.names:
            found.setdefault(name, set()).update(map(type, block.column(name)))
            counts[name] = counts.get(name, 0) + block.length
    return {
        name: _kind(types | ({type(None)} if counts[name] < total else set()))
        for name, types in found.items()
    }


def _kind(types: set[type]) -> str:
    if str in types:
        return "text" if types <= {str, type(None)} else "mixed"
    if types == {type(None)}:
        return "none"
    return "int" if types == {int} else "double"


def _groups(blocks: Iterable[Block], kinds: dict[str, str]) -> Iterator[dict[str, list[Any]]]:
    columns: dict[str, list[Any]] = {name: [] for name in kinds}
    count = 0
    for block in blocks:
        names = set(block.names)
        for name, values in columns.items():
            new = block.column(name) if name in names else [None] * block.length
            values.extend(map(_text, new) if kinds[name] == "mixed" else new)
        count += block.length
        if count >= _LINES:
            yield columns
            columns, count = {name: [] for name in kinds}, 0
    if count:
        yield columns


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
