"""The house: imports run one way, nothing heavy loads unasked, and every front door is true."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import pytest_emolib

import emolib

ROOTS = {package.__name__: Path(package.__file__).parent for package in (emolib, pytest_emolib)}
GROUND = {"errors", "lazy", "tracing", "stats"}
TOP = {"training", "commands", "planted", "__main__", "pytest_emolib", "emolib"}
# Wing → what it may import, besides what those may import in their turn. The ground may import
# nothing of the project, but for what a front door is made of; what is on top may import all.
MAY_IMPORT = {
    **{wing: set() for wing in GROUND},
    "stats": {"lazy"},
    "files": GROUND,
    "documents": GROUND,
    "notebook": GROUND,
    "inputs": {"files", "documents", "notebook"},
    "models": {"inputs"},
    "interventions": {"models"},
    "engine": {"interventions"},
    "methods": {"engine"},
    "results": {"inputs", "stats"},
    "reporting": {"results"},
    "launching": {"inputs"},
    **{wing: {"methods", "reporting", "launching", *TOP} for wing in TOP},
}
WINGS = [name for name in sorted(MAY_IMPORT) if (ROOTS["emolib"] / name).is_dir()]


@cache
def _modules() -> dict[str, Path]:
    """Return the file of every module, by its full name."""
    found = {}
    for package, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def _imported(module: str) -> Iterator[tuple[str, int]]:
    """Yield the names of the modules that a module imports at any depth, with the line."""
    for node in ast.walk(ast.parse(_modules()[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import, line {node.lineno}"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                # What is no module is a name in one.
                yield (name if name in _modules() else str(node.module)), node.lineno


def _of_the_house(module: str) -> list[tuple[str, int]]:
    return [(name, line) for name, line in _imported(module) if name.partition(".")[0] in ROOTS]


def _wing(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "emolib" and rest else package


@cache
def _allowed(wing: str) -> set[str]:
    """Return the wings that a wing may import, at any remove, itself among them."""
    found, left = {wing}, [wing]
    while left:
        new = MAY_IMPORT[left.pop()] - found
        found |= new
        left += new
    return found


def test_every_module_has_a_wing():
    assert {_wing(module) for module in _modules()} == set(MAY_IMPORT)


@pytest.mark.parametrize("wing", sorted(MAY_IMPORT))
def test_imports_run_one_way(wing):
    wrong = [
        f"{module}, line {line}: {name}"
        for module in _modules()
        if _wing(module) == wing
        for name, line in _of_the_house(module)
        if _wing(name) not in _allowed(wing)
    ]
    assert not wrong, "\n".join([f"{wing} may import {sorted(_allowed(wing))} alone", *wrong])


def test_no_modules_import_each_other():
    graph = {module: {name for name, _ in _of_the_house(module)} for module in _modules()}
    circles = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            first, second, *_ = circle = error.args[1]
            circles.append(" <- ".join(circle))
            # One import less, so that the next circle shows too.
            graph[second].discard(first)
        else:
            break
    assert not circles, "\n".join(circles)


def test_the_library_does_not_import_pytest():
    found = [
        f"{module}, line {line}: {name}"
        for module in _modules()
        if module.startswith("emolib")
        for name, line in _imported(module)
        if name.partition(".")[0] in ("pytest", "_pytest", "xdist", "pytest_emolib")
    ]
    assert not found, "\n".join(found)


def _loaded_by(*modules: str) -> set[str]:
    """Return the top level names that a fresh python has loaded after importing modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{n.partition('.')[0] for n in sys.modules}})"
    path = os.pathsep.join(str(root.parent) for root in ROOTS.values())
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (["emolib"], {"torch", "transformers", "numpy", "scipy", "matplotlib", "pandas"}),
        ([f"emolib.{wing}" for wing in WINGS], {"torch", "transformers", "numpy", "matplotlib"}),
        (
            [name for name in _modules() if _wing(name) in ("results", "reporting")],
            {"torch", "transformers", "matplotlib", "pandas"},
        ),
        (
            [name for name in _modules() if _wing(name) == "pytest_emolib"],
            {"torch", "transformers", "matplotlib"},
        ),
        (["emolib.results.selection", "emolib.results.baselines"], {"numpy"}),
    ],
    ids=["emolib", "wings", "results and reporting", "the plugin", "rows alone"],
)
def test_nothing_heavy_loads_unasked(modules, heavy):
    assert not _loaded_by(*modules) & heavy


def _handed_on(package: str) -> dict[str, set[str]]:
    """Return the names that a package imports from its modules, by module, for type checkers."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(_modules()[package].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "emolib.lazy"):
            found.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("package", ["emolib", *(f"emolib.{wing}" for wing in WINGS)])
def test_what_a_front_door_hands_on_is_there(package):
    found = importlib.import_module(package)
    told = {name for names in _handed_on(package).values() for name in names}
    public = set(getattr(found, "__all__", ()))
    assert public - {"__version__"} == told
    assert public <= set(dir(found))
    for home, names in _handed_on(package).items():
        for name in names:
            assert getattr(found, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = found.nothing


@pytest.mark.parametrize("wing", WINGS)
def test_a_front_door_names_every_room(wing):
    """By its docstring, where a line begins with the modules that it is about."""
    told = importlib.import_module(f"emolib.{wing}").__doc__ or ""
    listed = {
        name
        for line in re.findall(r"^- (.*?):", told, re.MULTILINE | re.DOTALL)
        for name in re.findall(r"``(\w+)``", line)
    }
    rooms = {path.stem for path in (ROOTS["emolib"] / wing).glob("*.py")}
    rooms |= {path.parent.name for path in (ROOTS["emolib"] / wing).glob("*/__init__.py")}
    assert listed <= rooms
    assert rooms - {"__init__", "__main__"} <= set(re.findall(r"``(\w+)``", told))
