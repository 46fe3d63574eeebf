"""Plot of MLP units: what ablating them does, beside random units of the same layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from emolib.reporting.panels import Bar, bar_of, grouped
from emolib.reporting.plot_style import COLOURS, drawing, plain, short
from emolib.results.rows import Row, group
from emolib.results.selection import ABLATIONS, kind_of, strongest_subjects, study_of, subject

_OF_UNITS, _OF_RANDOM = ("logit_diff", "top_effect"), ("logit_diff_random", "random_effect")
_NAMES = ("the units", "random units of their layers, about as active")


def is_confirmation(row: Row) -> bool:
    """Tell whether a row is of units that were chosen on other templates."""
    return {"top_effect", "random_effect"} <= row.values.keys()


@drawing
def unit_effects(rows: Sequence[Row], out: Path, *, shown: int = 4) -> Path:
    """Draw what ablating units does to ``logit_diff``, beside random units.

    A panel per emotion and model; bars are means over prompts, error bars 95 % CIs. Groups are the
    units that were ablated by name or rank, and the top units of half of the templates on the
    other half, by kind of ablation.

    Args:
        rows: Rows of ``unit_ablation`` and ``unit_confirmation``.
        out: The file to write.
        shown: Units by name or rank a panel, those with the largest effects.
    """
    bars = [bar for row in rows for bar in _bars(row)]
    groups = {study: _groups(members, shown) for study, members in group(rows, study_of).items()}
    styles = {
        name: {"color": colour} for name, colour in zip(_NAMES, (COLOURS[0], "0.65"), strict=True)
    }
    label = "Δ logit_diff (logits), 95 % CI"
    return grouped(bars, groups, out, styles, label, named=_below)


def _below(name: str) -> str:
    """Return a group as it stands below its bars."""
    units, _, kind = name.rpartition("\n")
    return f"{short(units)}\n{plain(kind)}"


def _bars(row: Row) -> Iterator[Bar]:
    confirmed = is_confirmation(row)
    for metrics, name in zip((_OF_UNITS, _OF_RANDOM), _NAMES, strict=True):
        yield from bar_of(row, _group(row), name, metrics[confirmed])


def _groups(rows: Sequence[Row], shown: int) -> list[str]:
    """Return the groups of a panel: units by name or rank first, held-out ones after them."""
    order = {kind: place for place, kind in enumerate(ABLATIONS)}
    rows = sorted(rows, key=lambda row: order.get(_kind(row), len(order)))
    named = [row for row in rows if not is_confirmation(row)]
    top = strongest_subjects(named, "logit_diff", shown)
    told = [_group(row) for row in named if subject(row) in top]
    return list(dict.fromkeys(told + [_group(row) for row in rows if is_confirmation(row)]))


def _group(row: Row) -> str:
    """Return the name of a row's group: which units, and how they are ablated."""
    which = "held out" if is_confirmation(row) else row.labels.get("spec") or subject(row)
    return f"{which}\n{_kind(row)}"


def _kind(row: Row) -> str:
    return row.labels.get("kind", "") if is_confirmation(row) else kind_of(row).name
