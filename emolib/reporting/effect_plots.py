"""Plots of effects on heads: ablation, patching, layers, models side by side.

Rows come from a store or from results files (`emolib.results.item_files.read_effects`) alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emolib.reporting.plot_style import COLOURS, grid, save, short
from emolib.results.chances import share_significant
from emolib.results.rows import Row, group
from emolib.results.selection import (
    ABLATIONS,
    DIRECTIONS,
    StudyKey,
    kind_of,
    layer_of,
    strongest_subjects,
    study_of,
    subject,
)

_KIND_COLOURS = dict(zip(ABLATIONS, COLOURS, strict=False))
_HATCHES = dict(zip(DIRECTIONS, ("", "////"), strict=True))
_SHOWN = 5
COMPARED = "zero"
"""The kind of ablation by which models are compared."""
_KEYWORDS = "keyword_rate_"


class _Bar(NamedTuple):
    """A bar of a group: a metric of a row, and its place in the legend."""

    row: Row
    style: str
    metric: str


def ablation_sentiment_comparison(rows: Sequence[Row], out: Path, *, shown: int = _SHOWN) -> Path:
    """Draw how far ablating the strongest heads moves sentiment, kinds side by side.

    A panel per emotion and model; bars are means over prompts, error bars 95 % CIs.

    Args:
        rows: Rows of ablation.
        out: The PNG to write.
        shown: Heads a panel, those with the largest effect on ``logit_diff``.
    """
    bars = [_Bar(row, kind_of(row).name, "sentiment") for row in rows if "sentiment" in row.values]
    styles = {kind: {"color": colour} for kind, colour in _KIND_COLOURS.items()}
    return _grouped(rows, bars, out, styles, "Δ sentiment (VADER compound, −1…1), 95 % CI", shown)


def patching_keyword_comparison(rows: Sequence[Row], out: Path, *, shown: int = 3) -> Path:
    """Draw how far patching the strongest heads moves the rates of every emotion's words.

    A panel per emotion and model; bars are means over pairs, error bars 95 % CIs; the colour is
    the lexicon, denoise is solid and noise hatched.

    Args:
        rows: Rows of patching; those that made text count.
        out: The PNG to write.
        shown: Heads a panel, those with the largest effect on ``logit_diff``.
    """
    lexicons = list(
        dict.fromkeys(
            name.removeprefix(_KEYWORDS)
            for row in rows
            for name in row.values
            if name.startswith(_KEYWORDS)
        )
    )
    told = [row for row in rows if is_drawn(row)]
    styles: dict[str, dict[str, Any]] = {}
    for direction, hatch in _HATCHES.items():
        for lexicon, colour in zip(lexicons, COLOURS, strict=False):
            styles[f"{direction}, {lexicon} words"] = {"color": colour, "hatch": hatch}
    bars = [
        _Bar(row, f"{kind_of(row).name}, {lexicon} words", _KEYWORDS + lexicon)
        for row in told
        for lexicon in lexicons
    ]
    return _grouped(told, bars, out, styles, "Δ words per 100 words, 95 % CI", shown)


def effect_by_layer(rows: Sequence[Row], out: Path) -> Path:
    """Draw the mean absolute effect of a layer's heads on ``logit_diff``, a line a kind.

    Joint sets are left out: they belong to no one layer.
    """
    single = [row for row in rows if layer_of(row) is not None]
    models, emotions = _names(single)
    known = {kind_of(row).name for row in single}
    kinds = [kind for kind in ABLATIONS if kind in known]
    figure, axes = grid(len(emotions), len(models), (2.4, 1.7), legend=len(kinds))
    sizes: dict[tuple[StudyKey, str], dict[int, list[float]]] = {}
    for member in single:
        layers = sizes.setdefault((study_of(member), kind_of(member).name), {})
        size = abs(member.mean("logit_diff") or 0.0)
        layers.setdefault(layer_of(member) or 0, []).append(size)
    for row, emotion in enumerate(emotions):
        for column, model in enumerate(models):
            panel = axes[row, column]
            for kind in kinds:
                layers = sizes.get((StudyKey(model, emotion), kind), {})
                places = sorted(layers)
                panel.plot(
                    places,
                    [float(np.mean(layers[layer])) for layer in places],
                    color=_KIND_COLOURS[kind],
                    marker="os^D"[ABLATIONS.index(kind)],
                    ms=3,
                    lw=1,
                    label=kind,
                )
            panel.set_ylim(bottom=0)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.tick_params(labelsize=7)
            if row == 0:
                panel.set_title(model, fontsize=10)
            if row == len(emotions) - 1:
                panel.set_xlabel("layer")
            if column == 0:
                panel.set_ylabel(emotion)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.supylabel("mean |Δ logit_diff| of a layer's heads (logits)", fontsize=9)
    return save(figure, out)


def is_drawn(row: Row) -> bool:
    """Tell whether a row of ablation or patching is in any of these plots."""
    patched = kind_of(row).name in DIRECTIONS
    return not patched or any(name.startswith(_KEYWORDS) for name in row.values)


def model_comparison(rows: Sequence[Row], out: Path, *, kind: str = COMPARED) -> Path:
    """Draw models side by side: where their heads' effects lie in depth, and how many there are.

    On the left every head, its relative depth (0 the first layer, 1 the last) against its
    effect on ``logit_diff``; on the right the share of heads with q < 0.05 (sign flips over
    templates, Benjamini–Hochberg over the heads of a model and emotion).
    """
    single = [row for row in rows if layer_of(row) is not None and kind_of(row).name == kind]
    models, emotions = _names(single)
    by_study = group(single, study_of)
    figure, axes = grid(1, 2, (4.2, 3.0), legend=len(models) + len(emotions))
    left, right = axes[0]
    markers = "os^Dvp"
    for number, model in enumerate(models):
        colour = COLOURS[number % len(COLOURS)]
        shift = 0.012 * (number - (len(models) - 1) / 2)
        last = max(layer_of(row) or 0 for row in single if study_of(row).model == model) or 1
        for place, emotion in enumerate(emotions):
            here = by_study.get(StudyKey(model, emotion))
            if not here:
                continue
            left.scatter(
                [(layer_of(row) or 0) / last + shift for row in here],
                [row.mean("logit_diff") for row in here],
                color=colour, marker=markers[place % 6], s=16, alpha=0.75, lw=0,
            )  # fmt: skip
            width = 0.8 / len(models)
            x = place + (number - (len(models) - 1) / 2) * width
            share = share_significant(here, "logit_diff") or 0.0
            right.bar(x, share, width, color=colour, edgecolor="white")
        left.scatter([], [], color=colour, marker="s", s=16, label=model)
    for place, emotion in enumerate(emotions):
        left.scatter([], [], color="0.4", marker=markers[place % 6], s=16, label=emotion)
    left.axhline(0, color="0.4", lw=0.6)
    left.set_xlabel("relative depth of the head's layer")
    left.set_ylabel(f"Δ logit_diff under {kind} ablation (logits)")
    right.set_xticks(range(len(emotions)), emotions)
    right.set_ylabel("share of heads with q < 0.05")
    right.set_ylim(0, 1)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return save(figure, out)


def _grouped(
    rows: Sequence[Row],
    bars: Sequence[_Bar],
    out: Path,
    styles: dict[str, dict[str, Any]],
    label: str,
    shown: int,
) -> Path:
    """Draw groups of bars, a group a head.

    Args:
        rows: What ranks the heads.
        bars: The bars, in the order in which they are drawn.
        out: The PNG to write.
        styles: What the bars of a group look like, in order.
        label: Of the axis.
        shown: Heads a panel.
    """
    models, emotions = _names(rows)
    used = [name for name in styles if name in {bar.style for bar in bars}]
    place = {name: index - (len(used) - 1) / 2 for index, name in enumerate(used)}
    width = 0.8 / max(1, len(used))
    size = (max(2.4, 0.16 * shown * len(used) + 1.0), 1.9)
    figure, axes = grid(len(emotions), len(models), size, legend=len(used))
    ranked, drawn = group(rows, study_of), group(bars, lambda bar: study_of(bar.row))
    for row, emotion in enumerate(emotions):
        for column, model in enumerate(models):
            panel, study = axes[row, column], StudyKey(model, emotion)
            heads = strongest_subjects(ranked.get(study, ()), "logit_diff", shown)
            at = {name: index for index, name in enumerate(heads)}
            for bar in drawn.get(study, ()):
                mean = bar.row.mean(bar.metric)
                if subject(bar.row) not in at or bar.style not in place or mean is None:
                    continue
                x = at[subject(bar.row)] + place[bar.style] * width
                low, high = bar.row.interval(bar.metric) or (mean, mean)
                error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
                panel.bar(x, mean, width, yerr=error, ecolor="0.2", error_kw={"lw": 0.8},
                          edgecolor="white", lw=0.3, **styles[bar.style])  # fmt: skip
            panel.axhline(0, color="0.4", lw=0.6)
            panel.set_xticks(range(len(heads)), [short(name) for name in heads], fontsize=7)
            panel.tick_params(axis="y", labelsize=7)
            if row == 0:
                panel.set_title(model, fontsize=10)
            if column == 0:
                panel.set_ylabel(emotion)
    handles = [axes[0, 0].bar(0, 0, label=name, **styles[name]) for name in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(used)), fontsize=8,
                  frameon=False)  # fmt: skip
    figure.supylabel(label, fontsize=9)
    return save(figure, out)


def _names(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Return the models and the emotions of rows, each once, as they come."""
    keys = [study_of(row) for row in rows]
    models = dict.fromkeys(key.model for key in keys)
    return list(models), list(dict.fromkeys(key.emotion for key in keys))
