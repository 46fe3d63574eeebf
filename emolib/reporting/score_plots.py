"""Plots of screening scores: every head in a map, and the strongest heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib.errors import InputError
from emolib.reporting.plot_style import COLOURS, canvas, grid, save
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
_DIVERGING = "PuOr_r"
# Size of a head in the map, in inches.
_CELL = 0.16


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
    for entry in scores["scores"]:
        if entry["emotion"] == emotion and entry.get(score) is not None:
            table[entry["layer"], entry["head"]] = entry[score]
    return table


def head_reaction_heatmap(
    models: Sequence[dict[str, Any]], out: Path, *, score: str = "atp_ig"
) -> Path:
    """Draw a score of every head, a panel per emotion and model, and return the file.

    Colours diverge from 0 and mean the same in all panels of a model.

    Args:
        models: Contents of scores files, one a model.
        out: The PNG to write.
        score: Which score, one of `SCORES`.

    Raises:
        InputError: When the score is unknown.
    """
    check_score(score)
    emotions = _emotions(models)
    widths = [max(1.9, _CELL * model["heads_per_layer"] + 0.9) for model in models]
    height = max(1.8, _CELL * max(model["layers"] for model in models) + 0.8)
    figure = canvas(sum(widths) + 0.8, height * len(emotions) + 0.5)
    axes = figure.subplots(
        len(emotions), len(models), squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    for column, model in enumerate(models):
        tables = [head_table(model, emotion, score) for emotion in emotions]
        limit = max((np.nanmax(np.abs(t)) for t in tables if not np.isnan(t).all()), default=0)
        limit = float(limit) or 1.0
        for row, (emotion, table) in enumerate(zip(emotions, tables, strict=True)):
            panel = axes[row, column]
            image = panel.imshow(table, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect="equal")
            panel.set_facecolor("0.85")
            _count(panel.xaxis, table.shape[1])
            _count(panel.yaxis, table.shape[0])
            if row == 0:
                panel.set_title(model["model"], fontsize=10)
            if row == len(emotions) - 1:
                panel.set_xlabel("head")
            if column == 0:
                panel.set_ylabel(f"{emotion}\nlayer")
        figure.colorbar(image, ax=axes[:, column], location="bottom", label=_labelled(score))
    return save(figure, out)


def top_heads(
    models: Sequence[dict[str, Any]], out: Path, *, score: str = "atp_ig", top_n: int = 10
) -> Path:
    """Draw the heads with the largest scores, a panel per emotion and model, and return the file.

    Error bars are 95 % CIs. A ranking whose split-half reliability is below 0.8, or unknown, is
    marked as none.

    Args:
        models: Contents of scores files, one a model.
        out: The PNG to write.
        score: Which score, one of `SCORES`.
        top_n: Heads a panel.

    Raises:
        InputError: When the score is unknown.
    """
    check_score(score)
    emotions = _emotions(models)
    shown = min(top_n, max(model["layers"] * model["heads_per_layer"] for model in models))
    figure, axes = grid(len(emotions), len(models), (2.5, 0.16 * shown + 0.7))
    for column, model in enumerate(models):
        for row, emotion in enumerate(emotions):
            panel = axes[row, column]
            entries = [
                entry
                for entry in model["scores"]
                if entry["emotion"] == emotion and entry.get(score) is not None
            ]
            entries = sorted(entries, key=lambda entry: -abs(entry[score]))[:top_n]
            means = [entry[score] for entry in entries]
            ends = [entry.get(f"{score}_ci") or [entry[score]] * 2 for entry in entries]
            errors = [
                [max(0.0, mean - low) for mean, (low, _) in zip(means, ends, strict=True)],
                [max(0.0, high - mean) for mean, (_, high) in zip(means, ends, strict=True)],
            ]
            names = [f"L{entry['layer']}H{entry['head']}" for entry in entries]
            panel.barh(range(len(names)), means, xerr=errors, color=COLOURS[0], ecolor="0.2",
                       error_kw={"lw": 0.8}, height=0.7)  # fmt: skip
            panel.axvline(0, color="0.4", lw=0.6)
            panel.set_yticks(range(len(names)), names, fontsize=6)
            panel.invert_yaxis()
            panel.tick_params(axis="x", labelsize=7)
            reliability = model.get("rankings", {}).get(emotion, {}).get("reliability")
            if doubt := unreliable(reliability):
                panel.set_title(f"no ranking: {doubt}", fontsize=6, loc="right", color="#B00000")
            if row == 0:
                panel.set_title(model["model"], fontsize=10)
            if row == len(emotions) - 1:
                panel.set_xlabel(f"{_labelled(score)}, 95 % CI", fontsize=8)
            if column == 0:
                panel.set_ylabel(emotion)
    return save(figure, out)


def _labelled(score: str) -> str:
    return f"{score} ({SCORES[score]})"


def _emotions(models: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(s["emotion"] for model in models for s in model["scores"]))


def _count(axis: Any, size: int) -> None:
    """Label the ticks of an axis of heads or layers so that they do not run together."""
    step = 1 if size <= 12 else 4
    axis.set_ticks(range(0, size, step), [str(i) for i in range(0, size, step)], fontsize=7)
