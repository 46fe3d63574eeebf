"""What README and docs show runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from made import make_results

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def blocks(path):
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def experiments(path):
    return [code for code in blocks(path) if re.search(r"^def exp_", code, re.MULTILINE)]


def python(folder, *arguments):
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugin'}", "COLUMNS": "100"}
    for name in [name for name in env if name.startswith("PYTEST_XDIST")]:
        del env[name]
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", [path for path in PAGES if experiments(path)], ids=lambda path: path.stem
)
def test_experiments_that_are_shown_record(path, tmp_path):
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\nfilterwarnings = error\n"
    )
    for number, code in enumerate(experiments(path)):
        (tmp_path / f"exp_shown_{number}.py").write_text(
            code.replace("def exp_", f"def exp_{number}_")
        )
    small = ["--model", "tiny-neo", "--head-spec", "2:0", "--unit-spec", "1:3"]
    done = python(tmp_path, "-m", "pytest", "-q", "-k", "not anger and not apology", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    recorded = int(re.search(r"(\d+) recorded", done.stdout)[1])
    assert recorded >= len(experiments(path)) and "error" not in done.stdout.lower()


def notebooks():
    for path in PAGES:
        for number, code in enumerate(blocks(path)):
            if code.startswith("import emolib\n"):
                yield pytest.param(code, id=f"{path.stem}-{number}")


@pytest.mark.parametrize("code", list(notebooks()))
def test_a_notebook_that_is_shown_runs(code, tmp_path):
    if "emolib.load" in code:
        make_results(tmp_path / "results/demo")
    done = python(tmp_path, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert ("torch.Size([90, " in done.stdout) == ("print(trace.output.shape)" in code)


def test_there_are_both():
    assert sum(len(experiments(path)) for path in PAGES) >= 4 and list(notebooks())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for place, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), place
        if anchor and target.suffix == ".md":
            assert anchor[1:] in _anchors(target), f"{place}{anchor}"


def _anchors(path):
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}
