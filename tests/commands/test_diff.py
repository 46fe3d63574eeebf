"""``emolib diff``: what it prints and writes, and what its exit code says."""

from __future__ import annotations

import json

import pytest
from made import changed
from two_runs import scaled, whole

from emolib import __main__ as command


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    changed(tmp_path / "old", whole)
    changed(tmp_path / "new", scaled(0.5, noise=0.02))
    return ["diff", "old/mine", "new/mine"]


def test_a_table_that_fits(two, capsys):
    assert command.main(two) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["A: old/mine", "B: new/mine"]
    assert out[3].startswith("36 effects in both: 6 drifted") and max(map(len, out)) <= 80
    assert out[4] == "one L1H0: six effects smaller by 50 %"


def test_strict_says_by_its_exit_code_that_something_drifted(two, capsys):
    assert command.main([*two, "--strict"]) == 1
    assert (
        command.main(["diff", "old/mine", "old/source", "--metric", "sentiment", "--strict"]) == 0
    )


def test_json_and_page(two, capsys, tmp_path):
    assert command.main([*two, "--format", "json", "--html", "out/diff.html"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["drifted"] == 6
    assert "Two runs beside each other" in (tmp_path / "out/diff.html").read_text("utf-8")
    assert command.main([*two, "--html", "out/diff.html", "--top-n", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "out/diff.html"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["old/mine", "old/mine"], "ERROR: old/mine and old/mine are the same results; "),
        (["old/mine", "nowhere"], "ERROR: nowhere: no such folder; taken for a run, --run "),
        (["old/mine", "new"], "ERROR: new: no results there, nor any of the profile demo in it; "),
        (["old/mine", "new/mine", "--metric", "x"], "ERROR: old/mine and new/mine have no effect "),
    ],
)
def test_wrong_input_is_one_line(two, capsys, names, message):
    assert command.main(["diff", *names]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1
