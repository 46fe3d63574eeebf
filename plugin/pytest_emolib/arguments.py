"""What the command line asks for beside the options of emolib, told without importing any of it."""

from __future__ import annotations

import os
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pytest_emolib import options
from pytest_emolib.installed import asks_for_them

_SKIPPED = ("node_modules", "site-packages", "__pycache__")


def expects_experiments(config: pytest.Config) -> bool:
    """Tell whether experiments are asked for."""
    if options.given(config) or asks_for_them(config):
        return True
    patterns = [p for p in config.getini("python_files") if p.startswith("exp_")]
    places = [Path(str(arg).partition("::")[0]) for arg in config.args]
    return any(_leads_to(place, patterns) for place in places)


def _leads_to(place: Path, patterns: Collection[str]) -> bool:
    """Tell whether a path is a file of one of the patterns or a folder with one below it."""

    def fits(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    if not place.is_dir():
        return fits(place.name)
    for _, folders, files in os.walk(place):
        if any(map(fits, files)):
            return True
        folders[:] = [name for name in folders if name[0] != "." and name not in _SKIPPED]
    return False
