"""Plots: what is drawn is what the files say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from made import make_results

from emolib.errors import InputError
from emolib.reporting import effect_plots, plots, score_plots
from emolib.reporting.attention_plots import attention_patterns
from emolib.results.item_files import read_effects, read_scores
from emolib.results.records import Store


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
    out = score_plots.head_reaction_heatmap(files, tmp_path / "plots/heads/map.png")
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


@pytest.fixture(scope="module", params=[(1, 1), (4, 4), (12, 12)], ids=str)
def results(request, tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"), shape=request.param)


def test_draw_makes_every_plot_the_same_each_time(results):
    made = plots.draw(results)
    names = {path.name.partition("_one_")[0].partition("_two_")[0] for path in made}
    assert names == {
        "head_reaction_heatmap.png", "top_heads.png", "ablation_sentiment_comparison.png",
        "effect_by_layer.png", "model_comparison.png", "patching_keyword_comparison.png",
        "attention_patterns",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in made}
    assert {path: path.read_bytes() for path in plots.draw(results)} == before


def test_effects_are_drawn_alike_from_files_and_from_the_store(results, tmp_path):
    store = Store(results / "records.jsonl")
    for experiment, plot in (
        ("head_ablation", effect_plots.ablation_sentiment_comparison),
        ("head_ablation", effect_plots.effect_by_layer),
        ("head_ablation", effect_plots.model_comparison),
        ("head_patching", effect_plots.patching_keyword_comparison),
    ):
        files = sorted((results / "patching" / experiment).iterdir())
        stored = sorted(store.whole_rows(experiment), key=lambda row: row.output["path"])
        one = plot(read_effects(files), tmp_path / "files.png")
        assert plot(stored, tmp_path / "store.png").read_bytes() == one.read_bytes()


def test_a_kind_of_ablation_without_a_colour_is_left_out(results, tmp_path):
    rows = read_effects(sorted((results / "patching/head_ablation").glob("one_joy_*.json")))
    odd = [replace(row, dims=row.dims | {"ablation": "odd"}) for row in rows]
    known = effect_plots.ablation_sentiment_comparison(rows, tmp_path / "known.png")
    with_odd = effect_plots.ablation_sentiment_comparison([*rows, *odd], tmp_path / "odd.png")
    assert known.read_bytes() == with_odd.read_bytes()


def test_one_emotion_alone(results, tmp_path):
    assert not any("fear" in path.name for path in plots.draw(results, tmp_path, emotion="joy"))
    only = tmp_path / "mine/patching/head_ablation"
    only.mkdir(parents=True)
    source = next((results / "patching/head_ablation").iterdir())
    (only / "x.json").write_text(source.read_text("utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match="no results to draw for 'envy'"):
        plots.draw(tmp_path / "mine", emotion="envy")


def test_a_part_of_the_results_is_drawn_as_far_as_it_goes(tmp_path):
    made = make_results(tmp_path, models=("one",), emotions=("joy",))
    for path in (made / "patching/head_patching").iterdir():
        path.unlink()
    for path in (made / "patching/head_ablation").glob("*-mean.json"):
        path.unlink()
    names = [path.name for path in plots.draw(made)]
    assert "patching_keyword_comparison.png" not in names and "effect_by_layer.png" in names


def test_top_heads_are_drawn_with_missing_scores_and_intervals(tmp_path):
    from matplotlib.image import imread

    path = scores_file(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["scores"][0]["atp_ig"] = None
    path.write_text(json.dumps(content), encoding="utf-8")
    assert imread(score_plots.top_heads([path], tmp_path / "top.png", top_n=3)).ndim == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {}, "prompts": []}'])
def test_a_damaged_file_of_an_item_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    message = rf"^{re.escape(str(path))}: not a results file of an item \("
    with pytest.raises(InputError, match=message):
        plots.draw(tmp_path, ablation_files=[path])
    with pytest.raises(InputError, match="not a file of exp_attention_patterns"):
        attention_patterns([path], tmp_path)


def test_it_is_a_module_to_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "emolib", "plots"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("ERROR: results/demo: no results")
