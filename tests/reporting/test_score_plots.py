"""Plots of screening scores: every head at its place, the strongest, scores that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.text import Text

from emolib.errors import InputError
from emolib.reporting import score_plots
from emolib.results.item_files import read_scores


def scores_file(folder, model="tiny", layers=3, heads=2, **changes):
    entries = [
        {"layer": layer, "head": head, "emotion": emotion, "atp_ig": sign * (layer - head)}
        for emotion, sign in (("joy", 1.0), ("fear", -1.0))
        for layer in range(layers)
        for head in range(heads)
    ]
    content = {"model": model, "layers": layers, "heads_per_layer": heads, "scores": entries}
    path = folder / f"head_scores_{model}.json"
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def read(files):
    return list(map(read_scores, files))


def test_head_table_has_every_score_at_its_place(tmp_path):
    scores = read_scores(scores_file(tmp_path))
    np.testing.assert_array_equal(
        score_plots.head_table(scores, "fear"), [[0.0, 1.0], [-1.0, 0.0], [-2.0, -1.0]]
    )
    assert np.isnan(score_plots.head_table(scores, "joy", "dla")).all()


@pytest.mark.parametrize("shape", [(3, 2), (12, 12), (32, 32)])
def test_heatmap_is_a_png_large_enough_for_its_cells(tmp_path, shape):
    from matplotlib.image import imread

    files = [scores_file(tmp_path, name, *shape) for name in ("one", "two")]
    out = score_plots.head_reaction_heatmap(read(files), tmp_path / "plots/heads/map.png")
    pixels = imread(out)
    assert pixels.shape[1] > 2 * 10 * shape[1] and pixels.shape[0] > 2 * 10 * shape[0]
    # Both ends of the diverging colours are on it: the two emotions have opposite signs.
    red, green, blue = (pixels[..., channel] for channel in range(3))
    assert ((red > 0.4) & (blue < 0.1)).any() and ((blue > 0.2) & (red < 0.2)).any()
    assert green.any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{path}: no such file; run `pytest experiments/exp_head_screening.py` first"),
        (
            "[]",
            "{path}: not a scores file (TypeError('list indices must be integers or slices, not "
            "str')); run screening again with --fresh",
        ),
        (
            '{"layers": 1}',
            "{path}: not a scores file (KeyError('heads_per_layer')); run screening again with "
            "--fresh",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, message):
    path = tmp_path / "head_scores_x.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_scores(path)
    assert str(error.value) == message.format(path=path)


def test_top_heads_are_drawn_with_missing_scores_and_intervals(tmp_path):
    from matplotlib.image import imread

    path = scores_file(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["scores"][0]["atp_ig"] = None
    path.write_text(json.dumps(content), encoding="utf-8")
    assert imread(score_plots.top_heads(read([path]), tmp_path / "top.png", top_n=3)).ndim == 3


@pytest.mark.parametrize("plot", [score_plots.head_reaction_heatmap, score_plots.top_heads])
class TestBothPlots:
    def test_a_png_that_repeats_and_differs_with_its_scores(self, plot, tmp_path):
        path, out = scores_file(tmp_path), tmp_path / "out.png"
        assert plot(read([path]), out) == out
        first = out.read_bytes()
        assert first.startswith(b"\x89PNG\r\n\x1a\n")
        assert plot(read([path]), out).read_bytes() == first
        content = json.loads(path.read_text("utf-8"))
        content["scores"][0]["atp_ig"] = 1.5
        path.write_text(json.dumps(content), encoding="utf-8")
        assert plot(read([path]), out).read_bytes() != first

    def test_the_score_that_is_asked_for_is_drawn(self, plot, tmp_path, figure):
        path = scores_file(tmp_path)
        content = json.loads(path.read_text("utf-8"))
        for entry in content["scores"]:
            entry["delta_attn"] = 0.25
        path.write_text(json.dumps(content), encoding="utf-8")
        drawn = figure(plot, read([path]), tmp_path / "x.png", score="delta_attn")
        labels = {axes.get_xlabel() for axes in drawn.axes}
        assert any(label.startswith("delta_attn (attention)") for label in labels)

    def test_a_panel_an_emotion_and_model(self, plot, tmp_path, figure):
        files = [scores_file(tmp_path, "one"), scores_file(tmp_path, "two", layers=4)]
        axes = figure(plot, read(files), tmp_path / "x.png").axes
        assert [panel.get_title() for panel in axes if panel.get_title()] == ["one", "two"]
        rows = [panel.get_ylabel().partition("\n")[0] for panel in axes if panel.get_ylabel()]
        assert rows == ["joy", "fear"]

    def test_a_score_that_is_unknown_is_refused_before_any_file_is_read(self, plot, tmp_path):
        with pytest.raises(InputError) as error:
            plot([tmp_path / "nowhere.json"], tmp_path / "x.png", score="atp")
        assert str(error.value) == (
            "--score atp: unknown; expected one of atp_ig, atp_denoise, atp_noise, dla, "
            "delta_attn, delta_proj, delta_out"
        )
        assert list(tmp_path.iterdir()) == []


def named(panel):
    return [text.get_text() for text in panel.texts]


def test_the_strongest_heads_are_named_on_their_cells(tmp_path, figure):
    rankings = {"joy": {"reliability": 0.9}, "fear": {"reliability": 0.5}}
    path = scores_file(tmp_path, rankings=rankings, layers=4, heads=4)
    content = json.loads(path.read_text("utf-8"))
    for entry in content["scores"]:
        at = entry["layer"], entry["head"]
        entry["atp_ig"] = {(0, 2): -9.0, (3, 1): 2.0, (1, 1): 1.5, (2, 2): 0.1}.get(at, 0.0)
        entry["atp_ig_ci"] = [-1.0, 4.0] if at == (1, 1) else [entry["atp_ig"]] * 2
    path.write_text(json.dumps(content), encoding="utf-8")
    joy, fear, _ = figure(score_plots.head_reaction_heatmap, read([path]), tmp_path / "x.png").axes
    # Not one whose interval holds 0, nor a small one; of no ranking none.
    assert named(joy) == ["L0H2", "L3H1"] and named(fear) == []
    assert [text.get_position() for text in joy.texts] == [(2, 0), (1, 3)]
    assert [text.get_color() for text in joy.texts] == ["white", "black"]


@pytest.mark.parametrize("shape", [(32, 32), (48, 25), (12, 12)])
def test_names_of_heads_of_large_models_stand_beside_them_and_apart(tmp_path, figure, shape):
    path = scores_file(tmp_path, layers=shape[0], heads=shape[1])
    content = json.loads(path.read_text("utf-8"))
    content["rankings"] = {"joy": {"reliability": 0.9}}
    strong = {(0, 0), (5, shape[1] - 1), (9, 6), (9, 7)}
    for entry in content["scores"]:
        entry["atp_ig"] = 5.0 if (entry["layer"], entry["head"]) in strong else 0.0
        entry["atp_ig_ci"] = [entry["atp_ig"]] * 2
    path.write_text(json.dumps(content), encoding="utf-8")
    drawn = figure(score_plots.head_reaction_heatmap, read([path]), tmp_path / "x.png")
    joy = drawn.axes[0]
    # Of two side by side the names stand left and right.
    assert sorted(named(joy)) == sorted(f"L{layer}H{head}" for layer, head in strong)
    assert len(joy.patches) == 4
    drawn.draw_without_rendering()
    frame, boxes = joy.get_window_extent(), [text.get_window_extent() for text in joy.texts]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)


def test_no_head_is_named_by_a_score_without_intervals_or_by_another_s_reliability(
    tmp_path, figure
):
    path = scores_file(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["rankings"] = {"joy": {"reliability": 0.9}}
    for entry in content["scores"]:
        entry |= {"delta_out": 5.0, "delta_attn": 5.0, "delta_attn_ci": [4.0, 6.0]}
    path.write_text(json.dumps(content), encoding="utf-8")
    for score in ("delta_out", "delta_attn"):
        drawn = figure(score_plots.head_reaction_heatmap, read([path]), tmp_path / "x.png",
                       score=score)  # fmt: skip
        assert not named(drawn.axes[0])
        ranked = figure(score_plots.top_heads, read([path]), tmp_path / "x.png", score=score)
        said = [text.get_text() for text in ranked.findobj(Text)]
        assert "no ranking: reliability is known of atp_ig alone" in said
        assert any(text.endswith(", 95 % CI") for text in said) == (score == "delta_attn")


def test_one_scale_for_all_models(tmp_path, figure):
    files = [scores_file(tmp_path, "one"), scores_file(tmp_path, "two", layers=4)]
    drawn = figure(score_plots.head_reaction_heatmap, read(files), tmp_path / "x.png")
    *panels, bar = drawn.axes
    assert len(panels) == 4 and bar.get_xlabel() == "atp_ig (logits)"
    assert {panel.images[0].get_clim() for panel in panels} == {(-3.0, 3.0)}


def test_two_files_of_one_model_are_told_apart(tmp_path, figure):
    path = scores_file(tmp_path)
    drawn = figure(score_plots.top_heads, read([path, path]), tmp_path / "x.png")
    assert [panel.get_title() for panel in drawn.axes[:2]] == ["tiny", "tiny (2)"]


def test_colours_of_a_model_mean_the_same_in_all_its_panels(tmp_path, figure):
    path = scores_file(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["scores"][0]["atp_ig"] = -7.0
    path.write_text(json.dumps(content), encoding="utf-8")
    axes = figure(score_plots.head_reaction_heatmap, read([path]), tmp_path / "x.png").axes
    assert [panel.images[0].get_clim() for panel in axes[:2]] == [(-7.0, 7.0)] * 2


def test_the_strongest_heads_come_first_with_their_intervals(tmp_path, figure):
    path = scores_file(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    joy = [entry for entry in content["scores"] if entry["emotion"] == "joy"]
    for entry, score in zip(joy, (0.5, -3.0, 1.0, None, 2.0, 0.0), strict=True):
        entry["atp_ig"] = score
    joy[1]["atp_ig_ci"] = [-4.0, -2.5]
    path.write_text(json.dumps(content), encoding="utf-8")
    panel = figure(score_plots.top_heads, read([path]), tmp_path / "x.png", top_n=3).axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["L0H1", "L2H0", "L1H0"]
    assert [bar.get_width() for bar in panel.patches] == [-3.0, 2.0, 1.0]
    (ends,) = (lines.get_segments() for lines in panel.collections)
    assert ends[0][:, 0].tolist() == [-4.0, -2.5] and ends[1][:, 0].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(("reliability", "marked"), [(0.9, False), (0.5, True), (None, True)])
def test_a_ranking_that_is_none_is_marked(tmp_path, figure, reliability, marked):
    rankings = {"joy": {"reliability": reliability}, "fear": {"reliability": 0.95}}
    path = scores_file(tmp_path, rankings=rankings)
    joy, fear = figure(score_plots.top_heads, read([path]), tmp_path / "x.png").axes
    assert [text.get_text().partition(":")[0] for text in joy.texts] == ["no ranking"] * marked
    assert not fear.texts
