"""Accuracies of probes beside the effects of the heads."""

from __future__ import annotations

import pytest
from made import around, rows_of

from emolib.reporting.probe_plots import probe_accuracy


def rows(of, model="one", emotion="joy"):
    """Give rows of heads by accuracy and effect."""
    return [
        rows_of(
            "head_probe",
            {"accuracy": accuracy and around(accuracy), "logit_diff": around(effect)},
            model=model, emotion=emotion, heads=heads,
        )[0]
        for heads, (accuracy, effect) in of.items()
    ]  # fmt: skip


def test_bars_from_chance_and_dots_of_the_effect(tmp_path, figure):
    of = {"L0H0": (0.9, 0.1), "L0H1": (0.6, -5.0), "L1H0": (None, 2.0)}
    drawn = figure(probe_accuracy, rows(of), tmp_path / "x.png")
    panel, beside = drawn.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L0H1", "L1H0", "L0H0"]
    tops = {round(bar.get_x() + 0.35): bar.get_y() + bar.get_height() for bar in panel.patches}
    assert tops == pytest.approx({0: 0.635, 2: 0.935})
    (dots,) = (found for found in beside.collections if len(found.get_offsets()) == 3)
    ends = [segment[:, 1] for found in beside.collections if found is not dots
            for segment in found.get_segments()]  # fmt: skip
    # Sizes of effects, whatever their signs.
    assert all(low <= y <= high for (low, high), y in zip(ends, (4.965, 2.035, 0.135), strict=True))
    assert [y for _, y in dots.get_offsets()] == pytest.approx([4.965, 2.035, 0.135])
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "accuracy",
        "|Δ logit_diff| (logits, right)",
    ]


def test_as_many_heads_as_are_asked_for_the_strongest_first(tmp_path, figure):
    of = {f"L0H{i}": (0.7, float(i + 1)) for i in range(6)}
    panel, _ = figure(probe_accuracy, rows(of), tmp_path / "x.png", shown=2).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L0H5", "L0H4"]


def test_a_png_that_repeats_and_differs_with_what_it_shows(tmp_path):
    out = tmp_path / "out.png"
    some = rows({"L0H0": (0.9, 1.0)}) + rows({"L0H0": (None, 0.0)}, "two", "fear")
    first = probe_accuracy(some, out).read_bytes()
    assert first.startswith(b"\x89PNG") and probe_accuracy(some, out).read_bytes() == first
    assert probe_accuracy(rows({"L0H0": (0.8, 1.0)}) + some[1:], out).read_bytes() != first
