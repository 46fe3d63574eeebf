"""Which plots a results folder gets, and from which files."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from made import make_results

from emolib.errors import InputError
from emolib.reporting import plots


def test_draw_makes_every_plot(shaped):
    made = plots.draw(shaped)
    names = {path.name.partition("_one_")[0].partition("_two_")[0] for path in made}
    assert names == {
        "head_reaction_heatmap.png", "top_heads.png", "ablation_sentiment_comparison.png",
        "effect_by_layer.png", "model_comparison.png", "patching_keyword_comparison.png",
        "attention_patterns",
    }  # fmt: skip


def test_plots_are_the_same_each_time(tmp_path):
    made = make_results(tmp_path, models=("one",), emotions=("joy",))
    before = {path: path.read_bytes() for path in plots.draw(made)}
    assert len(before) == 7
    assert {path: path.read_bytes() for path in plots.draw(made)} == before


def test_one_emotion_alone(shaped, tmp_path):
    assert not any("fear" in path.name for path in plots.draw(shaped, tmp_path, emotion="joy"))
    only = tmp_path / "mine/patching/head_ablation"
    only.mkdir(parents=True)
    source = next((shaped / "patching/head_ablation").iterdir())
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


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {}, "prompts": []}'])
def test_a_damaged_file_of_an_item_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    message = rf"^{re.escape(str(path))}: not a results file of an item \("
    with pytest.raises(InputError, match=message):
        plots.draw(tmp_path, ablation_files=[path])


def test_it_is_a_module_to_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "emolib", "plots"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("ERROR: results/demo: no results")
