"""The table of runs."""

from __future__ import annotations

import pytest

from emolib.errors import InputError
from emolib.reporting.runs import runs
from emolib.results.records import Store
from emolib.results.rows import Row


def run(folder, name, **about):
    store = Store(folder)
    shard = about.pop("shard", None)
    store.open(shard=shard, about=lambda: about)
    store.append([Row(f"exp_x.py::exp_x[{name}]", "x", name, 0, 1, {"h": name})])
    store.close()


def test_a_line_has_what_was_run_and_in_what_it_differs(tmp_path):
    settings = {"seed": 0, "heads": ["2:0", "3:1"], "position": "last"}
    run(tmp_path, "a", command="pytest x", commit="abc+", settings=settings)
    run(tmp_path, "b", command="pytest y", commit="def", settings=settings | {"seed": 1})
    run(tmp_path, "c", command="pytest z", settings=settings | {"heads": ["2:0"]})
    first, second, third = runs(tmp_path)
    assert list(first) == [
        "run", "started", "ended", "command", "items", "replayed", "settings", "commit"
    ]  # fmt: skip
    assert first["started"] <= first["ended"] and " " in first["started"]
    assert (first["command"], first["items"], first["replayed"]) == ("pytest x", 1, 0)
    assert [line["settings"] for line in (first, second, third)] == [
        "seed=0, heads=2:0+3:1", "seed=1, heads=2:0+3:1", "seed=0, heads=2:0"
    ]  # fmt: skip
    assert [line["commit"] for line in (first, second, third)] == ["abc+", "def", ""]


def test_settings_in_which_runs_agree_are_not_shown(tmp_path):
    for name in "ab":
        run(tmp_path, name, settings={"seed": 0})
    assert [line["settings"] for line in runs(tmp_path)] == ["", ""]


def test_shards_are_told_where_there_are_some(tmp_path):
    run(tmp_path, "a", shard="1/2")
    run(tmp_path, "b")
    assert [line["shard"] for line in runs(tmp_path)] == ["1/2", ""]


def test_no_runs_is_one_line(tmp_path):
    with pytest.raises(InputError, match="records: no runs; run `pytest experiments` first"):
        runs(tmp_path)
