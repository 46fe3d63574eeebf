"""Plots of screening scores: every head in a map, and the strongest heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib.errors import InputError
from emolib.reporting.panels import Panels
from emolib.reporting.plot_style import (
    COLOURS,
    DIVERGING,
    blank,
    canvas,
    drawing,
    fitting,
    ink,
    plain,
    save,
    scale,
    shrunk,
    tallest,
)
from emolib.results.selection import StudyKey
from emolib.stats.summary import unreliable

SCORES = {
    "atp_ig": "logits",
    "atp_denoise": "logits",
    "atp_noise": "logits",
    "dla": "logits",
    "delta_attn": "attention",
    "delta_proj": "residual units",
    "delta_out": "residual units",
}
"""The scores that can be drawn and their units."""
# Of a head in the map, in inches, and of a map's longer side; maps of few heads need a title.
_CELL, _SMALLEST, _LARGEST, _NARROWEST = 0.16, 1.5, 5.5, 1.0
# Beside a map stand its ticks and the emotion, above it the model.
_BESIDE, _ABOVE = 0.55, 0.45
# Heads named in a map, at most, and the share of the largest score from which they are.
_NAMED, _NOTABLE = 4, 0.1
# The score whose order screening tells the reliability of.
_RANKED = "atp_ig"
# Width and height of a name, and of a cell that has room for it, in inches.
_NAME, _ROOMY = (0.36, 0.1), 0.33


def check_score(score: str) -> None:
    """Check the name of a score.

    Raises:
        InputError: When it is none of `SCORES`.
    """
    if score not in SCORES:
        raise InputError(f"--score {score}: unknown; expected one of {', '.join(SCORES)}")


def head_table(scores: dict[str, Any], emotion: str, score: str = "atp_ig") -> NDArray[np.float64]:
    """Return one score of every head, shape ``[layers, heads]``, NaN where it was not run.

    Args:
        scores: Content of a scores file.
        emotion: The emotion.
        score: Which score.
    """
    table = np.full((scores["layers"], scores["heads_per_layer"]), np.nan)
    for entry in _entries(scores, emotion, score):
        table[entry["layer"], entry["head"]] = entry[score]
    return table


@drawing
def head_reaction_heatmap(
    models: Sequence[dict[str, Any]], out: Path, *, score: str = "atp_ig"
) -> Path:
    """Draw a score of every head, a panel per emotion and model, and return the file.

    Colours diverge from 0 and mean the same in all panels. The strongest heads are named, as far
    as their scores differ from 0 (95 % CI) and are a tenth of the largest of the panel; of a
    ranking that is none no head is.

    Args:
        models: Contents of scores files, one a model.
        out: The file to write.
        score: Which score, one of `SCORES`.

    Raises:
        InputError: When the score is unknown.
    """
    check_score(score)
    emotions = _emotions(models)
    cells = [_cell(model["layers"], model["heads_per_layer"]) for model in models]
    widths = [
        max(_NARROWEST, cell * model["heads_per_layer"]) + _BESIDE
        for cell, model in zip(cells, models, strict=True)
    ]
    high = max(cell * model["layers"] for cell, model in zip(cells, models, strict=True))
    share = min(1.0, shrunk(sum(widths)), (tallest() / len(emotions) - _ABOVE) / high)
    high *= share
    figure = canvas(sum(widths), 1)
    figure.set_size_inches(figure.get_size_inches()[0], (high + _ABOVE) * len(emotions))
    axes = figure.subplots(
        len(emotions), len(models), squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    tables = [[head_table(model, emotion, score) for model in models] for emotion in emotions]
    known = [np.abs(t[np.isfinite(t)]) for line in tables for t in line]
    limit = float(np.concatenate(known).max(initial=0.0)) or 1.0
    for line, of_emotion, emotion in zip(axes, tables, emotions, strict=True):
        for panel, table, model, cell in zip(line, of_emotion, models, cells, strict=True):
            image = panel.imshow(table, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="equal")
            panel.set_anchor("N")
            panel.set_facecolor("0.85")
            panel.spines[:].set_visible(False)
            _count(panel.xaxis, table.shape[1])
            _count(panel.yaxis, table.shape[0])
            if entries := _notable(model, emotion, score):
                _name(panel, entries, score, share * cell, limit)
        line[0].set_ylabel(f"{plain(emotion, fitting(high))}\nlayer")
    for panel, model, width in zip(axes[0], models, widths, strict=True):
        panel.set_title(plain(model["model"], fitting(width * share)))
    for panel in axes[-1]:
        panel.set_xlabel("head")
    scale(figure, image, axes, _labelled(score))
    return save(figure, out)


def _cell(layers: int, heads: int) -> float:
    """Return the size of a cell of a map, in inches."""
    longer = max(layers, heads)
    return min(max(_CELL, _SMALLEST / longer), _LARGEST / longer)


def _doubt(model: dict[str, Any], emotion: str, score: str) -> str:
    """Return why the order of heads by a score is none; of a score but |atp_ig| it is not known."""
    if score != _RANKED:
        return f"reliability is known of {_RANKED} alone"
    return unreliable(model.get("rankings", {}).get(emotion, {}).get("reliability"))


def _notable(model: dict[str, Any], emotion: str, score: str) -> list[dict[str, Any]]:
    """Return the entries of the heads that are named, the strongest first."""
    if _doubt(model, emotion, score):
        return []
    ranked = sorted(_entries(model, emotion, score), key=lambda entry: -abs(entry[score]))
    most = max((abs(entry[score]) for entry in ranked), default=0.0)
    found = []
    for entry in ranked[:_NAMED]:
        ends = entry.get(f"{score}_ci")
        if ends and ends[0] * ends[1] > 0 and abs(entry[score]) >= _NOTABLE * most:
            found.append(entry)
    return found


def _name(
    panel: Any, entries: Sequence[dict[str, Any]], score: str, cell: float, limit: float
) -> None:
    """Write the names of heads in their cells, or beside those that are too small for it."""
    # Imported here: as in `canvas`.
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    if cell >= _ROOMY:
        for entry in entries:
            panel.text(entry["head"], entry["layer"], _head(entry), ha="center", va="center",
                       fontsize="small", color=ink(entry[score], limit))  # fmt: skip
        return
    # What a name takes, in cells, and what is taken.
    across, down = _NAME[0] / cell, _NAME[1] / cell
    taken = [(entry["head"], entry["layer"], 1.0) for entry in entries]
    first, last = panel.get_xlim()
    for entry in entries:
        x, y = entry["head"], entry["layer"]
        panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec="black", lw=0.7))
        for side in (1, -1):
            middle = x + side * (0.7 + across / 2)
            inside = first <= middle - across / 2 and middle + across / 2 <= last
            free = all(
                2 * abs(middle - other) >= across + wide or abs(y - line) >= max(down, 1.0)
                for other, line, wide in taken
            )
            if inside and free:
                taken.append((middle, y, across))
                name = panel.text(middle, y, _head(entry), ha="center", va="center",
                                  fontsize="small")  # fmt: skip
                name.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
                break


def _head(entry: dict[str, Any]) -> str:
    return f"L{entry['layer']}H{entry['head']}"


@drawing
def top_heads(
    models: Sequence[dict[str, Any]], out: Path, *, score: str = "atp_ig", top_n: int = 10
) -> Path:
    """Draw the heads with the largest scores, a panel per emotion and model, and return the file.

    Error bars are 95 % CIs. A ranking whose split-half reliability is below 0.8, or unknown, is
    marked as none.

    Args:
        models: Contents of scores files, one a model.
        out: The file to write.
        score: Which score, one of `SCORES`.
        top_n: Heads a panel.

    Raises:
        InputError: When the score is unknown.
    """
    check_score(score)
    by_name: dict[str, dict[str, Any]] = {}
    for model in models:
        # Several files of one model are told apart.
        name, again = model["model"], sum(model["model"] == m["model"] for m in by_name.values())
        by_name[f"{name} ({again + 1})" if again else name] = model
    shown = min(top_n, max(model["layers"] * model["heads_per_layer"] for model in models))
    studies = [StudyKey(name, emotion) for emotion in _emotions(models) for name in by_name]
    panels = Panels(studies, (2.3, 0.15 * shown + 0.55))
    for study, panel in panels:
        model = by_name[study.model]
        entries = _entries(model, study.emotion, score)
        entries = sorted(entries, key=lambda entry: -abs(entry[score]))[:top_n]
        if not entries:
            blank(panel)
            continue
        means = [entry[score] for entry in entries]
        ends = [entry.get(f"{score}_ci") or [entry[score]] * 2 for entry in entries]
        errors = [
            [max(0.0, mean - low) for mean, (low, _) in zip(means, ends, strict=True)],
            [max(0.0, high - mean) for mean, (_, high) in zip(means, ends, strict=True)],
        ]
        names = list(map(_head, entries))
        panel.barh(range(len(names)), means, xerr=errors, color=COLOURS[0], ecolor="0.2",
                   error_kw={"lw": 0.8}, height=0.7)  # fmt: skip
        panel.axvline(0, color="0.4", lw=0.6)
        panel.set_yticks(range(len(names)), names)
        doubt = _doubt(model, study.emotion, score)
        # The strongest on top; room for a line of text below the last.
        panel.set_ylim(len(names) + (0.4 if doubt else -0.4), -0.6)
        if doubt:
            panel.text(1, 0.02, f"no ranking: {doubt}", transform=panel.transAxes, ha="right",
                       va="bottom", fontsize="small", color="#B00000")  # fmt: skip
    has_ends = any(entry.get(f"{score}_ci") for model in models for entry in model["scores"])
    panels.below(_labelled(score) + (", 95 % CI" if has_ends else ""))
    return save(panels.figure, out)


def _entries(model: dict[str, Any], emotion: str, score: str) -> list[dict[str, Any]]:
    return [
        entry
        for entry in model["scores"]
        if entry["emotion"] == emotion and entry.get(score) is not None
    ]


def _labelled(score: str) -> str:
    return f"{score} ({SCORES[score]})"


def _emotions(models: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(s["emotion"] for model in models for s in model["scores"]))


def _count(axis: Any, size: int) -> None:
    """Label the ticks of an axis of heads or layers so that they do not run together."""
    step = next(step for step in (1, 4, 8, 16, size) if size <= 12 * step or step == size)
    axis.set_ticks(range(0, size, step), [str(i) for i in range(0, size, step)])
