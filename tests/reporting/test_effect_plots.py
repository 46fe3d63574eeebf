"""Plots of effects: rows of a store and of files alike, and what is left out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made import around, rows_of

from emolib.reporting import effect_plots
from emolib.results.item_files import read_effects
from emolib.results.records import Store


@pytest.mark.usefixtures("sketched")
def test_effects_are_drawn_alike_from_files_and_from_the_store(shaped, tmp_path):
    store = Store(shaped)
    for experiment, plot in (
        ("head_ablation", effect_plots.ablation_sentiment_comparison),
        ("head_ablation", effect_plots.head_effects),
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
    effect_plots.head_effects,
    effect_plots.ablation_sentiment_comparison,
    effect_plots.effect_by_layer,
    effect_plots.model_comparison,
)


def ablation(effects, kind="zero", model="one", layers=4):
    """Give rows of ablation by the heads' effects, on logit_diff and a tenth of it on sentiment."""
    return [
        replace(row, provenance={"shape": {"layers": layers, "heads": 4}})
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


def filled(panel):
    """Give the bars of each kind in a panel."""
    return [found for found in panel.containers if hasattr(found, "patches")]


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


def test_the_main_result_is_the_effect_of_each_head_under_each_kind(tmp_path, figure):
    effects = {"L0H0": 0.2, "L0H1": -5.0, "L1H0": 2.0}
    rows = ablation(effects) + ablation({"L1H0": 7.0}, "mean")
    (panel,) = figure(effect_plots.head_effects, rows, tmp_path / "x.png", shown=2).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L1H0", "L0H1"]
    zero, mean = filled(panel)
    assert sorted(bar.get_height() for bar in zero) == pytest.approx([-4.965, 2.035])
    assert [bar.get_height() for bar in mean] == pytest.approx([7.035])
    for row in rows:
        if row.dims["heads"] == "L1H0" and row.dims["ablation"] == "mean":
            low, high = row.interval("logit_diff")
    (segment,) = mean.errorbar.lines[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([low, high]) and low < 7.035 < high


def positions(recovery, effect=3.0, heads="L0H1", direction="denoise", position="last"):
    """Give a row of patching by its R and its effect."""
    return rows_of("head_patching", {"direction": direction, "position": position,
                   "logit_diff": around(effect), "recovery": recovery}, heads=heads)  # fmt: skip


def test_r_is_drawn_by_position_with_the_interval_of_its_effect(tmp_path, figure):
    noise = positions(-0.25, -1.5, direction="noise")
    slot, faint = positions(0.0, 0.0, position="slot"), positions(0.01, 0.06, heads="L1H1")
    rows = [*positions(0.5), *noise, *slot, *faint]
    drawn = figure(effect_plots.recovery_by_position, rows, tmp_path / "x.png")
    (panel,) = drawn.axes
    # The other head does nothing beside it.
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L0H1"]
    assert [bar.get_height() for bar in panel.patches] == [0.5, -0.25, 0.0]
    (low, high), gap = rows[0].interval("logit_diff"), rows[0].mean("logit_diff") / 0.5
    ends = [found.get_segments()[0][:, 1].tolist() for found in panel.collections]
    assert ends[0] == pytest.approx([low / gap, high / gap]) and low < high
    low, high = rows[1].interval("logit_diff")
    assert sorted(ends[1]) == pytest.approx(
        sorted(end * -0.25 / rows[1].mean("logit_diff") for end in (low, high))
    )
    (legend,) = drawn.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["denoise, last", "denoise, slot", "noise, last"]


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


def test_heads_that_move_no_words_are_left_out_of_patching(tmp_path, figure):
    """A large effect on logits that leaves the words as they are is not one of them."""
    rows = patching({"L0H0": 3.0, "L1H1": 0.01, "L0H1": 1.0})
    for row in rows:
        if row.dims["heads"] == "L1H1":
            row.values["logit_diff"]["mean"] = 99.0
    plot = effect_plots.patching_keyword_comparison
    (panel,) = figure(plot, rows, tmp_path / "x.png").axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["L0H0", "L0H1"]


def test_a_layer_has_the_interval_of_its_heads_together(tmp_path, figure):
    """By heads whose prompts scatter against each other, so that their mean does not."""
    (one,), (other,) = ablation({"L0H0": 2.0}), ablation({"L0H1": -1.0})
    up = [1.0, 3.0] * 4
    rows = [replace(one, vectors={"logit_diff": up}),
            replace(other, vectors={"logit_diff": [x - 3.0 for x in up]})]  # fmt: skip
    (alone,) = figure(effect_plots.effect_by_layer, rows[:1], tmp_path / "x.png").axes
    (both,) = figure(effect_plots.effect_by_layer, rows, tmp_path / "x.png").axes
    without = [replace(row, vectors={}) for row in rows]
    (bare,) = figure(effect_plots.effect_by_layer, without, tmp_path / "x.png").axes

    def height(panel):
        (band,) = panel.collections
        (path,) = band.get_paths()
        return float(np.ptp(path.vertices[:, 1]))

    assert height(alone) > 0.5 and height(both) == pytest.approx(0.0) == height(bare)
    assert both.lines[0].get_ydata()[0] == pytest.approx((2.035 + 0.965) / 2)


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
        {"L0H0": 3.0, "L1H0": 3.0}, "zero", "two", 12
    )
    mean = ablation({"L2H0": 70.0}, "mean")
    left, right = figure(effect_plots.model_comparison, [*rows, *mean], tmp_path / "x.png").axes
    dots = [point for found in left.collections for point in found.get_offsets()]
    # The second model has more layers than heads were ablated in.
    assert sorted(round(x, 1) for x, _ in dots) == [0.0, 0.0, 0.1, 1.0]
    assert max(y for _, y in dots) < 4
    # The other head of the first model is as often above 0 as below it.
    assert [bar.get_height() for bar in right.patches] == [0.5, 1.0]
    # A count of all heads has no interval; it says of how many it is.
    assert [text.get_text() for text in right.texts] == ["1/2", "2/2"]
    (other, _) = figure(effect_plots.model_comparison, [*rows, *mean], tmp_path / "x.png",
                        kind="mean").axes  # fmt: skip
    assert other.get_ylabel() == "Δ logit_diff, mean ablation (logits)"
    assert [y for found in other.collections for _, y in found.get_offsets()] == pytest.approx(
        [70.035]
    )
