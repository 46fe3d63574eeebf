"""What README and docs show runs."""

from __future__ import annotations

import os
import re

import pages
import pytest
import yaml
from made import make_results
from pages import PAGES, ROOT

# Runs inside this process forget what they import, and what has compiled parts is loaded once.
import emolib.methods.screening
import emolib.methods.steering
import emolib.results.frames  # noqa: F401
from emolib.results.records import Store
from emolib.results.rows import Row

SITE = ROOT / ".ci/mkdocs.yml"
# What a translation shows is the same but for words, which another test holds it to.
RUN = [path for path in PAGES if not re.search(r"README\.\w+\.md", path.name)]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def named(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    return [block.text for block in pages.blocks(path) if block.kind == "python"]


def experiments(path):
    return [code for code in blocks(path) if re.search(r"^def exp_", code, re.MULTILINE)]


@pytest.mark.parametrize("path", [path for path in RUN if experiments(path)], ids=named)
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
    for path in RUN:
        for number, code in enumerate(blocks(path)):
            if code.startswith("import emolib\n") or "save_planted(" in code:
                yield pytest.param(code, id=f"{named(path)}-{number}")


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


LINES = re.compile(r"(?:from emolib\S* import .*\n|\n)*(?:run\(.*\n)+")
"""Lines of an experiment, behind what they import."""
MARKER = re.compile(r"@pytest\.mark\.\w+\(.*\)\n")
"""A marker alone: its own tests run it."""


def lines_of_experiments():
    for path in RUN:
        for number, code in enumerate(blocks(path)):
            if LINES.fullmatch(code):
                yield pytest.param(code, id=f"{named(path)}-{number}")


@pytest.mark.parametrize("code", list(lines_of_experiments()))
def test_lines_of_an_experiment_run(code, pytester, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    plain = re.sub(r"  #.*", "", code)
    asked = ", ".join(sorted(set(re.findall(r"\b(?:heads?|units|study)\b", plain))))
    # What a run says is read, or nothing would run.
    lines = re.sub(r"^(run\(.*)$", r"    \1.logit_diff", plain, flags=re.MULTILINE)
    imports, first, others = lines.partition("    run(")
    pytester.makeini("[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n")
    (pytester.path / "exp_lines.py").write_text(
        f"{imports}def exp_lines(run, record, {asked}):\n{first}{others}    record(done=1)\n"
    )
    small = ["--model", "tiny-neo", "--head-spec", "2:0", "-k", "gratitude", "--unit-spec", "1:3"]
    done = pytester.runpytest_inprocess("-q", *small)
    assert done.ret == 0 and "1 recorded" in done.stdout.str(), done.stdout.str()


def test_every_block_of_python_runs_or_is_a_marker():
    run = [code.values[0] for code in (*notebooks(), *lines_of_experiments())]
    run += [code for path in RUN for code in experiments(path)]
    left = {
        f"{named(path)}: {code.splitlines()[0]}"
        for path in RUN
        for code in blocks(path)
        if code not in run and not MARKER.fullmatch(code) and path.name != "store.md"
    }
    assert left == set()


def _nav(part):
    """Return the pages that a nav names, in order."""
    if isinstance(part, str):
        return [part]
    parts = part.values() if isinstance(part, dict) else part
    return [page for below in parts for page in _nav(below)]


def test_the_site_has_every_page_once():
    # Without the functions of Python that it names.
    plain = re.sub(r"!!python/\S+", "", SITE.read_text(encoding="utf-8"))
    told = _nav(yaml.safe_load(plain)["nav"])
    there = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("**/*.md")]
    assert sorted(told) == sorted(there)


def test_the_reference_has_every_wing():
    wings = {path.parent.name for path in (ROOT / "emolib").glob("*/__init__.py")}
    told = {
        name
        for path in (ROOT / "docs/reference").glob("*.md")
        for name in re.findall(r"^::: emolib\.(\w+)$", path.read_text(), re.MULTILINE)
    }
    assert wings - told == {"commands", "training"}


@pytest.mark.parametrize("path", PAGES, ids=named)
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
