"""Plot of controls: what the strongest heads carry, beside what should come to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emolib.reporting.experiments import CONTROLS
from emolib.reporting.panels import bar_of, grouped, that_move
from emolib.reporting.plot_style import COLOURS, drawing
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, study_of

_NAMES = ("the head", "a head of its layer", "labels shuffled", "a rare word in the slot")


@drawing
def controls(rows: Sequence[Row], out: Path, *, shown: int = 3) -> Path:
    """Draw the effects of patching the strongest heads beside their controls.

    A panel per emotion and model; bars are means over pairs, error bars 95 % CIs. Labels shuffled
    within pairs come to 0 on average; how far their interval reaches is what the pairs scatter.

    Args:
        rows: Rows of ``head_controls``.
        out: The file to write.
        shown: Heads a panel at most, those with the largest effects.
    """
    bars = [
        bar
        for row in rows
        for control, name in zip(CONTROLS, _NAMES, strict=True)
        for bar in bar_of(row, row.labels["head"], name, control)
    ]
    nothing: dict[StudyKey, list[str]] = {study_of(row): [] for row in rows}
    groups = nothing | that_move([bar for bar in bars if bar.style == _NAMES[0]], shown)
    colours = (COLOURS[0], COLOURS[5], "0.6", COLOURS[1])
    styles = {name: {"color": colour} for name, colour in zip(_NAMES, colours, strict=True)}
    return grouped(bars, groups, out, styles, "Δ logit_diff, denoise (logits), 95 % CI")
