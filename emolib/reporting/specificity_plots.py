"""Plot of specificity: what the strongest heads do, prompts of each emotion by words of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emolib.reporting.plot_style import grid, save, short, tenths
from emolib.results.rows import Row, group
from emolib.results.selection import strongest_subjects, study_of, subject

_DIVERGING = "PuOr_r"
_WORDS = "effect_"
# Above this share of the largest one a cell is too dark for black digits.
_DARK = 0.6


def specificity_matrices(rows: Sequence[Row], out: Path, *, shown: int = 4) -> Path:
    """Draw E[a, b] of the strongest heads of each model, prompts of a by words of b.

    A head about one emotion has one dark row or a dark diagonal, one about any a dark square.
    Colours mean the same in all panels of a model.

    Args:
        rows: Rows of specificity.
        out: The PNG to write.
        shown: Heads a model, those with the largest effect on the words of the prompts' emotion.
    """
    by_model = group(rows, lambda row: study_of(row).model)
    emotions = list(dict.fromkeys(study_of(row).emotion for row in rows))
    words = [name for row in rows for name in row.values if name.startswith(_WORDS)]
    columns = sorted(dict.fromkeys(words), key=lambda name: _place(name, emotions))
    size = (0.5 * len(columns) + 0.9, 0.35 * len(emotions) + 1.0)
    figure, axes = grid(len(by_model), shown, size)
    for line, (model, members) in zip(axes, by_model.items(), strict=True):
        heads = strongest_subjects(members, "logit_diff", shown)
        found = {(subject(row), study_of(row).emotion): row for row in members}
        tables = [
            [[_cell(found.get((head, a)), b) for b in columns] for a in emotions] for head in heads
        ]
        limit = float(np.nanmax(np.abs(tables), initial=0.0)) or 1.0
        for panel in line[len(heads) :]:
            panel.set_axis_off()
        for panel, head, values in zip(line, heads, tables, strict=False):
            image = panel.imshow(values, cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
            panel.set_facecolor("0.85")
            for (i, j), value in np.ndenumerate(np.array(values)):
                if not np.isnan(value):
                    colour = "white" if abs(value) > _DARK * limit else "black"
                    panel.text(j, i, tenths(value), ha="center", va="center", fontsize=6,
                               color=colour)  # fmt: skip
            names = [name.removeprefix(_WORDS) for name in columns]
            panel.set_xticks(range(len(columns)), names, fontsize=6, rotation=30, ha="right")
            panel.set_yticks(range(len(emotions)), emotions if head == heads[0] else [], fontsize=6)
            panel.set_title(short(head), fontsize=8)
        line[0].set_ylabel(model, fontsize=8)
        figure.colorbar(image, ax=list(line), shrink=0.8).ax.tick_params(labelsize=6)
    figure.supylabel("prompts", fontsize=8)
    figure.supxlabel("Δ of the mean logit of these words less neutral ones (logits)", fontsize=8)
    return save(figure, out)


def _place(name: str, emotions: Sequence[str]) -> tuple[int, str]:
    emotion = name.removeprefix(_WORDS)
    return (emotions.index(emotion) if emotion in emotions else len(emotions)), emotion


def _cell(row: Row | None, words: str) -> float:
    mean = None if row is None else row.mean(words)
    return float("nan") if mean is None else mean
