"""No column without an entry: of everything that the project's own experiments write."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from folders import pairs

import emolib
from emolib.__main__ import main
from emolib.results.glossary import Entry, entries, entry

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PROFILE = """
models = ["tiny-neo"]
emotions = ["gratitude", "anger"]
heads = ["2:0"]
units = ["top:1"]
ablations = ["zero"]
max_new_tokens = 2
verify = 2
circuit_draws = 1
probe_folds = 2
probe_swaps = 1
steering_doses = [1.0]
steering_heads = 1
steering_prompts = 4
[files.gratitude]
probe_test = "probe_test_gratitude.json"
"""


@pytest.fixture
def results(folder, monkeypatch):
    """Run every experiment of the project on one head of a small model; give the results."""
    for path in EXPERIMENTS.glob("exp_*.py"):
        shutil.copy(path, folder.path)
    (folder.path / "exp_effect.py").unlink()
    folder.write("data/profiles/small.toml", PROFILE)
    for emotion in ("gratitude", "anger"):
        content = pairs(emotion, 100)
        # Bands of circuits take 8 templates.
        found = {pair["template"]: pair for pair in content["pairs"]}
        few = content | {"pairs": list(found.values())[:8]}
        folder.write(f"data/pairs/{emotion}.json", json.dumps(few))
    folder.write("data/probe_test_gratitude.json", json.dumps(pairs(count=6)))
    run = folder.pytest("-k", "gratitude")
    assert run.ret == 0, run.stdout.str()
    monkeypatch.chdir(folder.path)
    return folder.results()


def unknown(names, experiment):
    """Give the names that say nothing, or do not say it in full."""
    found = {name: entry(name, experiment) for name in names}
    return [name for name, one in found.items() if one is None or not is_whole(one)]


def is_whole(one: Entry) -> bool:
    return bool(one.title and one.what and (one.kind != "metric" or (one.unit and one.range)))


def test_every_column_of_every_file_and_frame_has_an_entry(folder, results):
    """Tables, exports, frames of notebooks and settings; a metric that is added has to say what."""
    main(["export", "--profile", "small"])
    main(["compare", "--profile", "small"])
    files = [*results.glob("tables/*.csv"), *results.glob("export/*.csv")]
    frames = emolib.load(results)
    assert set(frames.experiments) == {
        line.removeprefix("def exp_").partition("(")[0]
        for path in EXPERIMENTS.glob("exp_*.py")
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("def exp_")
    }
    names = {name: [*frames.rows(name), *frames.prompts(name)] for name in frames.experiments}
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            names.setdefault(path.stem.removesuffix("_prompts"), []).extend(next(csv.reader(file)))
    assert {"model_comparison"} == names.keys() - set(frames.experiments)
    lacking = {name: found for name, columns in names.items() if (found := unknown(columns, name))}
    seen = {name for columns in names.values() for name in columns}
    assert not lacking, "write them into emolib/results/glossary.toml"
    assert {"test_accuracy", "logit_diff_q", "ablated_text", "recovery", "cpr_log"} <= seen
    # Nothing is told of columns that there are not.
    idle = {one.name for one in entries() if one.kind == "metric" and "<" not in one.name} - seen
    assert idle <= {"prob_mass", "spearman"}

    told = {name for row in folder.rows() for name in row["provenance"]}
    # What a model is and has, the report tells in tables of its own.
    assert not [name for name in told - {"model", "shape"} if not entry(name).what]
