"""Panels by emotion and model, and the groups of bars in them."""

from __future__ import annotations

import pytest

from emolib.reporting import panels
from emolib.reporting.panels import Bar, Panels, bar_of, error, grouped, that_move
from emolib.results.selection import StudyKey

ONE, TWO, NONE = StudyKey("one", "joy"), StudyKey("two", "joy"), StudyKey("two", "fear")
STYLES = {"zero": {"color": "#0072B2"}, "mean": {"color": "#E69F00", "hatch": "//"}}


@pytest.fixture
def drawn(monkeypatch):
    """Give a function that draws groups and gives the figure."""

    def draw(bars, groups, **options):
        made = []
        monkeypatch.setattr(panels, "save", lambda figure, out: made.append(figure) or out)
        grouped(bars, groups, None, STYLES, "logits", **options)
        return made[0]

    return draw


def test_a_panel_a_study_with_its_names():
    made = Panels([ONE, NONE], (2.0, 1.5))
    assert [study for study, _ in made] == [ONE, TWO, ("one", "fear"), NONE]
    assert [panel.get_title() for panel in made.axes[0]] == ["one", "two"]
    assert [panel.get_ylabel() for panel in made.axes[:, 0]] == ["joy", "fear"]
    made.below("layer")
    assert [panel.get_xlabel() for panel in made.axes.flat] == ["", "", "layer", "layer"]


def test_long_names_are_cut_to_their_panels():
    made = Panels([StudyKey("a" * 300, "b" * 300)], (2.0, 1.5))
    (panel,) = made.axes.flat
    made.figure.draw_without_rendering()
    width, height = made.figure.get_size_inches() * made.figure.dpi
    title, name = panel.title.get_window_extent(), panel.yaxis.label.get_window_extent()
    assert "…" in panel.get_title() and title.x0 >= 0 and title.x1 <= width
    assert "…" in panel.get_ylabel() and name.y0 >= 0 and name.y1 <= height


def test_bars_stand_in_their_groups_with_their_intervals(drawn):
    bars = [
        Bar(ONE, "L0H1", "zero", -2.0, (-3.0, -1.5)), Bar(ONE, "L0H1", "mean", 1.0, None),
        Bar(ONE, "L1H0", "zero", 0.5, (0.5, 0.5)), Bar(ONE, "L9H9", "zero", 9.0, None),
        Bar(ONE, "L0H1", "odd", 9.0, None),
    ]  # fmt: skip
    figure = drawn(bars, {ONE: ["L0H1", "L1H0"], NONE: []})
    panel, *others = figure.axes
    places = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height()
              for bar in panel.patches}  # fmt: skip
    assert places == {-0.2: -2.0, 0.8: 0.5, 0.2: 1.0}
    ends = [segment[:, 1].tolist() for line in panel.collections for segment in line.get_segments()]
    assert ends == [[-3.0, -1.5], [0.5, 0.5], [1.0, 1.0]]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L0H1", "L1H0"]
    assert not any(other.patches or other.spines["left"].get_visible() for other in others)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["zero", "mean"]
    # What tells kinds apart on the bars does so in the legend.
    assert [bool(mark.get_hatch()) for mark in legend.get_patches()] == [False, True]


def test_bars_are_as_wide_in_all_panels(drawn):
    bars = [Bar(ONE, name, "zero", 1.0, None) for name in "abc"]
    bars.append(Bar(TWO, "a", "zero", 1.0, None))
    one, two = drawn(bars, {ONE: list("abc"), TWO: ["a"]}).axes
    (left, right), (start, end) = one.get_xlim(), two.get_xlim()
    assert right - left == pytest.approx(end - start)


def test_names_that_would_run_together_are_slanted(drawn):
    def rotations(name, count):
        names = [f"{name}{i}\nzero" for i in range(count)]
        bars = [Bar(ONE, name, "zero", 1.0, None) for name in names]
        (panel,) = drawn(bars, {ONE: names}, named=str).axes
        return {label.get_rotation() for label in panel.get_xticklabels()}

    assert rotations("L0H", 2) == {0.0}
    assert rotations("L0H1+12 more", 8) == {45.0}


def test_groups_that_do_nothing_are_left_out():
    means = (("a", 0.1), ("b", -9.0), ("c", 1.0), ("d", 3.0), ("b", 0.2))
    bars = [Bar(ONE, name, "zero", mean, None) for name, mean in means]
    nothing = Bar(TWO, "a", "zero", 0.0, None)
    assert that_move([*bars, nothing], 5) == {ONE: ["b", "d", "c"], TWO: []}
    assert that_move(bars, 2) == {ONE: ["b", "d"]}


def test_an_undefined_mean_is_no_bar_and_an_interval_never_points_inwards():
    from made import around, rows_of

    (row,) = rows_of("x", {"logit_diff": around(1.0), "recovery": None}, heads="L0H0")
    (bar,) = bar_of(row, "L0H0", "zero", "logit_diff")
    assert bar[:3] == (ONE, "L0H0", "zero") and bar.ends == row.interval("logit_diff")
    assert list(bar_of(row, "L0H0", "zero", "recovery")) == []
    assert error(1.0, (1.5, 2.0)) == [[0.0], [1.0]] and error(1.0, None) == [[0.0], [0.0]]
