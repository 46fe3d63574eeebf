"""Plot of specificity: what the strongest heads do, prompts of each emotion by words of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emolib.reporting.plot_style import (
    DIVERGING,
    drawing,
    grid,
    ink,
    plain,
    save,
    scale,
    short,
    tenths,
)
from emolib.results.rows import Row, group
from emolib.results.selection import strongest_subjects, study_of, subject

_WORDS = "effect_"
# Letters of an emotion beside a matrix.
_LETTERS = 14


@drawing
def specificity_matrices(rows: Sequence[Row], out: Path, *, shown: int = 4) -> Path:
    """Draw E[a, b] of the strongest heads of each model, prompts of a by words of b.

    A head about one emotion has one dark row or a dark diagonal, one about any a dark square.
    Colours mean the same in all panels.

    Args:
        rows: Rows of specificity.
        out: The file to write.
        shown: Heads a model, those with the largest effect on the words of the prompts' emotion.
    """
    by_model = group(rows, lambda row: study_of(row).model)
    emotions = list(dict.fromkeys(study_of(row).emotion for row in rows))
    words = [name for row in rows for name in row.values if name.startswith(_WORDS)]
    columns = sorted(dict.fromkeys(words), key=lambda name: _place(name, emotions))
    tables = {
        model: {
            head: [[_cell(found.get((head, a)), b) for b in columns] for a in emotions]
            for head in strongest_subjects(members, "logit_diff", shown)
        }
        for model, members in by_model.items()
        for found in [{(subject(row), study_of(row).emotion): row for row in members}]
    }
    every = [table for of_model in tables.values() for table in of_model.values()]
    limit = float(np.nanmax(np.abs(np.array(every)), initial=0.0)) or 1.0
    shown = max(map(len, tables.values()), default=1)
    figure, axes = grid(
        len(tables), shown, (0.42 * len(columns) + 0.35, 0.28 * len(emotions) + 0.9)
    )
    for line, (model, of_model) in zip(axes, tables.items(), strict=True):
        for panel in line[len(of_model) :]:
            panel.set_axis_off()
        for panel, (head, values) in zip(line, of_model.items(), strict=False):
            image = panel.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
            panel.set_facecolor("0.85")
            panel.spines[:].set_visible(False)
            for (i, j), value in np.ndenumerate(np.array(values)):
                if not np.isnan(value):
                    panel.text(j, i, tenths(value), ha="center", va="center", fontsize="small",
                               color=ink(value, limit))  # fmt: skip
            names = [plain(name.removeprefix(_WORDS), _LETTERS) for name in columns]
            panel.set_xticks(range(len(columns)), names, rotation=30, ha="right", va="top",
                             rotation_mode="anchor")  # fmt: skip
            first = [plain(emotion, _LETTERS) for emotion in emotions] if panel is line[0] else []
            panel.set_yticks(range(len(emotions)) if first else [], first)
            panel.set_title(short(head))
        line[0].set_ylabel(plain(model, 24))
    figure.supylabel("prompts")
    scale(figure, image, axes, "Δ of the mean logit of these words less neutral ones (logits)")
    return save(figure, out)


def _place(name: str, emotions: Sequence[str]) -> tuple[int, str]:
    emotion = name.removeprefix(_WORDS)
    return (emotions.index(emotion) if emotion in emotions else len(emotions)), emotion


def _cell(row: Row | None, words: str) -> float:
    mean = None if row is None else row.mean(words)
    return float("nan") if mean is None else mean
