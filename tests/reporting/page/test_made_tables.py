"""q from the tables that a run made: the same numbers, and only while they are of these rows."""

from __future__ import annotations

from functools import partial

import pytest
from made import make_results

from emolib.reporting.page.made_tables import known_q
from emolib.reporting.page.page_parts import PageParts
from emolib.reporting.tables import write_table_of
from emolib.results.records import Store

NAMES = ("head_ablation", "head_patching")


@pytest.fixture
def results(tmp_path):
    """Give results with the tables that a run would have made of them."""
    folder = make_results(tmp_path / "results", ("one",), ("joy",))
    store = Store(folder)
    for name in NAMES:
        rows, whole = partial(store.rows, name), store.whole_rows(name)
        write_table_of(folder / "tables", name, rows, whole)
        store.note_made(name, [folder / "tables" / f"{name}.csv"])
    return folder


def maps_of(folder, run=None):
    parts = PageParts(Store(folder), folder, run, None, None)
    parts.read()
    (grids,) = parts.maps.grids.values()
    return {score.id: grid.told() for score, grid in grids.items()}


def test_the_numbers_are_those_of_the_rows(results):
    first = Store(results)
    assert len(known_q(first, results, "head_ablation")) == 12
    patched = known_q(first, results, "head_patching")
    assert {number for _, number in patched} == {0, 1, 2, 3}
    assert maps_of(results) == maps_of(results, run=first.runs()[0].id)


def test_tables_are_believed_while_they_are_of_the_rows_as_they_are(results):
    path = results / "tables" / "head_ablation.csv"
    store = Store(results)
    lines = path.read_text("utf-8").splitlines()
    place = lines[0].split(",").index("logit_diff_q")
    changed = [line.split(",") for line in lines[1:]]
    for cells in changed:
        cells[place] = "0.5"
    path.write_text("\n".join([lines[0], *map(",".join, changed)]) + "\n")
    # Changed since they were made.
    assert known_q(store, results, "head_ablation") == {}
    store.note_made("head_ablation", [path])
    assert maps_of(results)["head_ablation/zero/logit_diff"]["q"] == [0.5] * 4
    store.append([*store["exp_x.py::exp_head_ablation[one-joy-L1H0-zero]"]])
    store.close()
    assert known_q(Store(results), results, "head_ablation") == {}
