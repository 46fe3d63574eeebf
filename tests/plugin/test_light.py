"""The plugin costs next to nothing where no experiment runs."""

from __future__ import annotations

import ast
import graphlib
import shutil
from pathlib import Path

import pytest_emolib

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
HEAVY = "{'torch', 'transformers', 'matplotlib', 'scipy', 'numpy', 'emolib'}"


def test_help_loads_nothing_heavy(folder):
    # jaxtyping, which comes with the witness, has a plugin of its own that loads numpy.
    script = (
        "import sys, pytest; pytest.main(['-p', 'no:jaxtyping', '--help']);"
        f"print('LOADED', sorted({HEAVY} & set(sys.modules)))"
    )
    done = folder.python("-c", script)
    assert "--head-spec" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_collecting_loads_no_torch(folder):
    """Unless the experiment itself imports it; the project's own do not."""
    for path in EXPERIMENTS.glob("exp_*.py"):
        shutil.copy(path, folder.path)
    folder.write("exp_effect.py", "def exp_it(run, heads, record): pass")
    script = (
        "import sys, pytest; pytest.main(['--profile', 'small', '--collect-only']);"
        "print('LOADED', sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    done = folder.python("-c", script)
    assert "exp_it[tiny-neo-gratitude-L2H0]" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_library_does_not_know_pytest(folder):
    script = (
        "import importlib, pkgutil, sys, emolib\n"
        "for module in pkgutil.walk_packages(emolib.__path__, 'emolib.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'pytest', '_pytest'}))"
    )
    done = folder.python("-c", script)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_module_imports_in_a_circle():
    """Of the plugin's modules, imports inside functions and for types alone among them."""
    folder = Path(pytest_emolib.__file__).parent
    imports = {}
    for path in folder.glob("*.py"):
        found = imports.setdefault(path.stem, set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_emolib"):
                names = [alias.name for alias in node.names]
                below = node.module.removeprefix("pytest_emolib").strip(".")
                found |= {below} if below else set(names)
    order = graphlib.TopologicalSorter(imports)
    order.prepare()
    assert "session" in imports["fixtures"] and "lab" in imports["session"]
