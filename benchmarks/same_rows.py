"""Do two versions of the code record the same numbers?

``python benchmarks/same_rows.py OLD NEW`` compares the stores of two results folders, item by item:
values, vectors and texts. It prints the largest difference of each metric and fails where one is
above the tolerance, or where an item is in one store alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from emolib.results.records import Store

TOLERANCE = 1e-6
"""Largest difference that is float rounding, relative to the larger value where that is above 1."""

_READ = ("values", "vectors", "texts", "lists")
Rows = dict[tuple[str, int], dict[str, Any]]


def read(folder: Path) -> Rows:
    """Return the last row of each item and number in a store."""
    store = Store(folder)
    rows = (row for key in store for row in store[key])
    return {(row.item, row.row): {name: getattr(row, name) for name in _READ} for row in rows}


def numbers(row: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield the numbers of a row by name: values, their summaries, and what is per prompt."""
    for name, value in row["values"].items():
        if isinstance(value, dict):
            for part, inner in value.items():
                for i, number in enumerate(inner if isinstance(inner, list) else [inner]):
                    if number is None or isinstance(number, (int, float)):
                        yield f"{name}.{part}[{i}]", number
        else:
            yield name, value
    for name, vector in row["vectors"].items():
        yield from ((f"{name}[{i}]", number) for i, number in enumerate(vector))
    for name, lists in row["lists"].items():
        for i, entries in enumerate(lists):
            yield from (
                (f"{name}[{i}][{j}]", entry)
                for j, entry in enumerate(entries)
                if not isinstance(entry, str)
            )


def apart(old: float | None, new: float | None) -> float:
    """Return how far two numbers are apart, relative where they are large."""
    if old is None or new is None:
        return 0.0 if old == new else float("inf")
    return abs(old - new) / max(1.0, abs(old), abs(new))


def main() -> int:
    """Compare two folders and print what is apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    options = parser.parse_args()
    old, new = read(options.old), read(options.new)
    worst: dict[str, tuple[float, str]] = {}
    texts = compared = 0
    for place in old.keys() & new.keys():
        before, after = dict(numbers(old[place])), dict(numbers(new[place]))
        for name in before.keys() | after.keys():
            size = apart(before.get(name), after.get(name))
            metric = name.partition("[")[0].partition(".")[0]
            compared += 1
            if size > worst.get(metric, (-1.0, ""))[0]:
                worst[metric] = size, f"{place[0]} {name}"
        for name, lines in old[place]["texts"].items():
            pairs = zip(lines, new[place]["texts"].get(name, []), strict=False)
            texts += sum(a != b for a, b in pairs)
    table = sorted(((size, name, where) for name, (size, where) in worst.items()), reverse=True)
    print(tabulate([(n, f"{s:.2g}", w) for s, n, w in table], ("metric", "apart", "where")))
    alone = sorted(old.keys() ^ new.keys())
    print(
        f"{len(old.keys() & new.keys())} rows, {compared} numbers; {texts} texts differ; ", end=""
    )
    print(f"{len(alone)} rows in one store alone" + (f", as {alone[0][0]}" if alone else ""))
    bad = alone or texts or any(size > options.tolerance for size, *_ in table)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
