"""Plot of probes: what can be read from z of each head, beside what the head does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.reporting.plot_style import COLOURS, grid, save, short
from emolib.results.rows import Row, group
from emolib.results.selection import StudyKey, strongest, study_of, subject

_CHANCE = 0.5


def probe_accuracy(rows: Sequence[Row], out: Path, *, shown: int = 8) -> Path:
    """Draw the accuracy of probes beside |effect| of the head, a panel per emotion and model.

    Bars are accuracies with 95 % CIs, from chance up, on the left axis; dots are the absolute
    effects of zeroing the heads on ``logit_diff``, on the right one. A head without a bar has the
    same z on all prompts.

    Args:
        rows: Rows of probes.
        out: The PNG to write.
        shown: Heads a panel, those with the largest effects.
    """
    by_study = group(rows, study_of)
    models = list(dict.fromkeys(key.model for key in by_study))
    emotions = list(dict.fromkeys(key.emotion for key in by_study))
    size = (max(2.4, 0.3 * shown + 0.9), 1.8)
    figure, axes = grid(len(emotions), len(models), size, legend=2)
    for i, emotion in enumerate(emotions):
        for j, model in enumerate(models):
            panel = axes[i, j]
            top = strongest(by_study.get(StudyKey(model, emotion), ()), "logit_diff", shown)
            bars = _accuracies(panel, top)
            beside = panel.twinx()
            sizes = [abs(row.mean("logit_diff") or 0.0) for row in top]
            dots = beside.scatter(
                range(len(top)),
                sizes,
                color=COLOURS[4],
                s=14,
                zorder=3,
                label="|Δ logit_diff| (logits, right)",
            )
            beside.set_ylim(0, 1.1 * (max(sizes, default=0.0) or 1.0))
            beside.tick_params(labelsize=6)
            panel.set_xticks(range(len(top)), [short(subject(row)) for row in top], fontsize=6)
            panel.tick_params(axis="y", labelsize=6)
            if i == 0:
                panel.set_title(model, fontsize=10)
            if j == 0:
                panel.set_ylabel(emotion)
    figure.legend(handles=[bars, dots], loc="outside lower center", ncols=2, fontsize=8,
                  frameon=False)  # fmt: skip
    figure.supylabel("accuracy of the probe, 95 % CI", fontsize=9)
    return save(figure, out)


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
    look = {"color": COLOURS[0], "ecolor": "0.2", "error_kw": {"lw": 0.8}, "label": "accuracy"}
    places = [x for x, *_ in probed]
    bars = panel.bar(places, heights, 0.7, bottom=_CHANCE, yerr=errors, **look)
    panel.axhline(_CHANCE, color="0.4", lw=0.6)
    panel.set_ylim(min([0.4, *(low for low, _ in ends)]), 1.03)
    return bars
