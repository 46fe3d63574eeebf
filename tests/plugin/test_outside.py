"""Away from the repository: the wheel in an environment of its own, and emotions as data alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from emolib.results.records import Store

ROOT = Path(__file__).parents[2]
MINE = """
from emolib.interventions import scale


def exp_half(run, head, record):
    record(logit_diff=run(scale(head, 0.5)).logit_diff - run().logit_diff)
"""
JOY = {
    "emotion": "joy",
    "version": 1,
    "pairs": [
        {
            "id": f"joy-{i}",
            "template": f"frame-{i % 3}",
            "prompt": f"{opening} {{slot}} the radio, and then she",
            "emotion": "fixed",
            "neutral": "noticed",
        }
        for i, opening in enumerate(
            ["At home Anna", "In the office Anna", "At school Anna", "In town Anna"]
        )
    ],
}
LEXICON = {"name": "joy", "version": 1, "words": ["smiled", "happy"], "targets": ["smiled"]}


def call(*command, cwd):
    # Else the emolib of this checkout may stand before the wheel's.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel, install it in an empty environment, and give that one's python.

    The dependencies are lent by this environment; emolib itself is the wheel's.
    """
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    call(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place, ROOT, cwd=place)
    venv.create(place / "env", symlinks=True)
    python = place / "env/bin/python"
    wheel = next(place.glob("emolib-*.whl"))
    call(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=place)
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place)
    Path(site.strip(), "lent.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    where = call(python, "-c", "import emolib; print(emolib.__file__)", cwd=place)
    assert Path(where.strip()).is_relative_to(place)
    return python


@pytest.mark.slow
def test_the_wheel_runs_a_folder_with_one_experiment(installed, tmp_path):
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n", encoding="utf-8"
    )
    (tmp_path / "exp_mine.py").write_text(MINE, encoding="utf-8")
    out = call(
        installed,
        "-m",
        "pytest",
        "-k",
        "tiny-neox and gratitude",
        "--head-spec",
        "1:2",
        cwd=tmp_path,
    )
    assert "1 recorded" in out and "written to results/demo" in out
    table = (tmp_path / "results/demo/tables/half.csv").read_text("utf-8")
    name, *_ = table.splitlines()[1].split(",")
    assert name == "exp_mine.py::exp_half[tiny-neox-gratitude-L1H2]"
    (row,) = Store(tmp_path / "results/demo").rows()
    effect = row.values["logit_diff"]
    assert effect["n"] >= 64 and effect["ci"][1] < -1


def test_the_wheel_brings_its_experiments_and_its_command(installed, tmp_path):
    """Without an ini file; rows are the same wherever the package lies."""
    named = "exp_head_ablation and tiny-neox and gratitude and L0H2 and not mean and not resample"
    typed = ["-m", "pytest", "--pyargs", "emolib_experiments", "-k", named]
    assert "1 recorded" in call(installed, *typed, cwd=tmp_path)
    (row,) = Store(tmp_path / "results/demo").rows()
    place = "emolib_experiments/exp_head_ablation.py"
    assert row.item == f"{place}::exp_head_ablation[tiny-neox-gratitude-L0H2]"
    assert row.values["logit_diff"]["n"] >= 64
    # From a folder that the environment is in, and by the name of the module.
    above = installed.parents[2]
    typed[3] = "emolib_experiments.exp_head_ablation"
    again = call(installed, *typed, "-n", "1", f"--results-dir={tmp_path / 'results'}", cwd=above)
    assert "1 items from the store" in again
    command = installed.with_name("emolib")
    assert call(command, "--help", cwd=tmp_path).startswith("usage: emolib [-h]")
    assert "pytest --profile mine" in call(command, "init", "study", cwd=tmp_path)
    assert (tmp_path / "study/exp_first.py").is_file()


def test_a_new_emotion_is_data_alone(folder):
    folder.write("data/pairs/joy.json", json.dumps(JOY))
    folder.write("data/lexicons/joy.json", json.dumps(LEXICON))
    folder.write(
        "data/profiles/small.toml",
        'models = ["tiny-neo"]\nemotions = ["joy"]\nheads = ["2:0"]\nmax_new_tokens = 3\n',
    )
    folder.pytest().stdout.fnmatch_lines(["*tiny-neo*joy*L2H0*", "*1 recorded*"])
    (row,) = folder.rows()
    assert row["item"].endswith("exp_effect[tiny-neo-joy-L2H0]")
    assert row["values"]["logit_diff"]["n"] == 4
