"""Rows by what they are about: the studies, the tables within them, their strongest rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from emolib.inputs.profiles import Ablation
from emolib.results.chances import chosen_by_rank
from emolib.results.records import Row

Chances = dict[tuple[str, int], tuple[float, float]]
"""p and q of rows, by item and number of the row."""
_KINDS = ("ablation", "direction", "position")
_WHAT = ("heads", "units")
Study = tuple[str, str]
Kind = tuple[str, str, str]


def subject(row: Row) -> str:
    """Return what a row is about: heads or units, else the parts of its item."""
    found = next((row.dims[name] for name in _WHAT if name in row.dims), None)
    others = [v for k, v in row.dims.items() if k not in ("model", "emotion", *_KINDS)]
    return found or ", ".join(others) or row.item.rpartition("::")[2]


def studies(rows: Iterable[Row]) -> dict[Study, list[Row]]:
    """Return rows by model and emotion, empty where an item has none."""
    found: dict[Study, list[Row]] = {}
    for row in rows:
        key = row.dims.get("model", ""), row.dims.get("emotion", "")
        found.setdefault(key, []).append(row)
    return dict(sorted(found.items()))


def kinds(rows: Iterable[Row]) -> dict[Kind, list[Row]]:
    """Return rows of one study by kind of ablation, direction and position, zero first.

    Heads that a rank (``top1``) and a name stand for alike are one row, the named one: counted
    twice they would be two tests of one effect.
    """
    found: dict[Kind, dict[tuple[str, int], Row]] = {}
    for row in sorted(rows, key=chosen_by_rank):
        named = row.dims | row.labels
        key = (named.get("ablation", ""), named.get("direction", ""), named.get("position", ""))
        found.setdefault(key, {}).setdefault((subject(row), row.row), row)
    known = get_args(Ablation)
    order = sorted(found, key=lambda key: known.index(key[0]) if key[0] in known else len(known))
    return {key: list(found[key].values()) for key in order}


def is_joint(row: Row) -> bool:
    """Tell whether a row is of several heads or units edited together."""
    return "+" in subject(row)


def mean(row: Row, metric: str) -> float | None:
    """Return a metric of a row as one number, None where it has none."""
    value = row.values.get(metric)
    return value["mean"] if isinstance(value, dict) else value


def strongest(rows: Iterable[Row], metric: str, count: int | None = None) -> list[Row]:
    """Return the rows with the largest absolute mean of a metric, all of them by default."""
    order = sorted(rows, key=lambda row: (-abs(mean(row, metric) or 0.0), row.item, row.row))
    return order[:count]


def clean_gap(rows: Sequence[Row]) -> float | None:
    """Return a study's clean gap ``M_emo − M_neu``, logits, or None where it is not known.

    Args:
        rows: Rows of patching, whose ``recovery`` is their mean ``logit_diff`` over the gap. The
            largest one tells the gap with the least rounding.
    """
    known = [
        (abs(recovery), effect / recovery)
        for row in rows
        if (recovery := mean(row, "recovery")) and (effect := mean(row, "logit_diff")) is not None
    ]
    return max(known)[1] if known else None
