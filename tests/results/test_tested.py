"""Tests of rows, from a table that has them or computed: the same, and never another table's."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from made import around, make_results, resamples, rows_of

import emolib.results.chances
from emolib.reporting.tables import write_table_of
from emolib.results.chances import columns
from emolib.results.records import Store
from emolib.results.tested import tested


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Give a folder without tables, and what is computed of its ablations."""
    folder = make_results(tmp_path_factory.mktemp("results"), ("one",), ("joy",))
    with resamples(1000):
        return folder, columns(Store(folder).whole_rows("head_ablation"))


def table(folder, experiment="head_ablation"):
    """Write the table of an experiment as a run does, and give its path."""
    store = Store(folder)
    with resamples(1000):
        rows = list(store.whole_rows(experiment))
        write_table_of(folder / "tables", experiment, rows.__iter__, rows)
    return folder / f"tables/{experiment}.csv"


@pytest.fixture
def folder(computed, tmp_path):
    """Give a folder of one's own with a table."""
    make_results(tmp_path, ("one",), ("joy",))
    table(tmp_path)
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """Give the list of what was computed, to which every computation adds."""
    made = []

    def counting(rows):
        made.append(1)
        with resamples(1000):
            return columns(rows)

    monkeypatch.setattr(emolib.results.chances, "columns", counting)
    return made


def test_a_table_says_what_would_be_computed(computed, folder, counted):
    assert tested(Store(folder), "head_ablation") == computed[1] and not counted
    assert tested(Store(computed[0]), "head_ablation") == computed[1] and counted == [1]


def test_a_run_that_the_table_is_of_is_read_from_it(folder, counted):
    (run,) = Store(folder).runs()
    found = tested(Store(folder), "head_ablation", run=run.id)
    assert found == tested(Store(folder), "head_ablation") and not counted


def _edited(path, change):
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    lines = change(lines)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def _without(lines, name):
    return [{key: cell for key, cell in line.items() if key != name} for line in lines]


CHANGES = {
    "fewer rows": lambda lines: lines[:-1],
    "more rows": lambda lines: [*lines, lines[-1]],
    "another order": lambda lines: lines[::-1],
    "another mean": lambda lines: [lines[0] | {"logit_diff": "0.5"}, *lines[1:]],
    "another interval": lambda lines: [lines[0] | {"logit_diff_ci_low": "0.5"}, *lines[1:]],
    "no max-T": lambda lines: _without(lines, "logit_diff_max_t_hall"),
    "no bootstrap-t": lambda lines: _without(lines, "logit_diff_ci_t_high"),
    "no d_z": lambda lines: _without(lines, "logit_diff_d_z"),
    "no p": lambda lines: [line | {"logit_diff_p": "much"} for line in lines],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_table_is_not_believed(computed, folder, counted, change):
    _edited(folder / "tables/head_ablation.csv", change)
    assert tested(Store(folder), "head_ablation") == computed[1] and counted == [1]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"item\n", b'item,x_ci_t_high\n"'])
def test_a_broken_table_is_not_believed(computed, folder, counted, content):
    (folder / "tables/head_ablation.csv").write_bytes(content)
    assert tested(Store(folder), "head_ablation") == computed[1] and counted == [1]


def test_a_table_without_tests_is_of_rows_that_have_none(tmp_path, counted):
    """What ranks chose has the interval alone; a table that lacks more is another one."""
    store = Store(tmp_path)
    (row,) = rows_of("paths", {"effect": around(1.0)}, sender="L0H0")
    store.append([replace(row, dims={"model": "one"})])
    store.close()
    table(tmp_path, "paths")
    counted.clear()
    (found,) = tested(Store(tmp_path), "paths").values()
    assert list(found) == ["effect_ci_t_low", "effect_ci_t_high"] and not counted
    store = Store(tmp_path)
    store.append(rows_of("named", {"effect": around(1.0)}, heads="L0H0"))
    store.close()
    named = table(tmp_path, "named")
    counted.clear()
    _edited(named, lambda lines: [
        {key: cell for key, cell in line.items()
         if key.rpartition("effect")[2] not in ("_p", "_q", "_max_t", "_max_t_hall")}
        for line in lines
    ])  # fmt: skip
    assert len(*tested(Store(tmp_path), "named").values()) == 6 and counted == [1]


def test_rows_without_values_per_prompt_have_nothing(tmp_path):
    store = Store(tmp_path)
    store.append(rows_of("it", {"rank": 1}, heads="L0H0"))
    store.close()
    assert tested(store, "it") == {}
