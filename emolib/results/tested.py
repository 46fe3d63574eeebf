"""What chances say of an experiment's rows, taken from the table of its run where that will do.

Flips and resamples of a large table take minutes; the run that wrote ``tables/<experiment>.csv``
has done them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from emolib.results.blocks import flat
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.selection import chosen_by_rank, is_named

TABLES = "tables"
"""The folder of tables in a results folder."""
FLIPPED = ("_p", "_q", "_max_t", "_max_t_hall")
"""What is behind the name of a metric that was tested, in order; see `emolib.results.chances`."""
ENDS = ("_ci_t_low", "_ci_t_high")
"""What is behind the name of a metric whose interval was made a second way, in order."""
_SUMMARY = ("", "_ci_low", "_ci_high", "_n", "_d_z")
Tested = dict[tuple[str, int], Mapping[str, float | None]]
"""Columns of rows, by item and number of the row."""


def tested(store: Store, experiment: str, *, run: str | None = None) -> Tested:
    """Return what `emolib.results.chances.columns` says of an experiment's rows.

    Args:
        store: The store.
        experiment: The experiment.
        run: As in `emolib.results.records.Store.rows`.
    """
    found = by_the_run(store, experiment, run=run)
    if found is not None:
        return found
    # Imported here: it loads numpy, which a table that is there spares.
    from emolib.results.chances import columns

    return dict(columns(store.whole_rows(experiment, run=run)))


def by_the_run(store: Store, experiment: str, *, run: str | None = None) -> Tested | None:
    """Return what the run's own table says of an experiment's rows.

    None where there is none, it is of other rows, or it lacks what `tested` would compute.

    Args:
        store: The store.
        experiment: The experiment.
        run: As in `emolib.results.records.Store.rows`.
    """
    path = store.folder / TABLES / f"{experiment}.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            rows = store.rows(experiment, run=run)
            return _Table(header).read(lines, rows) if _is_tested(header) else None
    except (OSError, ValueError, csv.Error):
        # Whatever is wrong with it, what it says can be had without it.
        return None


def _is_tested(header: Sequence[str]) -> bool:
    return any(name.endswith(ENDS[1]) for name in header)


class _Table:
    """What a table has on the tests of its first metric with a value per prompt."""

    def __init__(self, header: Sequence[str]) -> None:
        place = {name: index for index, name in enumerate(header)}
        ends = next(name for name in header if name.endswith(ENDS[1]))
        self._metric = ends.removesuffix(ENDS[1])
        self._flipped = self._named(FLIPPED)
        self._names = [name for name in (*self._flipped, *self._named(ENDS)) if name in place]
        self._is_flipped = place.keys() >= set(self._flipped)
        self._places = [(name, place[name]) for name in self._names]
        self._summary = [place.get(name, -1) for name in ("item", *self._named(_SUMMARY))]

    def _named(self, ends: Sequence[str]) -> list[str]:
        return [f"{self._metric}{end}" for end in ends]

    def read(self, lines: Iterable[Sequence[str]], rows: Iterable[Row]) -> Tested | None:
        """Return the columns of rows, None where the lines are not theirs."""
        if -1 in self._summary or len(self._names) not in (len(ENDS), len(FLIPPED) + len(ENDS)):
            return None
        found: Tested = {}
        for line, row in zip_longest(lines, rows):
            if line is None or row is None or not self._is_of(line, row):
                return None
            if isinstance(row.values.get(self._metric), dict):
                if not self._is_flipped and is_named(row) and not chosen_by_rank(row):
                    return None
                found[row.item, row.row] = {
                    name: float(line[place]) if line[place] else None
                    for name, place in self._places
                    if line[place] or name not in self._flipped
                }
        return found

    def _is_of(self, line: Sequence[str], row: Row) -> bool:
        """Tell whether a line is of a row, by its name and the summary of the metric."""
        said = flat(row)
        known = ["" if (value := said.get(name)) is None else str(value)
                 for name in ("item", *self._named(_SUMMARY))]  # fmt: skip
        return known == [line[place] for place in self._summary]
