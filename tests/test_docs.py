"""What README and docs show runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from made import make_results

# Runs inside this process forget what they import, and what has compiled parts is loaded once.
import emolib.methods.screening
import emolib.methods.steering
import emolib.results.frames  # noqa: F401
from emolib.results.records import Store
from emolib.results.rows import Row

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def blocks(path):
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def experiments(path):
    return [code for code in blocks(path) if re.search(r"^def exp_", code, re.MULTILINE)]


@pytest.mark.parametrize(
    "path", [path for path in PAGES if experiments(path)], ids=lambda path: path.stem
)
def test_experiments_that_are_shown_record(path, pytester, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    pytester.makeini(
        "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\nfilterwarnings = error\n"
    )
    for number, code in enumerate(experiments(path)):
        (pytester.path / f"exp_shown_{number}.py").write_text(
            code.replace("def exp_", f"def exp_{number}_")
        )
    small = ["--model", "tiny-neo", "--head-spec", "2:0", "--unit-spec", "1:3"]
    done = pytester.runpytest_inprocess("-q", "-k", "not anger and not apology", *small)
    printed = done.stdout.str()
    assert done.ret == 0, printed + done.stderr.str()
    recorded = int(re.search(r"(\d+) recorded", printed)[1])
    assert recorded >= len(experiments(path)) and "error" not in printed.lower()


def notebooks():
    for path in PAGES:
        for number, code in enumerate(blocks(path)):
            if code.startswith("import emolib\n"):
                yield pytest.param(code, id=f"{path.stem}-{number}")


@pytest.mark.parametrize("code", list(notebooks()))
def test_a_notebook_that_is_shown_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "emolib.load" in code:
        make_results(tmp_path / "results/demo")
    exec(compile(code, "notebook", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert ("torch.Size([90, " in printed) == ("print(trace.output.shape)" in code)


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


def test_the_store_is_read_as_its_page_has_it(tmp_path, monkeypatch, capsys):
    """By the few lines of the page alone, and by those that use the library."""
    by_hand, by_library = blocks(ROOT / "docs/store.md")
    store = Store(make_results(tmp_path / "results/demo", models=("one",)))
    (path,) = (store.folder / "records").glob("*.jsonl")
    named = re.search(r'Path\("(.*?)"\)', by_hand)[1]
    found: dict[str, list] = {}
    exec(by_hand.replace(named, str(path)), found)
    rows = [
        Row(**{name: part for name, part in row.items() if name not in ("v", "outline", "crc")})
        for row in found["rows"]
    ]
    assert rows == [row for key in store for row in store[key]]
    monkeypatch.chdir(tmp_path)
    exec(by_library, {})
    assert "exp_head_ablation[one-joy-L1H0-zero]" in capsys.readouterr().out
