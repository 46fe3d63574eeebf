"""The project's own experiments where a wheel has installed them, as the package of that name.

``pytest --pyargs emolib_experiments`` runs them from anywhere, without an ini file. Which files and
functions are experiments is then said here, and items are called by the package and not by where it
lies: the rows of one machine are those of another.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest

PACKAGE = "emolib_experiments"


def asks_for_them(config: pytest.Config) -> bool:
    """Tell whether the command line names the package, or a module of it."""
    if not getattr(config.option, "pyargs", False):
        return False
    modules = (str(arg).partition("::")[0] for arg in config.args)
    return any(module.partition(".")[0] == PACKAGE for module in modules)


def expect_them(config: pytest.Config) -> None:
    """Have pytest take their files and functions for tests, where they are asked for."""
    if asks_for_them(config):
        for name, pattern in (("python_files", "exp_*.py"), ("python_functions", "exp_*")):
            if pattern not in config.getini(name):
                config.addinivalue_line(name, pattern)


def module_of(path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Return the module of one of their files, called by the package; None of any other file."""
    if path.parent != _folder() or not asks_for_them(parent.config):
        return None
    made: pytest.Module = pytest.Module.from_parent(
        parent, path=path, nodeid=f"{PACKAGE}/{path.name}"
    )
    return made


@cache
def _folder() -> Path | None:
    """Return where the package is installed; None where it is not."""
    found = importlib.util.find_spec(PACKAGE)
    return Path(found.origin).parent if found and found.origin else None
