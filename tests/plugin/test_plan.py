"""``--plan``: what would run and what it costs, and nothing is run."""

from __future__ import annotations

import json
import re

import pytest

ABLATION = """
def exp_ablation(run, heads, ablation, record):
    clean, ablated = run(), run(ablation(heads))
    record(logit_diff=ablated.logit_diff - clean.logit_diff, text=ablated.texts)


def exp_patching(patched, heads, record):
    for case in patched(heads, ["last"]):
        record(logit_diff=case.run.logit_diff)


def exp_screening(screening, head, record):
    record(**screening.of(head))


def exp_nothing(record):
    record(a=1)
"""


def table(result):
    """Give the table's rows by model, as {column: text}."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if line.startswith("model "))
    names = lines[start].split()
    rows = {}
    for line in lines[start + 2 :]:
        cells = line.split()
        if len(cells) != len(names):
            break
        rows[cells[0]] = dict(zip(names, cells, strict=True))
    return rows


@pytest.fixture
def planned(folder):
    folder.write("exp_effect.py", ABLATION)
    return folder


def test_a_plan_runs_nothing_and_writes_nothing(planned):
    result = planned.pytest("--plan")
    assert result.ret == 0
    row = table(result)["tiny-neo"]
    # Three head sets twice, four heads one by one, whose scores need the clean runs and more.
    assert (row["items"], row["stored"]) == ("10", "0")
    assert float(row["GFLOP"]) > 0 and float(row["MB"]) > 1 and int(row["batches"]) > 5
    result.stdout.fnmatch_lines(["1 items that run on no model are not counted"])
    assert not planned.results().exists()


def test_the_rows_are_those_that_are_then_computed(planned, monkeypatch):
    """Of ablation: a clean run of each side's logits and texts, and each item's own."""
    result = planned.pytest("--plan", "-k", "ablation")
    # Two clean runs, three ablations, their three texts.
    assert table(result)["tiny-neo"]["rows"] == "8"
    planned.pytest("-k", "ablation")
    again = planned.pytest("--plan", "-k", "ablation")
    row = table(again)["tiny-neo"]
    assert (row["items"], row["stored"], row["rows"], row["batches"]) == ("3", "3", "0", "0")
    fresh = planned.pytest("--plan", "--fresh", "-k", "ablation")
    assert table(fresh)["tiny-neo"]["rows"] == "8"


def test_a_plan_with_workers_tells_of_them(planned):
    result = planned.pytest("--plan", "-n", "2")
    assert result.ret == 0 and table(result)["tiny-neo"]["items"] == "10"
    assert any(re.match(r"with -n 2: about \d+ s", line) for line in result.outlines)


def test_a_plan_of_free_prompts_and_of_bad_input(planned):
    for name, texts in (
        ("e", ["Thank you for", "I am glad"]),
        ("n", ["The table", "They went"]),
    ):
        planned.write(f"{name}.json", json.dumps({"prompts": texts}))
    free = ["--emotion-prompts", "e.json", "--neutral-prompts", "n.json", "-k", "ablation"]
    assert table(planned.pytest("--plan", *free))["tiny-neo"]["items"] == "3"
    wrong = planned.pytest("--plan", "--head-spec", "9:9")
    assert wrong.ret == 4
    wrong.stderr.fnmatch_lines(["*9:9*"])
