"""Rows without what their reader leaves alone, so that those of a large model fit in memory."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from emolib.results.rows import Row, mean_of


def abridged(
    rows: Iterable[Row],
    vectors: Collection[str] = (),
    summaries: Collection[str] | None = None,
) -> Iterator[Row]:
    """Yield rows without their texts and lists, and with no more than some of their vectors.

    What rows that follow each other have alike in provenance and pairs is kept once.

    Args:
        rows: Whole rows.
        vectors: Metrics whose values per prompt are kept, in the metric's unit.
        summaries: Metrics whose summary is kept; of all others the mean alone. None keeps all.
    """
    provenance: dict[str, Any] = {}
    pairs: dict[str, list[str]] = {}
    for row in rows:
        if row.provenance != provenance:
            provenance = _like(row.provenance, provenance)
        pairs = pairs if row.pairs == pairs else row.pairs
        yield replace(
            row,
            provenance=provenance,
            pairs=pairs,
            values={
                sys.intern(name): _summary(value)
                if summaries is None or name in summaries
                else mean_of(value)
                for name, value in row.values.items()
            },
            # Eight bytes a number; of a list every number is an object.
            vectors={
                name: array("d", row.vectors[name]) for name in vectors if name in row.vectors
            },
            texts={},
            lists={},
        )


def _like(told: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    return {
        sys.intern(name): last[name] if name in last and last[name] == value else value
        for name, value in told.items()
    }


def _summary(value: Any) -> Any:
    # Each line of the store is parsed by itself, with names of its own.
    return {sys.intern(k): v for k, v in value.items()} if isinstance(value, dict) else value
