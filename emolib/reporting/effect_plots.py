"""Plots of effects on heads: ablation, patching, layers, models side by side.

Rows come from a store or from results files (`emolib.results.item_files.read_effects`) alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emolib.reporting.panels import Panels, bar_of, grouped, that_move
from emolib.reporting.plot_style import COLOURS, drawing, fitting, grid, legend, plain, save
from emolib.results.chances import of_rows
from emolib.results.rows import Row, group
from emolib.results.selection import (
    ABLATIONS,
    DIRECTIONS,
    StudyKey,
    depth_of,
    kind_of,
    layer_of,
    strongest_subjects,
    study_of,
    subject,
)
from emolib.stats.significance import LEVEL
from emolib.stats.summary import summarize

_KIND_COLOURS = dict(zip(ABLATIONS, COLOURS, strict=False))
_HATCHES = dict(zip(DIRECTIONS, ("", "////"), strict=True))
_MARKERS = "os^Dvp"
COMPARED = "zero"
"""The kind of ablation by which models are compared."""
KEYWORDS = "keyword_rate_"
"""What the names of the metrics on the words of one emotion begin with."""


@drawing
def head_effects(rows: Sequence[Row], out: Path, *, shown: int = 6) -> Path:
    """Draw how far ablating the strongest heads moves ``logit_diff``, kinds side by side.

    A panel per emotion and model; bars are means over prompts, error bars 95 % CIs.

    Args:
        rows: Rows of ablation.
        out: The file to write.
        shown: Heads a panel, those with the largest effect under any kind.
    """
    return _by_kind(rows, "logit_diff", out, "Δ logit_diff (logits), 95 % CI", shown)


@drawing
def ablation_sentiment_comparison(rows: Sequence[Row], out: Path, *, shown: int = 5) -> Path:
    """Draw how far ablating the strongest heads moves sentiment, kinds side by side.

    A panel per emotion and model; bars are means over prompts, error bars 95 % CIs.

    Args:
        rows: Rows of ablation.
        out: The file to write.
        shown: Heads a panel, those with the largest effect on ``logit_diff``.
    """
    label = "Δ sentiment (VADER compound, −1…1), 95 % CI"
    return _by_kind(rows, "sentiment", out, label, shown)


def _by_kind(rows: Sequence[Row], metric: str, out: Path, label: str, shown: int) -> Path:
    bars = [bar for row in rows for bar in bar_of(row, subject(row), kind_of(row).name, metric)]
    groups = {
        study: strongest_subjects(members, "logit_diff", shown)
        for study, members in group(rows, study_of).items()
    }
    styles = {kind: {"color": colour} for kind, colour in _KIND_COLOURS.items()}
    return grouped(bars, groups, out, styles, label)


@drawing
def patching_keyword_comparison(rows: Sequence[Row], out: Path, *, shown: int = 3) -> Path:
    """Draw how far patching heads moves the rates of every emotion's words.

    A panel per emotion and model; bars are means over pairs, error bars 95 % CIs; the colour is
    the lexicon, of the six that move the most; denoise is solid and noise hatched.

    Args:
        rows: Rows of patching; those that made text count.
        out: The file to write.
        shown: Heads a panel at most, those that move the words the most; that of a head which
            moves none is not one of them.
    """
    told = [row for row in rows if has_text(row)]
    names = [name for row in told for name in row.values if name.startswith(KEYWORDS)]
    lexicons = _most_moved(told, list(dict.fromkeys(names)))
    styles = {
        f"{direction}, {plain(lexicon)} words": {"color": colour, "hatch": hatch}
        for direction, hatch in _HATCHES.items()
        for lexicon, colour in zip(lexicons, COLOURS, strict=False)
    }
    bars = [
        bar
        for row in told
        for lexicon in lexicons
        for bar in bar_of(
            row,
            subject(row),
            f"{kind_of(row).name}, {plain(lexicon)} words",
            KEYWORDS + lexicon,
        )
    ]
    nothing: dict[StudyKey, list[str]] = {study_of(row): [] for row in told}
    groups = nothing | that_move(bars, shown)
    return grouped(bars, groups, out, styles, "Δ words per 100 words, 95 % CI")


def _most_moved(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Return the lexicons whose words move the most, as many as there are colours, in order."""
    most = {
        name: max((abs(row.mean(name) or 0.0) for row in rows), default=0.0) for name in metrics
    }
    chosen = sorted(metrics, key=lambda name: -most[name])[: len(COLOURS)]
    return [name.removeprefix(KEYWORDS) for name in metrics if name in chosen]


