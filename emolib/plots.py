"""Plots of results files. Needs matplotlib, and no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib.errors import InputError

UNITS = {
    "atp_ig": "atp_ig (logits)",
    "atp_denoise": "atp_denoise (logits)",
    "atp_noise": "atp_noise (logits)",
    "dla": "dla (logits)",
    "delta_attn": "delta_attn (attention)",
    "delta_proj": "delta_proj (residual units)",
    "delta_out": "delta_out (residual units)",
}
_DIVERGING = "PuOr_r"
_CELL = 0.16


def read_scores(path: Path) -> dict[str, Any]:
    """Return the content of a scores file, ``alignment/head_scores_<model>.json``.

    Raises:
        InputError: When there is none or it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shape = content["layers"], content["heads_per_layer"]
        if not all(isinstance(size, int) for size in shape) or not content["scores"]:
            raise KeyError("layers")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; run `pytest experiments/exp_head_screening.py` first"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a scores file ({error!r}); run screening again with --fresh"
        ) from None
    found: dict[str, Any] = content
    return found


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


def head_reaction_heatmap(files: Sequence[Path], out: Path, *, score: str = "atp_ig") -> Path:
    """Draw a score of every head, a panel per emotion and model, and return the file.

    Colours diverge from 0 and mean the same in all panels of a model.

    Args:
        files: Scores files, one a model.
        out: The PNG to write.
        score: Which score, one of `UNITS`.

    Raises:
        InputError: When a file is missing or damaged, or the score is unknown.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if score not in UNITS:
        raise InputError(f"--score {score}: unknown; expected one of {', '.join(UNITS)}")
    models = [read_scores(path) for path in files]
    emotions = list(dict.fromkeys(s["emotion"] for model in models for s in model["scores"]))
    widths = [max(1.9, _CELL * model["heads_per_layer"] + 0.9) for model in models]
    height = max(1.8, _CELL * max(model["layers"] for model in models) + 0.8)
    figure = Figure((sum(widths) + 0.8, height * len(emotions) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
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
        figure.colorbar(image, ax=axes[:, column], location="bottom", label=UNITS[score])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150, metadata={"Software": None})
    return out


def _count(axis: Any, size: int) -> None:
    """Label the ticks of an axis of heads or layers so that they do not run together."""
    step = 1 if size <= 12 else 4
    axis.set_ticks(range(0, size, step), [str(i) for i in range(0, size, step)], fontsize=7)
