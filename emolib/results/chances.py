"""Whether rows are more than chance: p, q and max-T over the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emolib.results.rows import Row
from emolib.results.selection import chosen_by_rank
from emolib.stats.significance import LEVEL, benjamini_hochberg, max_t, sign_flip

Chances = dict[tuple[str, int], tuple[float, float]]
"""p and q of rows, by item and number of the row."""


class Chance(NamedTuple):
    """What flips say of a row: alone, among the discoveries of its table, and max-T over it."""

    p: float
    q: float
    family: float


def of_rows(rows: Sequence[Row], metric: str, *, seed: int = 0) -> Chances:
    """Return p and q of one metric over the rows of one table.

    Args:
        rows: Whole rows (with vectors) of one family: an experiment, model, emotion and kind.
            Those that a rank chose on these prompts (`chosen_by_rank`) are left out: a q over the
            chosen ones would not count the others they were chosen from.
        metric: A metric recorded per prompt; rows without it are left out.
        seed: Of the flips.

    Returns:
        By (item, number of the row): (p, q), q across these rows.
    """
    known = _tested(rows, metric)
    p = np.ones(len(known))
    for indices, table, templates in _on_the_same_prompts(known, metric):
        p[indices] = sign_flip(table, templates, seed=seed)
    q = benjamini_hochberg(p)
    places = [(row.item, row.row) for row in known]
    return {place: (float(a), float(b)) for place, a, b in zip(places, p, q, strict=True)}


def chances(rows: Sequence[Row], metric: str, *, seed: int = 0) -> dict[tuple[str, int], Chance]:
    """Return what `of_rows` does, with the p of max-T over these rows beside it.

    Args:
        rows: As in `of_rows`. Rows on other prompts have flips of their own; max-T over each such
            group is then stepped up by the number of groups (Bonferroni).
        metric: As in `of_rows`.
        seed: Of the flips.
    """
    known = _tested(rows, metric)
    p, family = np.ones(len(known)), np.ones(len(known))
    groups = list(_on_the_same_prompts(known, metric))
    for indices, table, templates in groups:
        tested = max_t(table, templates, seed=seed)
        p[indices] = tested.p
        family[indices] = np.minimum(1.0, tested.family * len(groups))
    columns = zip(known, p, benjamini_hochberg(p), family, strict=True)
    return {(row.item, row.row): Chance(*map(float, found)) for row, *found in columns}


def share_significant(rows: Sequence[Row], metric: str) -> float | None:
    """Return the share of the rows of one table with q < 0.05, None where none can be tested.

    Args:
        rows: As in `of_rows`.
        metric: As in `of_rows`.
    """
    q = [q for _, q in of_rows(rows, metric).values()]
    return sum(value < LEVEL for value in q) / len(q) if q else None


def _tested(rows: Sequence[Row], metric: str) -> list[Row]:
    return [row for row in rows if metric in row.vectors and not chosen_by_rank(row)]


def _on_the_same_prompts(
    rows: Sequence[Row], metric: str
) -> Iterator[tuple[list[int], NDArray[np.float64], tuple[str, ...] | None]]:
    """Yield rows that share their flips: their indices, their table ``[n, rows]``, templates."""
    alike: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for index, row in enumerate(rows):
        alike.setdefault((len(row.vectors[metric]), _templates(row, metric)), []).append(index)
    for (_, templates), indices in alike.items():
        table = np.array([rows[index].vectors[metric] for index in indices]).T
        yield indices, table, templates or None


def _templates(row: Row, metric: str) -> tuple[str, ...]:
    templates = tuple(row.pairs.get("templates", ()))
    return templates if len(templates) == len(row.vectors[metric]) else ()
