"""Plots and the commands after a run: what is drawn is what the files say."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from emolib import __main__ as command
from emolib import plots
from emolib.errors import InputError


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
    scores = plots.read_scores(scores_file(tmp_path))
    np.testing.assert_array_equal(
        plots.head_table(scores, "fear"), [[0.0, 1.0], [-1.0, 0.0], [-2.0, -1.0]]
    )
    assert np.isnan(plots.head_table(scores, "joy", "dla")).all()


@pytest.mark.parametrize("shape", [(3, 2), (12, 12), (32, 32)])
def test_heatmap_is_a_png_large_enough_for_its_cells(tmp_path, shape):
    from matplotlib.image import imread

    files = [scores_file(tmp_path, name, *shape) for name in ("one", "two")]
    out = plots.head_reaction_heatmap(files, tmp_path / "plots/heads/map.png")
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
        plots.read_scores(path)
    assert str(error.value) == message.format(path=path)


def test_the_command_draws_beside_the_results(tmp_path, capsys):
    folder = tmp_path / "results/demo/alignment"
    folder.mkdir(parents=True)
    scores_file(folder)
    assert command.main(["plots", "--results-dir", str(tmp_path / "results")]) == 0
    path = tmp_path / "results/demo/plots/heads/head_reaction_heatmap.png"
    assert path.is_file() and capsys.readouterr().out == f"{path}\n"


def test_the_command_takes_named_files_and_a_folder(tmp_path):
    arguments = ["--head-scores", str(scores_file(tmp_path)), "--output-dir", str(tmp_path / "out")]
    assert command.main(["plots", *arguments]) == 0
    assert (tmp_path / "out/head_reaction_heatmap.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "ERROR: results/demo/alignment: no head_scores_*.json; run `pytest "
            "experiments/exp_head_screening.py` first, or name a file with --head-scores\n",
        ),
        (
            ["--head-scores", "head_scores_tiny.json", "--score", "size"],
            "ERROR: --score size: unknown; expected one of atp_ig, atp_denoise, atp_noise, dla, "
            "delta_attn, delta_proj, delta_out\n",
        ),
    ],
)
def test_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    scores_file(tmp_path)
    assert command.main(["plots", *arguments]) == 2
    assert capsys.readouterr().err == message


def test_it_is_a_module_to_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "emolib", "plots"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("ERROR: results/demo/alignment")
