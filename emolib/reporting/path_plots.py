"""Plots of paths between heads: the matrix of senders and receivers, and a graph by layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib.inputs.heads import parse_head
from emolib.reporting.plot_style import COLOURS, grid, save, tenths
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, studies

_LOGITS = "logits"
_DIVERGING = "PuOr_r"
_WIDEST = 4.0
# Paths of less than this share of the strongest are left out of the graph.
_SHOWN = 0.02


def path_heatmap(rows: Sequence[Row], out: Path) -> Path:
    """Draw what of each sender goes to each receiver by all of its inputs, and to the logits.

    A panel per emotion and model; the last column is the sender's total effect. Colours diverge
    from 0, and mean the same in all panels of a model.

    Args:
        rows: Rows of paths.
        out: The PNG to write.
    """
    found, models, emotions = _panels(rows)
    most = max(len(_heads(members)) for members in found.values())
    figure, axes = grid(len(emotions), len(models), (0.42 * (most + 2) + 1.0, 0.3 * most + 0.9))
    for column, model in enumerate(models):
        of_model = [members for study, members in found.items() if study.model == model]
        sizes = [abs(v) for members in of_model for v in np.ravel(_table(members)[0])]
        limit = max((size for size in sizes if np.isfinite(size)), default=0.0)
        image = None
        for row, emotion in enumerate(emotions):
            panel = axes[row, column]
            if members := found.get(StudyKey(model, emotion)):
                image = _map(panel, members, limit or 1.0)
            else:
                panel.set_axis_off()
            if row == 0:
                panel.set_title(model, fontsize=10)
            if column == 0:
                panel.set_ylabel(f"{emotion}\nsender", fontsize=8)
        label = "effect on logit_diff (logits)"
        figure.colorbar(image, ax=axes[:, column], location="bottom", label=label)
    return save(figure, out)


def _map(panel: Any, rows: Sequence[Row], limit: float) -> Any:
    table, heads, ends = _table(rows)
    image = panel.imshow(table, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    panel.set_facecolor("0.85")
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value):
            dark = abs(value) > 0.6 * limit
            panel.text(j, i, tenths(value), ha="center", va="center", fontsize=6,
                       color="white" if dark else "black")  # fmt: skip
    panel.set_xticks(range(len(ends)), ends, fontsize=6, rotation=90)
    panel.set_yticks(range(len(heads)), heads, fontsize=6)
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


def path_graph(rows: Sequence[Row], out: Path) -> Path:
    """Draw heads by layer and the paths between them and to the logits, as wide as they are strong.

    A panel per emotion and model; widths are relative to the strongest path of a panel, blue
    raises ``logit_diff`` and orange lowers it.

    Args:
        rows: Rows of paths.
        out: The PNG to write.
    """
    found, models, emotions = _panels(rows)
    figure, axes = grid(len(emotions), len(models), (2.6, 2.4))
    for row, emotion in enumerate(emotions):
        for column, model in enumerate(models):
            panel = axes[row, column]
            if members := found.get(StudyKey(model, emotion)):
                _graph(panel, members)
            panel.set_xticks([])
            for side in ("top", "right", "bottom"):
                panel.spines[side].set_visible(False)
            if row == 0:
                panel.set_title(model, fontsize=10)
            if column == 0:
                panel.set_ylabel(f"{emotion}\nlayer", fontsize=8)
    figure.supxlabel("blue raises logit_diff, orange lowers it; as wide as strong", fontsize=7)
    return save(figure, out)


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
        panel.text(x, y, name, ha="center", va="center", fontsize=6, bbox=box, zorder=2)
    layers = sorted({y for name, (_, y) in places.items() if name != _LOGITS})
    panel.set_yticks(layers, [str(int(layer)) for layer in layers], fontsize=6)
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


def _panels(rows: Sequence[Row]) -> tuple[dict[StudyKey, list[Row]], list[str], list[str]]:
    """Return rows by study, and the models and the emotions there are."""
    found = studies(rows)
    return found, list(dict.fromkeys(s.model for s in found)), sorted({s.emotion for s in found})
