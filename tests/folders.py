"""A folder of a user's own to run pytest in, with a small profile and one experiment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data"
INI = """
[pytest]
python_files = exp_*.py
python_functions = exp_*
filterwarnings = error
"""
EXPERIMENT = """
from emolib.interventions import zero


def exp_effect(run, heads, record):
    clean, ablated = run(), run(zero(heads))
    record(logit_diff=ablated.logit_diff - clean.logit_diff)
"""
PROFILE = """
models = ["tiny-neo"]
emotions = ["gratitude"]
heads = ["2:0", "3:1", "0:0,0:1"]
max_new_tokens = 3
verify = 1
"""
# Two models by two emotions, and an experiment that needs no torch, which takes seconds to load.
CROSSED = """
models = ["tiny-neo", "tiny-gpt2"]
emotions = ["gratitude", "anger"]
heads = ["2:0", "0:2"]
ablations = ["zero", "resample"]
max_new_tokens = 3
verify = 1
"""
LIGHT = """
def exp_light(emotion, heads, record):
    record(words=len(emotion.lexicon.words))
"""


@dataclass
class Folder:
    """The folder, and ways to run pytest in it."""

    pytester: pytest.Pytester
    env: dict[str, str]

    @property
    def path(self) -> Path:
        return self.pytester.path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def pytest(self, *args: str) -> pytest.RunResult:
        """Run in this process."""
        return self.pytester.runpytest_inprocess("--profile", "small", *args)

    def interrupted(self, *args: str) -> pytest.RunResult:
        """Run in this process what ends by a KeyboardInterrupt."""
        return self.pytester.runpytest_inprocess("--profile", "small", *args, no_reraise_ctrlc=True)

    def python(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run python in a process of its own."""
        return subprocess.run(
            [sys.executable, *args], cwd=self.path, env=self.env, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "--profile", "small", *args]

    def process(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run in a process of its own."""
        return self.python(*self.command(*args)[1:])

    def results(self, name: str = "") -> Path:
        return self.path / "results" / "small" / name

    def files(self) -> set[str]:
        """Return the files among the results, by their paths in the folder."""
        found = (path for path in self.results().rglob("*") if path.is_file())
        return {path.relative_to(self.results()).as_posix() for path in found}

    def segments(self) -> list[Path]:
        """Return the segments of the store, in order of the runs that wrote them."""
        return sorted(self.results("records").glob("*.jsonl"))

    def rows(self) -> list[dict[str, Any]]:
        """Return every row in the store as plain data, in the order in which they were recorded."""
        return recorded(self.results())


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return every row in a results folder, those of older settings too, as plain data.

    Read here as docs/store.md has it, without the code that wrote it: rows of an item that lack
    the ones after them were not recorded.
    """
    every = []
    for path in sorted((folder / "records").glob("*.jsonl")):
        rows: list[dict[str, Any]] = []
        shared: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            data = json.loads(line)
            if "shared" in data:
                shared[data["shared"]] = data["value"]
            elif "item" in data:
                own = data["provenance"]
                common = shared[own.pop("shared")] if "shared" in own else {}
                data["provenance"] = common | own
                for part in ("texts", "lists"):
                    columns = data[part].items()
                    data[part] = {
                        name: shared[column["shared"]] if isinstance(column, dict) else column
                        for name, column in columns
                    }
                data["pairs"] = shared.get(data["pairs"].get("shared"), data["pairs"])
                rows.append({k: v for k, v in data.items() if k not in ("v", "outline", "crc")})
        counts = Counter(row["key"] for row in rows)
        every += [row for row in rows if counts[row["key"]] >= row["of"]]
    return every


def run_in(path: Path, *args: str) -> tuple[int, str]:
    """Run pytest in this process in a folder; return its exit code and what it printed.

    For fixtures of a module: `Folder` is of one test.
    """
    before = set(sys.modules)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(sys, "path", list(sys.path))
        for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
            patch.delenv(name)
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_emolib")
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = pytest.main(list(args))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(path)):
                del sys.modules[name]
    return int(code), printed.getvalue()


def pairs(emotion: str = "gratitude", count: int = 12) -> dict[str, Any]:
    """Return the content of a pairs file with a few of the project's pairs."""
    data = json.loads((DATA / f"pairs/{emotion}.json").read_text(encoding="utf-8"))
    return data | {"pairs": data["pairs"][:count]}


def rounded(value: Any) -> Any:
    """Give results with their numbers to four digits after the point.

    Runs are computed in batches of those that are left to run, and the rounding of floats depends
    on what is beside them.
    """
    if isinstance(value, float):
        # Adding 0 makes a −0 of rounding a 0.
        return round(value, 4) + 0.0
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return value


def ids(result: pytest.RunResult) -> list[str]:
    """Return the ids in brackets of the items that ``--collect-only -q`` lists."""
    return [line.partition("[")[2][:-1] for line in result.outlines if "::" in line]
