"""Parquet in groups of lines: types of columns, gaps, and the lines of many groups in order."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest

from emolib.errors import InputError
from emolib.reporting import row_groups
from emolib.reporting.row_groups import write_parquet
from emolib.results.blocks import Block


def lines(*made):
    return lambda: (Block(1, line, {}) for line in made)


def test_a_column_of_texts_and_numbers_is_text(tmp_path):
    path = tmp_path / "x.parquet"
    given = lines({"a": "none", "b": 1}, {"a": 1.5, "b": None}, {"a": None}, {"a": "x"})
    assert write_parquet(given, path)
    frame = pd.read_parquet(path)
    assert frame["a"].tolist()[:2] == ["none", "1.5"] and pd.isna(frame["a"][2])
    assert frame["b"][0] == 1 and frame["b"].isna().tolist() == [False, True, True, True]


def test_types_are_those_that_pandas_gives(tmp_path):
    path = tmp_path / "x.parquet"
    made = [
        {"int": 1, "float": 0.5, "both": 1, "gap": 1, "text": "a", "none": None},
        {"int": 2, "float": 1.5, "both": 0.5, "text": "b", "none": None},
    ]
    write_parquet(lines(*made), path)
    frame, expected = pd.read_parquet(path), pd.DataFrame(made)
    pd.testing.assert_frame_equal(frame, expected)


def test_lines_of_many_groups_stay_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "_LINES", 4)
    made = [Block(3, {"item": str(i)}, {"at": range(3), "x": [0.5 * i] * 3}) for i in range(5)]
    path = tmp_path / "x.parquet"
    assert write_parquet(lambda: iter(made), path)
    assert pq.ParquetFile(path).num_row_groups == 3
    frame = pd.read_parquet(path)
    assert frame["item"].tolist() == [str(i) for i in range(5) for _ in range(3)]
    assert frame["at"].tolist() == [0, 1, 2] * 5 and frame["x"].tolist()[-1] == 2.0


def test_without_lines_nothing_is_written(tmp_path):
    assert not write_parquet(lines(), tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/x\.parquet: cannot be written"):
        write_parquet(lines({"a": 1}), tmp_path / "file/x.parquet")
