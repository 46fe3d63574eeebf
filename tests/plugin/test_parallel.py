"""``-n 2``: the same rows, files and ids as serial, metrics of one's own among them."""

from __future__ import annotations

import json
import re
import shutil

import pytest

FULL = """
import pytest
from emolib.interventions import zero


@pytest.mark.results("patching/{model}_{emotion}_{heads}{variant}.json")
def exp_ablation(run, heads, ablation, record):
    clean, ablated = run(), run(ablation(heads))
    record(
        logit_diff=ablated.logit_diff - clean.logit_diff,
        sentiment=ablated.sentiment,
        **ablated.own_metrics(clean),
        text=ablated.texts,
    )


@pytest.mark.results("units/{model}_{emotion}_{units}.json")
def exp_units(run, units, matched_units, record):
    clean, ablated, random = run(), run(zero(units)), run(zero(matched_units))
    record(
        logit_diff=ablated.logit_diff - clean.logit_diff,
        random=random.logit_diff - clean.logit_diff,
        random_units=str(matched_units),
        text=ablated.texts,
    )


def exp_unit_screening(unit_screening, record):
    for row in unit_screening.top[:3]:
        record(**row)


@pytest.mark.results("alignment/head_scores_{model}.json", shape="scores")
def exp_screening(screening, head, record):
    record(**screening.of(head))
"""


METRIC = """
import emolib


@emolib.metric
def entropy(logits):
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
"""


@pytest.fixture
def full(light):
    light.write("exp_effect.py", FULL)
    light.write("conftest.py", METRIC)
    return light


def files(folder):
    """Return results files without times and runs, the order of the store and unit screening."""
    found = {}
    for path in sorted(folder.results().rglob("*")):
        if path.is_file() and path.stem != "unit_screening" and path.parent.name != "records":
            text = re.sub(r'"(time|run)": "[^"]*"', r'"\1": ""', path.read_text("utf-8"))
            found[str(path.relative_to(folder.results()))] = text
    rows = [
        row | {"time": "", "provenance": row["provenance"] | {"run": ""}}
        for row in folder.rows()
        if row["experiment"] != "unit_screening"
    ]
    return found | {"records": sorted(map(json.dumps, rows))}


# Heads of both models and emotions, units of one.
ALL = ("--unit-spec", "top:1", "--unit-spec", "2:5,3:7", "-k", "not unit or tiny-neo-gratitude")


def screened(folder):
    """Return the rows of unit screening; what they are computed beside is in their rounding."""
    return [row for row in folder.rows() if row["experiment"] == "unit_screening"]


def test_rows_and_files_are_those_of_a_serial_run(full):
    full.pytest(*ALL).stdout.fnmatch_lines(["*27 recorded*"])
    serial, units = files(full), screened(full)
    shutil.rmtree(full.results())
    parallel = full.pytest("-n", "2", *ALL).stdout
    parallel.fnmatch_lines(["*27 recorded*"])
    parallel.no_fnmatch_line("*@*")
    assert files(full) == serial
    assert len(serial) == 1 + 16 + 2 + 2 + 6
    for row, expected in zip(screened(full), units, strict=True):
        assert all(row[part] == expected[part] for part in ("key", "dims", "labels", "texts"))
        assert row["vectors"].keys() == expected["vectors"].keys() != set()
        for name, vector in expected["vectors"].items():
            assert row["vectors"][name] == pytest.approx(vector, abs=1e-4), name
    assert any("entropy" in json.loads(line)["vectors"] for line in serial["records"])
    kinds = {json.loads(line)["experiment"] for line in serial["records"]}
    assert kinds == {"ablation", "screening", "units"}


def test_a_serial_run_goes_on_from_a_parallel_one(light):
    light.pytest("-n", "2", "-k", "tiny-neo")
    light.pytest().stdout.fnmatch_lines(["*4 items from the store*", "*8 recorded*"])


def test_stored_items_are_recorded_in_workers_too(light):
    light.pytest("-k", "gratitude")
    light.pytest("-n", "2", "-v").stdout.fnmatch_lines(["*RECORDED*", "*8 recorded*"])
    assert len(light.rows()) == 8


def test_errors_in_workers_have_their_traceback(light):
    light.write("exp_effect.py", "def exp_it(emotion, heads, record): raise KeyError('no such')")
    done = light.process("-n", "2")
    assert "KeyError: 'no such'" in done.stdout and "8 errors" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_wrong_marker_fails_every_item_of_the_workers(light):
    light.write(
        "exp_effect.py",
        "import pytest\n\n@pytest.mark.results('../x.json')\ndef exp_it(record): record(n=1)\n",
    )
    done = light.pytest("-n", "2")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*exp_it: results marker: expected a relative path to a file*"])
    done.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert light.rows() == [] and light.files() == {"records/lock"}
