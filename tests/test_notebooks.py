"""The notebooks of the docs run, and say what they say on their pages."""

from __future__ import annotations

import copy

import pytest
from notebooks import NOTEBOOKS, differences, executed, read

LARGEST = 300_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_is_stored(path):
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    stored = read(path)
    assert differences(stored, executed(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_small_and_executed(path):
    pytest.importorskip("nbformat", reason="nbformat is not installed")
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert path.stat().st_size < LARGEST
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells) and not any(cell.metadata for cell in cells)


def test_a_notebook_that_says_something_else_is_told_of():
    pytest.importorskip("nbformat", reason="nbformat is not installed")
    stored = read(NOTEBOOKS[0])
    fresh = copy.deepcopy(stored)
    assert differences(stored, fresh) == []
    (gap,) = fresh.cells[3].outputs
    gap.data["text/plain"] = str(float(gap.data["text/plain"]) * 1.001)
    assert differences(stored, fresh) == []
    gap.data["text/plain"] = str(float(gap.data["text/plain"]) * 1.1)
    (told,) = differences(stored, fresh)
    assert told.startswith("cell 3: ")
