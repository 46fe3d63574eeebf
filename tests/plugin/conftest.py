"""Fixtures of the plugin's tests."""

from __future__ import annotations

import gc
import json
import os

import pytest
from folders import CROSSED, EXPERIMENT, INI, LIGHT, PROFILE, Folder, pairs

import emolib.methods.screening
from emolib.models import loading, sources


@pytest.fixture(scope="session", autouse=True)
def _loaded():
    """Load now what a run inside this process would load, and lose, otherwise."""
    assert emolib.methods.screening
    for name in sources.embedded_names():
        loading.load(sources.find(name))
    # Each run inside collects garbage several times; torch's modules are none of it.
    gc.collect()
    gc.freeze()


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    # Plugins that others have installed take longer to load than most runs here to run.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_emolib")
    made = Folder(pytester, os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"})
    made.write("pytest.ini", INI)
    made.write("exp_effect.py", EXPERIMENT)
    made.write("data/profiles/small.toml", PROFILE)
    made.write("data/pairs/gratitude.json", json.dumps(pairs()))
    return made


@pytest.fixture
def light(folder: Folder) -> Folder:
    """Give two models by two emotions by two heads: eight items that load no torch."""
    folder.write("exp_effect.py", LIGHT)
    folder.write("data/profiles/small.toml", CROSSED)
    folder.write("data/pairs/anger.json", json.dumps(pairs("anger")))
    return folder