@drawing
def recovery_by_position(rows: Sequence[Row], out: Path, *, shown: int = 3) -> Path:
    """Draw R of the strongest heads by the position at which they are patched.

    A panel per emotion and model; the colour is the position, denoise is solid and noise hatched.
    Error bars are the 95 % CIs of the effects over the mean clean gap, which is taken as known.

    Args:
        rows: Rows of patching whose R is known.
        out: The file to write.
        shown: Heads a panel at most, those with the largest R at any position.
    """
    positions = list(dict.fromkeys(kind_of(row).position for row in rows))
    styles = {
        f"{direction}, {plain(position)}": {"color": colour, "hatch": hatch}
        for direction, hatch in _HATCHES.items()
        for position, colour in zip(positions, COLOURS, strict=False)
    }
    bars = []
    for row in rows:
        kind, recovered = kind_of(row), row.mean("recovery")
        name = f"{kind.direction}, {plain(kind.position)}"
        effect, ends = row.mean("logit_diff"), row.interval("logit_diff")
        for bar in bar_of(row, subject(row), name, "recovery"):
            share = recovered / effect if recovered and effect else 0.0
            reach = sorted(share * end for end in ends) if ends and share else None
            bars.append(bar._replace(ends=(reach[0], reach[1]) if reach else None))
    nothing: dict[StudyKey, list[str]] = {study_of(row): [] for row in rows}
    groups = nothing | that_move(bars, shown)
    return grouped(bars, groups, out, styles, "R: share of the clean gap that moves, 95 % CI")


def has_text(row: Row) -> bool:
    """Tell whether the texts under a patch were counted."""
    return any(name.startswith(KEYWORDS) for name in row.values)


def is_drawn(row: Row) -> bool:
    """Tell whether a row of ablation or patching is in any of these plots."""
    patched = kind_of(row).name in DIRECTIONS
    return not patched or has_text(row) or row.mean("recovery") is not None


@drawing
def effect_by_layer(rows: Sequence[Row], out: Path) -> Path:
    """Draw the mean absolute effect of a layer's heads on ``logit_diff``, a line a kind.

    Joint sets are left out: they belong to no one layer. Bands are 95 % CIs: of the mean over the
    layer's heads of their effects, each with the sign that its own mean has.

    Args:
        rows: Rows of ablation; those with their values per prompt have intervals.
        out: The file to write.
    """
    single = [row for row in rows if layer_of(row) is not None]
    known = {kind_of(row).name for row in single}
    kinds = [kind for kind in ABLATIONS if kind in known]
    layers = group(single, lambda row: (study_of(row), kind_of(row).name, layer_of(row) or 0))
    panels = Panels(map(study_of, single), (2.4, 1.6))
    for study, panel in panels:
        for kind in kinds:
            places = sorted(at for of, name, at in layers if (of, name) == (study, kind))
            found = [_of_layer(layers[study, kind, at]) for at in places]
            panel.plot(places, [mean for mean, _ in found], color=_KIND_COLOURS[kind],
                       marker=_MARKERS[ABLATIONS.index(kind)], ms=3, lw=1, label=kind)  # fmt: skip
            if places:
                low, high = zip(*(ends or (mean, mean) for mean, ends in found), strict=True)
                panel.fill_between(places, low, high, color=_KIND_COLOURS[kind], alpha=0.2, lw=0)
        panel.set_ylim(bottom=0)
        panel.xaxis.get_major_locator().set_params(integer=True)
    panels.below("layer")
    legend(panels.figure, *panels.axes[0, 0].get_legend_handles_labels())
    panels.figure.supylabel("mean |Δ logit_diff| of a layer's heads (logits), 95 % CI")
    return save(panels.figure, out)


