"""Plot of probes: what can be read from z of each head, beside what the head does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.reporting.panels import Panels, error, name_groups
from emolib.reporting.plot_style import COLOURS, blank, drawing, legend, save, short
from emolib.results.rows import Row, group
from emolib.results.selection import strongest, study_of, subject

_CHANCE = 0.5
# What the right axis takes, in inches.
_AXIS = 0.25


@drawing
def probe_accuracy(rows: Sequence[Row], out: Path, *, shown: int = 8) -> Path:
    """Draw the accuracy of probes beside |effect| of the head, a panel per emotion and model.

    Bars are accuracies, from chance up, on the left axis; dots are the absolute effects of zeroing
    the heads on ``logit_diff``, on the right one; both with their 95 % CIs. A head without a bar
    has the same z on all prompts.

    Args:
        rows: Rows of probes.
        out: The file to write.
        shown: Heads a panel, those with the largest effects.
    """
    by_study = group(rows, study_of)
    panels = Panels(by_study, (max(2.2, 0.24 * shown + 0.9), 1.6))
    keys: dict[str, Any] = {}
    for study, panel in panels:
        top = strongest(by_study.get(study, ()), "logit_diff", shown)
        if not top:
            blank(panel)
            continue
        keys["accuracy"] = _accuracies(panel, top)
        keys["|Δ logit_diff| (logits, right)"] = _effects(panel.twinx(), top)
        name_groups(panel, [short(subject(row)) for row in top], (panels.width - _AXIS) / len(top))
    legend(panels.figure, keys.values(), list(keys))
    panels.figure.supylabel("accuracy of the probe, 95 % CI")
    return save(panels.figure, out)


def _effects(beside: Any, top: Sequence[Row]) -> Any:
    """Draw the sizes of effects on the right axis of a panel and return their dots."""
    sizes = [abs(row.mean("logit_diff") or 0.0) for row in top]
    beside.spines["right"].set_visible(True)
    for x, (row, size) in enumerate(zip(top, sizes, strict=True)):
        if ends := row.interval("logit_diff"):
            low, high = sorted(map(abs, ends))
            # An interval across 0 has sizes from 0 on.
            across = (0.0 if ends[0] * ends[1] < 0 else low, high)
            beside.errorbar(x, size, yerr=error(size, across), fmt="none", ecolor=COLOURS[4],
                            elinewidth=0.8)  # fmt: skip
    dots = beside.scatter(range(len(top)), sizes, color=COLOURS[4], s=12, zorder=3,
                          edgecolor="white", lw=0.4)  # fmt: skip
    beside.set_ylim(0, 1.15 * (max(sizes, default=0.0) or 1.0))
    return dots


def _accuracies(panel: Any, top: Sequence[Row]) -> Any:
    """Draw the accuracies of a panel and return their bars."""
    probed = [(x, row, mean) for x, row in enumerate(top)
              if (mean := row.mean("accuracy")) is not None]  # fmt: skip
    ends = [row.interval("accuracy") or (mean, mean) for _, row, mean in probed]
    errors = [
        [max(0.0, mean - low) for (*_, mean), (low, _) in zip(probed, ends, strict=True)],
        [max(0.0, high - mean) for (*_, mean), (_, high) in zip(probed, ends, strict=True)],
    ]
    heights = [mean - _CHANCE for *_, mean in probed]
    look = {"color": COLOURS[0], "ecolor": "0.2", "error_kw": {"lw": 0.8}}
    places = [x for x, *_ in probed]
    bars = panel.bar(places, heights, 0.7, bottom=_CHANCE, yerr=errors, **look)
    panel.axhline(_CHANCE, color="0.4", lw=0.6)
    panel.set_ylim(min([0.4, *(low for low, _ in ends)]), 1.03)
    return bars
