"""Plots of paths between heads: the matrix of senders and receivers, and a graph by layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib.inputs.heads import parse_head
from emolib.reporting.panels import Panels
from emolib.reporting.plot_style import (
    COLOURS,
    DIVERGING,
    blank,
    drawing,
    ink,
    save,
    scale,
    tenths,
)
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, studies

_LOGITS = "logits"
_WIDEST = 4.0
# Paths of less than this share of the strongest are left out of the graph.
_SHOWN = 0.02


@drawing
def path_heatmap(rows: Sequence[Row], out: Path) -> Path:
    """Draw what of each sender goes to each receiver by all of its inputs, and to the logits.

    A panel per emotion and model; the last column is the sender's total effect. Colours diverge
    from 0, and mean the same in all panels.

    Args:
        rows: Rows of paths.
        out: The file to write.
    """
    found = studies(rows)
    most = max(len(_heads(members)) for members in found.values())
    tables = [abs(value) for members in found.values() for value in np.ravel(_table(members)[0])]
    limit = max((size for size in tables if np.isfinite(size)), default=0.0) or 1.0
    panels = Panels(_ordered(found), (0.33 * (most + 2) + 0.5, 0.2 * most + 0.7))
    for study, panel in panels:
        if study in found:
            image = _map(panel, found[study], limit)
        else:
            blank(panel)
    panels.figure.supylabel("sender")
    scale(panels.figure, image, panels.axes, "effect on logit_diff (logits)")
    return save(panels.figure, out)


def _map(panel: Any, rows: Sequence[Row], limit: float) -> Any:
    table, heads, ends = _table(rows)
    image = panel.imshow(table, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    panel.set_facecolor("0.85")
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value):
            panel.text(j, i, tenths(value), ha="center", va="center", fontsize="small",
                       color=ink(value, limit))  # fmt: skip
    panel.spines[:].set_visible(False)
    panel.set_xticks(range(len(ends)), ends, rotation=50, ha="right", va="top",
                     rotation_mode="anchor")  # fmt: skip
    panel.set_yticks(range(len(heads)), heads)
    return image


def _table(rows: Sequence[Row]) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Return effects by sender and receiver, NaN where there is no path, and the names of both.

    The logits and the total come last.
    """
    effects, heads = _effects(rows), _heads(rows)
    totals = {(row.labels["sender"], "total"): row.mean("total") for row in rows}
    known = effects | {key: total for key, total in totals.items() if total is not None}
    reached = {end for _, end in known}
    ends = [end for end in (*heads, _LOGITS, "total") if end in reached]
    table = [[known.get((sender, end), np.nan) for end in ends] for sender in heads]
    return np.array(table), heads, ends


@drawing
def path_graph(rows: Sequence[Row], out: Path) -> Path:
    """Draw heads by layer and the paths between them and to the logits, as wide as they are strong.

    A panel per emotion and model; widths are relative to the strongest path of a panel, blue
    raises ``logit_diff`` and orange lowers it.

    Args:
        rows: Rows of paths.
        out: The file to write.
    """
    found = studies(rows)
    panels = Panels(_ordered(found), (2.3, 2.0))
    for study, panel in panels:
        if study in found:
            _graph(panel, found[study])
            panel.set_xticks([])
            panel.spines["bottom"].set_visible(False)
        else:
            blank(panel)
    panels.figure.supylabel("layer")
    panels.figure.supxlabel("blue raises logit_diff, orange lowers it; as wide as strong")
    return save(panels.figure, out)


def _graph(panel: Any, rows: Sequence[Row]) -> None:
    places, effects = _places(_heads(rows)), _effects(rows)
    most = max(map(abs, effects.values()), default=0.0)
    for (sender, end), value in effects.items():
        if not most or abs(value) < _SHOWN * most:
            continue
        colour = COLOURS[0] if value > 0 else COLOURS[1]
        arrow = {"arrowstyle": "-", "color": colour, "lw": _WIDEST * abs(value) / most,
                 "alpha": 0.7, "connectionstyle": "arc3,rad=0.15"}  # fmt: skip
        panel.annotate("", places[end], places[sender], arrowprops=arrow, zorder=1)
    for name, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": "0.3", "lw": 0.7}
        panel.text(x, y, name, ha="center", va="center", fontsize="small", bbox=box, zorder=2)
    layers = sorted({y for name, (_, y) in places.items() if name != _LOGITS})
    panel.set_yticks(layers, [str(int(layer)) for layer in layers])
    panel.set_xlim(-0.6, 0.6)
    panel.set_ylim(layers[0] - 0.6, places[_LOGITS][1] + 0.6)


def _places(heads: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return where nodes stand: across by their turn in the layer, up by layer, logits on top."""
    by_layer: dict[int, list[str]] = {}
    for name in heads:
        by_layer.setdefault(parse_head(name).layer, []).append(name)
    places = {_LOGITS: (0.0, float(max(by_layer) + 1))}
    for layer, names in by_layer.items():
        for turn, name in enumerate(names):
            places[name] = ((turn + 1) / (len(names) + 1) - 0.5, float(layer))
    return places


def _effects(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """Return mean effects by all inputs, by sender and receiver."""
    return {
        (row.labels["sender"], row.labels["receiver"]): effect
        for row in rows
        if row.labels["input"] == "all" and (effect := row.mean("effect")) is not None
    }


def _heads(rows: Sequence[Row]) -> list[str]:
    """Return the heads of rows in order of layers, each once."""
    return sorted(dict.fromkeys(row.labels["sender"] for row in rows), key=parse_head)


def _ordered(found: Iterable[StudyKey]) -> list[StudyKey]:
    """Return studies so that models come as they do and emotions in order of their names."""
    return sorted(found, key=lambda study: study.emotion)
