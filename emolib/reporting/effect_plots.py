"""Plots of effects: ablation, patching, layers, models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emolib.reporting.plot_style import COLOURS, grid, save, short
from emolib.results.effects import Effect, names, strongest
from emolib.stats.significance import benjamini_hochberg, sign_flip

KINDS = {"zero": COLOURS[0], "mean": COLOURS[1], "resample": COLOURS[2]}
_SHOWN = 5


def ablation_sentiment_comparison(
    effects: Sequence[Effect], out: Path, *, shown: int = _SHOWN
) -> Path:
    """Draw how far ablating the strongest heads moves sentiment, kinds side by side.

    A panel per emotion and model; bars are means over prompts, error bars 95 % CIs.

    Args:
        effects: Effects of ablation.
        out: The PNG to write.
        shown: Heads a panel, those with the largest effect on ``logit_diff``.
    """

    def bars(effect: Effect) -> tuple[str, str] | None:
        return (effect.kind, "sentiment") if "sentiment" in effect.values else None

    label = "Δ sentiment (VADER compound, −1…1), 95 % CI"
    return _bars(effects, out, bars, {k: {"color": c} for k, c in KINDS.items()}, label, shown)


def patching_keyword_comparison(effects: Sequence[Effect], out: Path, *, shown: int = 3) -> Path:
    """Draw how far patching the strongest heads moves the rates of every emotion's words.

    A panel per emotion and model; bars are means over pairs, error bars 95 % CIs; the colour is
    the lexicon, denoise is solid and noise hatched.

    Args:
        effects: Effects of patching; those that made text count.
        out: The PNG to write.
        shown: Heads a panel, those with the largest effect on ``logit_diff``.
    """
    prefix = "keyword_rate_"
    told = [effect for effect in effects if any(name.startswith(prefix) for name in effect.values)]
    lexicons = list(
        dict.fromkeys(
            name.removeprefix(prefix)
            for effect in told
            for name in effect.values
            if name.startswith(prefix)
        )
    )
    styles: dict[str, dict[str, Any]] = {}
    for direction, hatch in (("denoise", ""), ("noise", "////")):
        for lexicon, colour in zip(lexicons, COLOURS, strict=False):
            styles[f"{direction}, {lexicon} words"] = {"color": colour, "hatch": hatch}
    spread = [
        (effect, f"{effect.kind}, {lexicon} words", prefix + lexicon)
        for effect in told
        for lexicon in lexicons
    ]
    label = "Δ words per 100 words, 95 % CI"
    return _grouped(told, spread, out, styles, label, shown)


def _bars(
    effects: Sequence[Effect], out: Path, of: Any, styles: dict[str, Any], label: str, shown: int
) -> Path:
    spread = [(effect, *found) for effect in effects if (found := of(effect))]
    return _grouped(effects, spread, out, styles, label, shown)


def _grouped(
    effects: Sequence[Effect],
    spread: Sequence[tuple[Effect, str, str]],
    out: Path,
    styles: dict[str, dict[str, Any]],
    label: str,
    shown: int,
) -> Path:
    """Draw groups of bars, a group a head.

    Args:
        effects: What ranks the heads.
        spread: Per bar its effect, its place in `styles` and its metric.
        out: The PNG to write.
        styles: What the bars of a group look like, in order.
        label: Of the axis.
        shown: Heads a panel.
    """
    models, emotions = names(effects, "model"), names(effects, "emotion")
    used = [name for name in styles if any(style == name for _, style, _ in spread)]
    width = 0.8 / max(1, len(used))
    size = (max(2.4, 0.16 * shown * len(used) + 1.0), 1.9)
    figure, axes = grid(len(emotions), len(models), size, legend=len(used))
    for row, emotion in enumerate(emotions):
        for column, model in enumerate(models):
            panel = axes[row, column]
            here = [e for e in effects if (e.model, e.emotion) == (model, emotion)]
            heads = strongest(here, "logit_diff", shown)
            for effect, style, metric in spread:
                mean = effect.mean(metric)
                if effect not in here or effect.heads not in heads or mean is None:
                    continue
                x = heads.index(effect.heads) + (used.index(style) - (len(used) - 1) / 2) * width
                low, high = effect.interval(metric) or (mean, mean)
                error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
                panel.bar(x, mean, width, yerr=error, ecolor="0.2", error_kw={"lw": 0.8},
                          edgecolor="white", lw=0.3, **styles[style])  # fmt: skip
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


def effect_by_layer(effects: Sequence[Effect], out: Path) -> Path:
    """Draw the mean absolute effect of a layer's heads on ``logit_diff``, a line a kind.

    Joint sets are left out: they belong to no one layer.
    """
    single = [effect for effect in effects if effect.layer is not None]
    models, emotions = names(single, "model"), names(single, "emotion")
    figure, axes = grid(len(emotions), len(models), (2.4, 1.7), legend=len(KINDS))
    for row, emotion in enumerate(emotions):
        for column, model in enumerate(models):
            panel = axes[row, column]
            here = [e for e in single if (e.model, e.emotion) == (model, emotion)]
            for number, (kind, colour) in enumerate(KINDS.items()):
                layers: dict[int, list[float]] = {}
                for effect in here:
                    if effect.kind == kind and effect.layer is not None:
                        layers.setdefault(effect.layer, []).append(
                            abs(effect.mean("logit_diff") or 0.0)
                        )
                places = sorted(layers)
                panel.plot(
                    places,
                    [float(np.mean(layers[layer])) for layer in places],
                    color=colour,
                    marker="os^"[number],
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


def model_comparison(effects: Sequence[Effect], out: Path, *, kind: str = "zero") -> Path:
    """Draw models side by side: where their heads' effects lie in depth, and how many there are.

    On the left every head, its relative depth (0 the first layer, 1 the last) against its
    effect on ``logit_diff``; on the right the share of heads with q < 0.05 (sign flips over
    templates, Benjamini–Hochberg over the heads of a model and emotion).
    """
    single = [e for e in effects if e.layer is not None and e.kind == kind]
    models, emotions = names(single, "model"), names(single, "emotion")
    figure, axes = grid(1, 2, (4.2, 3.0), legend=len(models) + len(emotions))
    left, right = axes[0]
    markers = "os^Dvp"
    for number, model in enumerate(models):
        colour = COLOURS[number % len(COLOURS)]
        last = max(e.layer or 0 for e in single if e.model == model) or 1
        for row, emotion in enumerate(emotions):
            here = [e for e in single if (e.model, e.emotion) == (model, emotion)]
            if not here:
                continue
            left.scatter(
                [(e.layer or 0) / last + 0.012 * (number - (len(models) - 1) / 2) for e in here],
                [e.mean("logit_diff") for e in here],
                color=colour, marker=markers[row % 6], s=16, alpha=0.75, lw=0,
            )  # fmt: skip
            width = 0.8 / len(models)
            x = row + (number - (len(models) - 1) / 2) * width
            right.bar(x, share_significant(here), width, color=colour, edgecolor="white")
        left.scatter([], [], color=colour, marker="s", s=16, label=model)
    for row, emotion in enumerate(emotions):
        left.scatter([], [], color="0.4", marker=markers[row % 6], s=16, label=emotion)
    left.axhline(0, color="0.4", lw=0.6)
    left.set_xlabel("relative depth of the head's layer")
    left.set_ylabel(f"Δ logit_diff under {kind} ablation (logits)")
    right.set_xticks(range(len(emotions)), emotions)
    right.set_ylabel("share of heads with q < 0.05")
    right.set_ylim(0, 1)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return save(figure, out)


def share_significant(effects: Sequence[Effect], metric: str = "logit_diff") -> float:
    """Return the share of effects with q < 0.05 among those given."""
    known = [effect for effect in effects if metric in effect.vectors]
    if not known:
        return 0.0
    p = [float(sign_flip(e.vectors[metric], e.templates or None)[0]) for e in known]
    return float((benjamini_hochberg(p) < 0.05).mean())