def _of_layer(rows: Sequence[Row]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean absolute effect of heads, and its interval where it can be known."""
    effects = [row.mean("logit_diff") or 0.0 for row in rows]
    mean = float(np.mean(np.abs(effects)))
    vectors = [row.vectors.get("logit_diff", ()) for row in rows]
    if not vectors[0] or len({len(vector) for vector in vectors}) > 1:
        return mean, None
    signed = np.sign(effects) @ np.array(vectors) / len(rows)
    templates = rows[0].pairs.get("templates", [])
    found = summarize(signed, templates if len(templates) == len(signed) else None)["ci"]
    return mean, (found[0], found[1]) if found else None


@drawing
def model_comparison(rows: Sequence[Row], out: Path, *, kind: str = COMPARED) -> Path:
    """Draw models side by side: where their heads' effects lie in depth, and how many there are.

    On the left every head, its relative depth (0 the first layer, 1 the last) against its
    effect on ``logit_diff``; on the right the share of heads with q < 0.05 (sign flips over
    templates, Benjamini–Hochberg over the heads of a model and emotion). Above a share stands how
    many they are of how many that were ablated: a count, which has no interval.

    Args:
        rows: Rows of ablation with their values per prompt.
        out: The file to write.
        kind: The kind of ablation.
    """
    single = [row for row in rows if layer_of(row) is not None and kind_of(row).name == kind]
    by_study = group(single, study_of)
    models = list(dict.fromkeys(study.model for study in by_study))
    emotions = list(dict.fromkeys(study.emotion for study in by_study))
    figure, axes = grid(1, 2, (max(3.2, 0.34 * len(by_study)), 2.6))
    left, right = axes[0]
    wide = 0.84 / max(1, len(models))
    for number, model in enumerate(models):
        colour, aside = COLOURS[number % len(COLOURS)], number - (len(models) - 1) / 2
        for place, emotion in enumerate(emotions):
            here = by_study.get(StudyKey(model, emotion), [])
            placed = [(depth, row) for row in here if (depth := depth_of(row)) is not None]
            left.scatter(
                [depth + 0.02 * aside for depth, _ in placed],
                [row.mean("logit_diff") for _, row in placed],
                color=colour, marker=_MARKERS[place % 6], s=14, alpha=0.75, lw=0,
            )  # fmt: skip
            tested = [q for _, q in of_rows(here, "logit_diff").values()]
            if tested:
                found, x = sum(q < LEVEL for q in tested), place + aside * wide
                right.bar(x, found / len(tested), wide, color=colour, edgecolor="white", lw=0.5)
                right.annotate(
                    f"{found}/{len(tested)}", (x, found / len(tested)), (0, 2),
                    textcoords="offset points", ha="center", va="bottom", rotation=90,
                    fontsize="small",
                )  # fmt: skip
    keys = [
        left.scatter([], [], color=COLOURS[number % len(COLOURS)], marker="s", s=14)
        for number in range(len(models))
    ] + [
        left.scatter([], [], color="0.4", marker=_MARKERS[place % 6], s=14)
        for place in range(len(emotions))
    ]
    left.axhline(0, color="0.4", lw=0.6)
    left.set_xlabel("relative depth of the head's layer")
    left.set_ylabel(f"Δ logit_diff, {kind} ablation (logits)")
    room = figure.get_size_inches()[0] / 2 / max(1, len(emotions))
    letters = fitting(room, "xtick.labelsize")
    right.set_xticks(range(len(emotions)), [plain(emotion, letters) for emotion in emotions])
    right.set_ylabel(f"share of heads with q < {LEVEL}")
    # Room for the counts above a bar of 1.
    right.set_ylim(0, 1.2)
    right.set_yticks([0, 0.25, 0.5, 0.75, 1])
    legend(figure, keys, [plain(name) for name in (*models, *emotions)])
    return save(figure, out)
