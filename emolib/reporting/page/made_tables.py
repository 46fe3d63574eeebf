"""What a run has tested already: q of rows, from the tables that it made of them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from emolib.results.records import Store

Known = Mapping[tuple[str, int], Mapping[str, float]]
"""By item and number of the row its columns of q."""
_Q = "_q"


def known_q(store: Store, results: Path, experiment: str) -> Known:
    """Return q of an experiment's rows, none where its table is not of the rows as they are now.

    To test the heads of a large model anew takes minutes; the numbers would be the same.
    """
    path = results / "tables" / f"{experiment}.csv"
    if not store.is_made(experiment, [path]):
        return {}
    found: dict[tuple[str, int], dict[str, float]] = {}
    numbers: Counter[str] = Counter()
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            item = line["item"]
            columns = {k: float(v) for k, v in line.items() if k and k.endswith(_Q) and v}
            found[item, numbers[item]] = columns
            numbers[item] += 1
    return found
