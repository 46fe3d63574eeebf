"""Whether rows are more than chance: p, q and max-T over the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emolib.results.abridged import abridged
from emolib.results.rows import Row
from emolib.results.selection import chosen_by_rank, is_named, kinds, studies
from emolib.stats.significance import LEVEL, Tested, benjamini_hochberg, max_t, sign_flip
from emolib.stats.summary import studentized

Chances = dict[tuple[str, int], tuple[float, float]]
"""p and q of rows, by item and number of the row."""
# Tables, findings and reports of a run ask the same; flips take longer than all else of them.
_ASKED: dict[bytes, Tested] = {}
_ASKED_MOST = 1_000


class Chance(NamedTuple):
    """What flips say of a row: alone, among the discoveries of its table, and max-T over it.

    Attributes:
        p: Alone.
        q: Among the discoveries.
        family: max-T.
        hall: max-T by Hall's t, which counts skewness in.
    """

    p: float
    q: float
    family: float
    hall: float


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
    p, family, hall = (np.ones(len(known)) for _ in range(3))
    groups = list(_on_the_same_prompts(known, metric))
    for indices, table, templates in groups:
        here = _max_t(table, templates, seed)
        p[indices] = here.p
        family[indices] = np.minimum(1.0, here.family * len(groups))
        hall[indices] = np.minimum(1.0, here.hall * len(groups))
    tested = zip(known, p, benjamini_hochberg(p), family, hall, strict=True)
    return {(row.item, row.row): Chance(*map(float, found)) for row, *found in tested}


def columns(rows: Iterable[Row]) -> dict[tuple[str, int], dict[str, float | None]]:
    """Return what tables have of one experiment's rows beside their summaries.

    It is of the first metric with a value per prompt, under its name: ``_p``, ``_q``, ``_max_t``
    and ``_max_t_hall`` over the rows of the same study and kind, and the ends of the symmetric
    bootstrap-t interval, ``_ci_t_low`` and ``_ci_t_high``. The interval alone has a row that is of
    no heads or units that were named: what ranks chose is not to be tested on the same prompts.

    Args:
        rows: Whole rows, seen one by one; of each the vector of that metric is kept.

    Returns:
        By (item, number of the row) the columns; an interval's ends are None where there is none.
    """
    rows = iter(rows)
    first = next((row for row in rows if row.vectors), None)
    if first is None:
        return {}
    metric = next(iter(first.vectors))
    held = [row for row in abridged(chain([first], rows), (metric,), ()) if row.vectors]
    found: dict[tuple[str, int], dict[str, float | None]] = {}
    for members in studies(filter(is_named, held)).values():
        for alike in kinds(members).values():
            for place, chance in chances(alike, metric).items():
                named = zip(("p", "q", "max_t", "max_t_hall"), chance, strict=True)
                found[place] = {f"{metric}_{name}": value for name, value in named}
    for row in held:
        low, high = studentized(row.vectors[metric], _templates(row, metric) or None) or (
            None,
            None,
        )
        ends = {f"{metric}_ci_t_low": low, f"{metric}_ci_t_high": high}
        found[row.item, row.row] = found.get((row.item, row.row), {}) | ends
    return found


def share_significant(rows: Sequence[Row], metric: str) -> float | None:
    """Return the share of the rows of one table with q < 0.05, None where none can be tested.

    Args:
        rows: As in `of_rows`.
        metric: As in `of_rows`.
    """
    q = [q for _, q in of_rows(rows, metric).values()]
    return sum(value < LEVEL for value in q) / len(q) if q else None


def _max_t(table: NDArray[np.float64], templates: tuple[str, ...] | None, seed: int) -> Tested:
    """Return what max-T says of a table, worked out once."""
    told = repr((table.shape, templates, seed)).encode()
    key = sha256(told + np.ascontiguousarray(table).tobytes()).digest()
    if key not in _ASKED:
        if len(_ASKED) >= _ASKED_MOST:
            _ASKED.clear()
        _ASKED[key] = max_t(table, templates, seed=seed)
    return _ASKED[key]


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
