"""Plots of effects: rows of a store and of files alike, and what is left out of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import around, rows_of

from emolib.reporting import effect_plots
from emolib.results.item_files import read_effects
from emolib.results.records import Store


def test_effects_are_drawn_alike_from_files_and_from_the_store(shaped, tmp_path):
    store = Store(shaped)
    for experiment, plot in (
        ("head_ablation", effect_plots.ablation_sentiment_comparison),
        ("head_ablation", effect_plots.effect_by_layer),
        ("head_ablation", effect_plots.model_comparison),
        ("head_patching", effect_plots.patching_keyword_comparison),
    ):
        files = sorted((shaped / "patching" / experiment).iterdir())
        stored = sorted(store.whole_rows(experiment), key=lambda row: row.output["path"])
        one = plot(read_effects(files), tmp_path / "files.png")
        assert plot(stored, tmp_path / "store.png").read_bytes() == one.read_bytes()


def test_a_kind_of_ablation_without_a_colour_is_left_out(shaped, tmp_path):
    rows = read_effects(sorted((shaped / "patching/head_ablation").glob("one_joy_*.json")))
    odd = [replace(row, dims=row.dims | {"ablation": "odd"}) for row in rows]
    known = effect_plots.ablation_sentiment_comparison(rows, tmp_path / "known.png")
    with_odd = effect_plots.ablation_sentiment_comparison([*rows, *odd], tmp_path / "odd.png")
    assert known.read_bytes() == with_odd.read_bytes()


ABLATION = (
    effect_plots.ablation_sentiment_comparison,
    effect_plots.effect_by_layer,
    effect_plots.model_comparison,
)


def ablation(effects, kind="zero", model="one"):
    """Give rows of ablation by the heads' effects, on logit_diff and a tenth of it on sentiment."""
    return [
        row
        for heads, effect in effects.items()
        for row in rows_of(
            "head_ablation",
            {"logit_diff": around(effect), "sentiment": around(effect / 10)},
            model=model,
            heads=heads,
            ablation=kind,
        )
    ]


def patching(effects, direction="denoise"):
    """Give rows of patching by the heads' effects on the words of joy and, less, of fear."""
    return [
        row
        for heads, effect in effects.items()
        for row in rows_of(
            "head_patching",
            {"direction": direction, "logit_diff": around(effect),
             "keyword_rate_joy": around(effect), "keyword_rate_fear": around(effect / 2)},
            heads=heads,
        )
    ]  # fmt: skip


def bars(panel):
    """Give the heights of the bars of a panel, without those of its legend."""
    return [bar.get_height() for bar in panel.patches if bar.get_height()]


@pytest.mark.parametrize(
    ("plot", "rows"),
    [*((plot, ablation) for plot in ABLATION),
     (effect_plots.patching_keyword_comparison, patching)],
    ids=lambda of: of.__name__,
)  # fmt: skip
def test_a_png_that_repeats_and_differs_with_its_effects(tmp_path, plot, rows):
    out = tmp_path / "out.png"
    effects = {"L0H0": -3.0, "L1H0": 0.5}
    assert plot(rows(effects), out) == out
    first = out.read_bytes()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert plot(rows(effects), out).read_bytes() == first
    assert plot(rows(effects | {"L1H0": 1.0}), out).read_bytes() != first


def test_the_strongest_heads_by_logit_diff_have_a_bar_a_kind(tmp_path, figure):
    effects = {"L0H0": 0.2, "L0H1": -5.0, "L1H0": 2.0}
    rows = ablation(effects) + ablation(effects, "mean")
    plot = effect_plots.ablation_sentiment_comparison
    (panel,) = figure(plot, rows, tmp_path / "x.png", shown=2).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L0H1", "L1H0"]
    assert sorted(bars(panel)) == pytest.approx(sorted(2 * [-0.465, 0.235]))
    assert panel.get_title() == "one" and panel.get_ylabel() == "joy"


def test_an_effect_without_an_interval_is_drawn_without_one(tmp_path, figure):
    (row,) = ablation({"L0H0": 1.0})
    bare = replace(row, values=row.values | {"sentiment": 0.5})
    plot = effect_plots.ablation_sentiment_comparison
    (panel,) = figure(plot, [bare], tmp_path / "x.png").axes
    (bar,) = panel.collections
    assert {point[1] for point in bar.get_segments()[0]} == {0.5}


def test_patching_that_made_no_text_is_left_out(tmp_path, figure):
    told = patching({"L0H0": 1.0})
    silent = rows_of("head_patching", {"direction": "noise", "logit_diff": around(9.0)},
                     heads="L1H1")  # fmt: skip
    plot = effect_plots.patching_keyword_comparison
    drawn = figure(plot, [*told, *silent], tmp_path / "x.png")
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == ["L0H0"]
    (legend,) = drawn.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["denoise, joy words", "denoise, fear words"]


def test_joint_sets_belong_to_no_layer(tmp_path, figure):
    single = ablation({"L0H0": -1.0, "L0H1": 3.0, "L2H0": 0.5})
    joint = ablation({"L0H0+L2H0": 50.0})
    (panel,) = figure(effect_plots.effect_by_layer, [*single, *joint], tmp_path / "x.png").axes
    zero, *others = panel.lines
    assert zero.get_label() == "zero" and list(zero.get_xdata()) == [0, 2]
    assert list(zero.get_ydata()) == pytest.approx([(0.965 + 3.035) / 2, 0.535])
    assert all(len(line.get_xdata()) == 0 for line in others)
    by_depth = effect_plots.model_comparison
    left, _ = figure(by_depth, [*single, *joint], tmp_path / "x.png").axes
    heights = [y for dots in left.collections for _, y in dots.get_offsets()]
    assert sorted(heights) == pytest.approx([-0.965, 0.535, 3.035])


def test_models_are_compared_by_depth_and_by_the_share_of_their_heads(tmp_path, figure):
    rows = ablation({"L0H0": 3.0, "L3H0": -0.035}) + ablation(
        {"L0H0": 3.0, "L1H0": 3.0}, "zero", "two"
    )
    mean = ablation({"L2H0": 70.0}, "mean")
    left, right = figure(effect_plots.model_comparison, [*rows, *mean], tmp_path / "x.png").axes
    dots = [point for found in left.collections for point in found.get_offsets()]
    assert sorted(round(x) for x, _ in dots) == [0, 0, 1, 1]
    assert max(y for _, y in dots) < 4
    # The other head of the first model is as often above 0 as below it.
    assert [bar.get_height() for bar in right.patches] == [0.5, 1.0]
    (other, _) = figure(effect_plots.model_comparison, [*rows, *mean], tmp_path / "x.png",
                        kind="mean").axes  # fmt: skip
    assert other.get_ylabel() == "Δ logit_diff under mean ablation (logits)"
    assert [y for found in other.collections for _, y in found.get_offsets()] == pytest.approx(
        [70.035]
    )
