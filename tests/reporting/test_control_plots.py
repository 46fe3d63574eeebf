"""The effects of heads beside their controls."""

from __future__ import annotations

import pytest
from made import around, rows_of

from emolib.reporting.control_plots import controls


def rows(of, **dims):
    """Give rows of heads by the effect and its three controls."""
    names = ("denoise", "same_layer", "shuffled_labels", "lexical")
    records = [
        {"head": head, "other_head": "L0H0"}
        | {name: around(mean) for name, mean in zip(names, means, strict=True)}
        for head, means in of.items()
    ]
    return rows_of("head_controls", *records, **dims)


def test_a_head_stands_beside_its_controls_with_all_intervals(tmp_path, figure):
    some = rows({"L0H1": (4.0, 0.1, -0.2, 1.0), "L1H0": (8.0, 0.0, 0.0, 2.0)})
    drawn = figure(controls, some, tmp_path / "x.png")
    (panel,) = drawn.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L1H0", "L0H1"]
    heights = [[bar.get_height() for bar in found] for found in panel.containers
               if hasattr(found, "patches")]  # fmt: skip
    expected = [[4.035, 8.035], [0.135, 0.035], [-0.165, 0.035], [1.035, 2.035]]
    assert heights == [pytest.approx(pair) for pair in expected]
    ends = [segment[:, 1].tolist() for line in panel.collections for segment in line.get_segments()]
    assert len(ends) == 8 and all(low < high for low, high in ends)
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "the head", "a head of its layer", "labels shuffled", "a rare word in the slot",
    ]  # fmt: skip


def test_heads_without_an_effect_are_left_out_whatever_their_controls(tmp_path, figure):
    some = rows({"L0H1": (0.0, 9.0, 9.0, 9.0), "L1H0": (8.0, 0.0, 0.0, 2.0)})
    (panel,) = figure(controls, some, tmp_path / "x.png").axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L1H0"]


def test_a_png_that_repeats_and_differs_with_its_controls(tmp_path):
    out = tmp_path / "out.png"
    some = rows({"L0H1": (4.0, 0.1, -0.2, 1.0)}) + rows({"L0H0": (1.0,) * 4}, emotion="fear")
    first = controls(some, out).read_bytes()
    assert first.startswith(b"\x89PNG") and controls(some, out).read_bytes() == first
    other = rows({"L0H1": (4.0, 0.1, -0.2, 3.0)}) + some[1:]
    assert controls(other, out).read_bytes() != first
