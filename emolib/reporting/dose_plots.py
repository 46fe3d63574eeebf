"""Plots of steering: what doses of a direction do, and what they cost in fluency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.reporting.plot_style import COLOURS, blank, drawing, grid, legend, plain, save
from emolib.results.rows import Row, group
from emolib.results.selection import StudyKey, studies

_SHOWN = len(COLOURS)
_STYLES = {"emotion": {"ls": "-", "marker": "o"}, "random": {"ls": ":", "marker": "x"}}
_METRICS = {"logit_diff": "Δ logit_diff", "fluency": "Δ fluency"}


@drawing
def dose_response(rows: Sequence[Row], out: Path) -> Path:
    """Draw what doses do to ``logit_diff`` and to fluency on neutral prompts, a line a place.

    Columns are models; every emotion has two panels, logits above and nats a token below. Emotion
    directions are solid with their 95 % CI, random ones of the same norm dotted. The heads that are
    moved together are others in each study, and one line. Of many places the six are drawn that
    move ``logit_diff`` the most in any study, the same in all panels.

    Args:
        rows: Rows of steering.
        out: The file to write.
    """
    told = [row for row in rows if row.labels.get("on") == "neutral"]
    found = studies(told)
    models = list(dict.fromkeys(study.model for study in found))
    emotions = list(dict.fromkeys(study.emotion for study in found))
    places = _places(told)
    figure, axes = grid(2 * len(emotions), len(models), (2.3, 1.25))
    for panel, model in zip(axes[0], models, strict=True):
        panel.set_title(plain(model))
    for panel in axes[-1]:
        panel.set_xlabel("α")
    for line, panel in enumerate(axes[:, 0]):
        emotion, metric = emotions[line // 2], list(_METRICS.values())[line % 2]
        panel.set_ylabel(f"{plain(emotion, 16)}\n{metric}")
    for i, emotion in enumerate(emotions):
        for j, model in enumerate(models):
            members = found.get(StudyKey(model, emotion), [])
            for panel, metric in zip(axes[2 * i : 2 * i + 2, j], _METRICS, strict=True):
                if members:
                    _lines(panel, members, metric, places)
                else:
                    blank(panel)
    _legend(figure, axes[0, 0], places)
    figure.supylabel("under the dose less clean, on neutral prompts (logits; nats a token)")
    return save(figure, out)


def _place(row: Row) -> str:
    """Return the name of a row's line."""
    place = row.labels["place"]
    return place if place.startswith("resid:") else "heads"


def _places(rows: Sequence[Row]) -> list[str]:
    """Return the places that are drawn, in their order."""
    size: dict[str, float] = {}
    for row in rows:
        if row.labels.get("direction") == "emotion":
            place, moved = _place(row), abs(row.mean("logit_diff") or 0.0)
            size[place] = max(moved, size.get(place, 0.0))
    chosen = sorted(size, key=lambda place: -size[place])[:_SHOWN]
    return [place for place in size if place in chosen]


def _lines(panel: Any, rows: Sequence[Row], metric: str, places: Sequence[str]) -> None:
    by_line = group(rows, lambda row: (_place(row), row.labels["direction"]))
    for (place, direction), members in by_line.items():
        if place not in places or direction not in _STYLES:
            continue
        ordered = sorted(members, key=lambda row: float(row.labels["alpha"]))
        drawn = [row for row in ordered if row.mean(metric) is not None]
        x, y = [float(row.labels["alpha"]) for row in drawn], [row.mean(metric) for row in drawn]
        colour = COLOURS[places.index(place)]
        panel.plot(x, y, color=colour, ms=3, lw=1, **_STYLES[direction])
        ends = [row.interval(metric) for row in drawn]
        if direction == "emotion" and ends and all(ends):
            low, high = zip(*filter(None, ends), strict=True)
            panel.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    panel.axhline(0, color="0.4", lw=0.6)


def _legend(figure: Any, panel: Any, places: Sequence[str]) -> None:
    handles = [
        panel.plot([], [], color=COLOURS[i], lw=1, label=name)[0] for i, name in enumerate(places)
    ]
    handles += [
        panel.plot([], [], color="0.3", lw=1, ms=3, label=f"{name} direction", **style)[0]
        for name, style in _STYLES.items()
    ]
    legend(figure, handles, [plain(handle.get_label()) for handle in handles])
