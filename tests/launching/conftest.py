"""A folder with an experiment of a few items to launch, on a machine or several."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from emolib.results.records import Store

ROOT = Path(__file__).parents[2]
INI = "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\nfilterwarnings = error\n"
PROFILE = """
models = ["tiny-neo", "tiny-gpt2"]
emotions = ["gratitude", "anger"]
heads = ["2:0", "0:2"]
max_new_tokens = 3
"""
LIGHT = """
def exp_light(emotion, heads, record):
    record(words=len(emotion.lexicon.words))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a folder to launch runs in, eight items that load no torch, and be there."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_emolib")
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = dict.fromkeys([str(ROOT), str(ROOT / "plugin"), *filter(None, before)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "exp_light.py").write_text(LIGHT)
    profile = tmp_path / "data/profiles/small.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(PROFILE)
    for emotion in ("gratitude", "anger"):
        pairs = json.loads((ROOT / f"data/pairs/{emotion}.json").read_text("utf-8"))
        made = tmp_path / f"data/pairs/{emotion}.json"
        made.parent.mkdir(exist_ok=True)
        made.write_text(json.dumps(pairs | {"pairs": pairs["pairs"][:12]}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rows_of():
    """Give the function from a results folder to all rows that were recorded there."""

    def read(results):
        store = Store(results)
        return [row for key in store for row in store[key]]

    return read
