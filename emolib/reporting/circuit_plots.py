"""Plots of circuits: how much sets of heads keep, by how many they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.reporting.experiments import ORDERS
from emolib.reporting.panels import Panels
from emolib.reporting.plot_style import COLOURS, blank, drawing, legend, save
from emolib.results.rows import Row
from emolib.results.selection import studies
from emolib.stats.summary import ENOUGH

_COLOURS = dict(zip(ORDERS, (COLOURS[0], "0.5", COLOURS[2]), strict=True))
# On the axis; names of sizes that are closer cannot be read.
_APART = 0.4


@drawing
def faithfulness_curves(rows: Sequence[Row], out: Path) -> Path:
    """Draw F over the number of heads, a panel per emotion and model, and return the file.

    The ranking has its 95 % intervals, random heads the range of their draws; the broken line is
    the F from which heads are a circuit, the ring the circuit itself on held-out templates.

    Args:
        rows: Rows of ``head_circuit``.
        out: The file to write.
    """
    by_study = studies(rows)
    panels = Panels(by_study, (2.3, 1.7))
    keys: dict[str, Any] = {}
    for study, panel in panels:
        members = by_study.get(study, [])
        if not members:
            blank(panel)
            continue
        for order in ORDERS:
            _curve(panel, order, [m for m in members if m.labels.get("order") == order])
        for member in members:
            if member.labels.get("order") == "circuit" and member.mean("held_out") is not None:
                panel.plot(_place(member), member.mean("held_out"), "o", color=COLOURS[4],
                           mfc="none", ms=7, label="circuit, held out")  # fmt: skip
        panel.axhline(ENOUGH, color="0.4", lw=0.6, ls="--")
        panel.axhline(0, color="0.4", lw=0.6)
        _ticks(panel, members)
        handles, labels = panel.get_legend_handles_labels()
        keys |= dict(zip(labels, handles, strict=True))
    panels.below("heads")
    legend(panels.figure, keys.values(), list(keys))
    panels.figure.supylabel("F: share of the emotion that is left")
    return save(panels.figure, out)


def _curve(panel: Any, order: str, rows: Sequence[Row]) -> None:
    """Draw one curve with its band, where its F is known."""
    known = sorted((row for row in rows if row.mean("faithfulness") is not None), key=_place)
    if not known:
        return
    places, colour = [_place(row) for row in known], _COLOURS[order]
    heights = [row.mean("faithfulness") for row in known]
    panel.plot(places, heights, color=colour, marker="o", ms=2.5, lw=1, label=order)
    ends = ("draws_low", "draws_high") if order == "random" else (
        "faithfulness_ci_low", "faithfulness_ci_high"
    )  # fmt: skip
    low, high = ([row.mean(name) for row in known] for name in ends)
    if None not in (*low, *high):
        panel.fill_between(places, low, high, color=colour, alpha=0.2, lw=0)


def _place(row: Row) -> float:
    """Return where a number of heads stands: few are apart, many close."""
    return math.log2(1 + max(0.0, row.mean("k") or 0.0))


def _ticks(panel: Any, rows: Sequence[Row]) -> None:
    """Name the sizes of the ranking's sets, as far as their names do not run together."""
    sizes = sorted((row for row in rows if row.labels.get("order") == "ranking"), key=_place)
    names: list[str] = []
    last = math.inf
    # From the right: of all heads the number matters most.
    for row in reversed(sizes):
        apart = last - _place(row) >= _APART
        names.insert(0, f"{row.mean('k'):g}" if apart else "")
        last = _place(row) if apart else last
    panel.set_xticks([_place(row) for row in sizes], names)
