"""Plots of results files: scores of heads here, the others in their modules. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib.effects import Effect, read_effects
from emolib.errors import InputError
from emolib.figures import COLOURS, grid, save
from emolib.stats import unreliable

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

    _check_score(score)
    models = [read_scores(path) for path in files]
    emotions = _emotions(models)
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
    return save(figure, out)


def top_heads(files: Sequence[Path], out: Path, *, score: str = "atp_ig", top_n: int = 10) -> Path:
    """Draw the heads with the largest scores, a panel per emotion and model, and return the file.

    Error bars are 95 % CIs. A ranking whose split-half reliability is below 0.8, or unknown, is
    marked as none.

    Args:
        files: Scores files, one a model.
        out: The PNG to write.
        score: Which score, one of `UNITS`.
        top_n: Heads a panel.

    Raises:
        InputError: When a file is missing or damaged, or the score is unknown.
    """
    _check_score(score)
    models = [read_scores(path) for path in files]
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
                panel.set_xlabel(f"{UNITS[score]}, 95 % CI", fontsize=8)
            if column == 0:
                panel.set_ylabel(emotion)
    return save(figure, out)


def draw(
    results: Path,
    out: Path | None = None,
    *,
    head_scores: Sequence[Path] = (),
    ablation_files: Sequence[Path] = (),
    patching_files: Sequence[Path] = (),
    emotion: str | None = None,
    top_n: int = 10,
    score: str = "atp_ig",
) -> list[Path]:
    """Draw all that a folder has results for, and return the files.

    Args:
        results: The results folder of a profile.
        out: Where to; ``plots/heads`` and ``plots/attention`` in `results` by default.
        head_scores: Scores files, in place of those in `results`.
        ablation_files: Files of head ablation, in place of those in `results`.
        patching_files: Files of head patching, in place of those in `results`.
        emotion: Draw the effects on this emotion alone.
        top_n: Heads in `top_heads`.
        score: Which score the heat map and `top_heads` show.

    Raises:
        InputError: When there is nothing to draw, or a file is damaged.
    """
    from emolib.attention_plots import attention_patterns
    from emolib.effect_plots import (
        ablation_sentiment_comparison,
        effect_by_layer,
        model_comparison,
        patching_keyword_comparison,
    )

    _check_score(score)

    def of(pattern: str, named: Sequence[Path]) -> list[Path]:
        return list(named) or sorted(results.glob(pattern))

    scores = of("alignment/head_scores_*.json", head_scores)
    ablation = _about(read_effects(of("patching/head_ablation/*.json", ablation_files)), emotion)
    patching = _about(read_effects(of("patching/head_patching/*.json", patching_files)), emotion)
    attention = sorted(results.glob("attention/*.json")) if not (head_scores or out) else []
    if not (scores or ablation or patching or attention):
        about = f" for {emotion!r}" if emotion else ""
        raise InputError(
            f"{results}: no results to draw{about}; run `pytest experiments` first, or name files "
            "with --head-scores, --ablation-file or --patching-file"
        )
    folder = out or results / "plots/heads"
    made = []
    if scores:
        made += [
            head_reaction_heatmap(scores, folder / "head_reaction_heatmap.png", score=score),
            top_heads(scores, folder / "top_heads.png", score=score, top_n=top_n),
        ]
    if ablation:
        made += [
            ablation_sentiment_comparison(ablation, folder / "ablation_sentiment_comparison.png"),
            effect_by_layer(ablation, folder / "effect_by_layer.png"),
            model_comparison(ablation, folder / "model_comparison.png"),
        ]
    if patching:
        name = "patching_keyword_comparison.png"
        made.append(patching_keyword_comparison(patching, folder / name))
    made += attention_patterns(attention, results / "plots/attention", emotion=emotion)
    return made


def _about(effects: list[Effect], emotion: str | None) -> list[Effect]:
    return [effect for effect in effects if emotion in (None, effect.emotion)]


def _check_score(score: str) -> None:
    if score not in UNITS:
        raise InputError(f"--score {score}: unknown; expected one of {', '.join(UNITS)}")


def _emotions(models: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(s["emotion"] for model in models for s in model["scores"]))


def _count(axis: Any, size: int) -> None:
    """Label the ticks of an axis of heads or layers so that they do not run together."""
    step = 1 if size <= 12 else 4
    axis.set_ticks(range(0, size, step), [str(i) for i in range(0, size, step)], fontsize=7)
