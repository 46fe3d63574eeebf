"""Tables written line by line: what csv itself would write, whatever columns come when."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.reporting.export import CSV
from emolib.reporting.inert import spreadsheet
from emolib.reporting.spool import write_table
from emolib.results.blocks import Block

CELLS = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
NAMES = st.sampled_from(["a", "b", 'c,"', "d\ne", "é"])


@st.composite
def blocks(draw):
    """Give a block: lines that have some values in common and some of their own."""
    count = draw(st.integers(1, 3))
    numbers = draw(st.dictionaries(NAMES, st.lists(st.floats(allow_nan=False), min_size=count,
                                                   max_size=count)))  # fmt: skip
    texts = draw(st.dictionaries(NAMES, st.lists(CELLS, min_size=count, max_size=count)))
    constants = {"item": "x"} | draw(st.dictionaries(NAMES, CELLS))
    return Block(count, constants, texts | numbers, frozenset(numbers))


def inert(value):
    return spreadsheet(value) if isinstance(value, str) else value


def by_csv(made):
    """Give what csv.DictWriter makes of all lines at once."""
    lines = [{n: inert(block.column(n)[i]) for n in block.names} for block in made
             for i in range(block.length)]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(n for line in lines for n in line),
                            lineterminator="\n")  # fmt: skip
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


@given(st.lists(blocks(), min_size=1, max_size=6))
def test_csv_is_what_csv_writes_of_all_lines_at_once(made):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        assert write_table(iter(made), path, CSV)
        found = path.read_bytes().decode()
        assert [file.name for file in path.parent.iterdir()] == ["x.csv"]
    # A carriage return that csv leaves bare ends a line for who reads it.
    rows = list(csv.reader(io.StringIO(found, newline="")))
    if "\r" not in found:
        assert found == by_csv(made)
    assert len(rows) == 1 + sum(block.length for block in made)
    assert {len(row) for row in rows} == {len(rows[0])}


def test_columns_that_come_late_leave_gaps_before_them(tmp_path):
    made = [Block(2, {"item": "x"}, {"a": ["p\nq", 'r"']}), Block(1, {"b": 0.5}, {"a": [None]})]
    write_table(made, tmp_path / "x.csv", CSV)
    assert (tmp_path / "x.csv").read_text("utf-8") == ('item,a,b\nx,"p\nq",\nx,"r""",\n,,0.5\n')


def test_without_lines_nothing_is_written(tmp_path):
    assert not write_table([], tmp_path / "sub/x.csv", CSV)
    assert not list(tmp_path.iterdir())


def test_what_breaks_while_lines_come_leaves_nothing(tmp_path):
    def broken():
        yield Block(1, {"a": 1}, {})
        raise InputError("damaged")

    with pytest.raises(InputError, match=r"^damaged$"):
        write_table(broken(), tmp_path / "x.csv", CSV)
    assert not list(tmp_path.iterdir())


def test_lines_are_not_all_in_memory(tmp_path):
    """A block is made, written and let go of before the next: two are alive at most."""
    import gc
    import weakref

    class Text(str):
        __slots__ = ("__weakref__",)

    alive = []

    def some():
        for _ in range(20):
            text = Text("x" * 100)
            alive.append(weakref.ref(text))
            yield Block(1, {"a": text}, {})
            del text
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 3

    assert write_table(some(), tmp_path / "x.csv", CSV)
