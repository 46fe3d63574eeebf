"""The store: nothing written is lost, and what is damaged is named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.results.records import Store
from emolib.results.rows import Row

ADVICE = "restore the file from a copy or move it away to start afresh"


def rows(name, of=1, **changes):
    """Return the rows of one item."""
    row = Row(f"exp_x.py::exp_x[{name}]", "x", f"key-{name}", 0, of, {"model": "m", "heads": name})
    return [replace(row, row=i, values={"n": float(i)}, **changes) for i in range(of)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results/records.jsonl"


def filled(path, *items):
    store = Store(path)
    for item in items:
        store.append(item)
    store.close()
    return path.read_bytes().splitlines(keepends=True)


def said(call):
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def test_reading_rows_loads_no_numpy():
    code = "import sys, emolib.results.records; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The store


def test_what_is_appended_is_there_when_opened_again(path):
    filled(path, rows("b", 2), rows("a"))
    again = Store(path)
    assert again["key-b"] == rows("b", 2) and "key-a" in again and "key-c" not in again
    assert again.rows() == rows("a") + rows("b", 2)
    assert again.repaired is None
    assert len(filled(path, rows("c"))) == 4


def test_rows_are_readable_before_the_store_is_closed(path):
    store = Store(path)
    store.append(rows("a", 2))
    assert Store(path).rows() == store.rows() == rows("a", 2)
    store.close()


def test_an_item_recorded_again_shows_its_latest_rows_and_keeps_the_others(path):
    old, new = rows("a", 2), rows("a", key="other", time="later")
    assert len(filled(path, old, rows("b"), new)) == 4
    store = Store(path)
    assert store.rows() == new + rows("b")
    assert store["key-a"] == old
    # The same key again, as --fresh gives.
    filled(path, [replace(old[0], of=1, time="last")])
    assert [row.time for row in Store(path).rows()] == ["last", ""]


def test_rows_of_an_older_context_are_left_out_of_their_family_alone(path):
    def of(name, context, **dims):
        dims = {"model": "m", "emotion": "joy", "heads": name} | dims
        return rows(name, context=context, dims=dims)

    stale, fresh = of("a", "old"), of("b", "new")
    others = [*of("c", "old", model="n"), *of("d", "old", emotion="fear")]
    item = "exp_x.py::exp_y[e]"
    others += [replace(row, experiment="y", item=item) for row in of("e", "old")]
    filled(path, stale, fresh, *([row] for row in others))
    assert Store(path).rows() == fresh + others


# Torn ends


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_is_cut_off(path, cut):
    lines = filled(path, rows("a"), rows("b"))
    path.write_bytes(b"".join(lines)[:-cut])
    store = Store(path)
    assert store.repaired == (
        f"{path}: its last line was torn (the run was killed while writing); "
        f"cut off {len(lines[1]) - cut} bytes, that item runs again"
    )
    assert path.read_bytes() == b"".join(lines)[:-cut], "reading alone repairs nothing"
    assert "key-a" in store and "key-b" not in store
    store.append(rows("c"))
    store.close()
    assert path.read_bytes().splitlines(keepends=True)[:1] == lines[:1]
    assert Store(path).rows() == rows("a") + rows("c")


@pytest.mark.parametrize("torn", [b"", b'{"v": 1, "ite', b"\xff\xfe"])
def test_an_item_whose_rows_are_not_all_there_is_cut_off(path, torn):
    lines = filled(path, rows("a"), rows("b", 3))
    path.write_bytes(b"".join(lines[:3]) + torn)
    store = Store(path)
    what = "its last line was torn" if torn else "it ends inside an item"
    assert store.repaired == (
        f"{path}: {what} (the run was killed while writing); "
        f"cut off {len(b''.join(lines[1:3]) + torn)} bytes, that item runs again"
    )
    store.open()
    store.close()
    assert path.read_bytes() == lines[0]


@given(st.data())
def test_however_much_is_cut_off_whole_items_stay(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("store") / "records.jsonl"
    items = [rows("a", 2), rows("b"), rows("c", 3)]
    whole = b"".join(filled(path, *items))
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    store = Store(path)
    ends = np.cumsum([sum(len(row.to_json().encode()) + 1 for row in item) for item in items])
    count = sum(kept >= end for end in ends)
    assert store.rows() == [row for item in items[:count] for row in item]
    assert (store.repaired is None) == (kept in (0, *ends))
    store.append(rows("d"))
    store.close()
    assert Store(path).rows() == store.rows() and Store(path).repaired is None


def test_opening_again_cuts_off_nothing_written_since(path):
    lines = filled(path, rows("a"))
    path.write_bytes(lines[0] + b"torn")
    store = Store(path)
    for name in "bcd":
        store.append(rows(name))
        store.close()
    assert Store(path).rows() == store.rows() == [row for name in "abcd" for row in rows(name)]


def test_what_another_run_wrote_between_reading_and_opening_stays(path):
    lines = filled(path, rows("a"))
    path.write_bytes(lines[0] + b"torn")
    early = Store(path)
    filled(path, rows("b"))
    early.append(rows("c"))
    early.close()
    assert Store(path).rows() == early.rows() == rows("a") + rows("b") + rows("c")


# Damage


def damage(line, **changes):
    data = json.loads(line) | changes
    return json.dumps({k: v for k, v in data.items() if v is not ...}).encode() + b"\n"


CASES = {
    "half a line": (lambda line: line[:40] + b"\n", "not JSON"),
    "not UTF-8": (lambda line: b'"\xff"\n', "not JSON"),
    "an empty line": (lambda line: b"\n", "not JSON"),
    "no object": (lambda line: b"[1]\n", "expected a row of version 2"),
    "a later version": (lambda line: damage(line, v=3), "expected a row of version 2"),
    "no version": (lambda line: damage(line, v=...), "expected a row of version 2"),
    "keys": (
        lambda line: damage(line, key=..., of=..., extra=1),
        "not a row (no key, of; unknown extra)",
    ),
    "types": (
        lambda line: damage(line, row="1", dims=None),
        "not a row (row is str, not int; dims is NoneType, not dict)",
    ),
    "a line missing before it": (
        lambda line: damage(line, row=2),
        "expected row 1 of exp_x.py::exp_x[b], got row 2 of exp_x.py::exp_x[b]: a line is missing",
    ),
    "another item's": (
        lambda line: damage(line, item="c", key="key-c"),
        "expected row 1 of exp_x.py::exp_x[b], got row 1 of c: a line is missing",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_damage_in_the_middle_names_the_line_and_leaves_the_file(path, name):
    change, message = CASES[name]
    lines = filled(path, rows("a"), rows("b", 2), rows("c"))
    path.write_bytes(lines[0] + lines[1] + change(lines[2]) + lines[3])
    damaged = path.read_bytes()
    assert said(lambda: Store(path)) == f"{path}: line 3: {message}; {ADVICE}"
    assert path.read_bytes() == damaged


def test_an_item_that_begins_in_the_middle_is_damage(path):
    lines = filled(path, rows("a", 2))
    path.write_bytes(lines[1])
    assert said(lambda: Store(path)) == (
        f"{path}: line 1: expected row 0 of an item, got row 1 of exp_x.py::exp_x[a]: a line is "
        f"missing; {ADVICE}"
    )


@pytest.mark.parametrize("field", [field.name for field in fields(Row)])
@pytest.mark.parametrize("value", [None, [1]])
def test_every_field_has_its_type(path, field, value):
    (line,) = filled(path, rows("a"))
    path.write_bytes(damage(line, **{field: value}))
    assert f"{path}: line 1: not a row ({field} is " in said(lambda: Store(path))


# Writers


HOLD = """
import sys
from pathlib import Path
from emolib.results.records import Store
from emolib.results.rows import VERSION
store = Store(Path(sys.argv[1]))
store.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_one_writer_at_a_time(path):
    filled(path, rows("a"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline() == b"open\n"
        store = Store(path)
        expected = (
            f"{path}: another run is writing to it; wait for it, or choose another folder with "
            "--results-dir"
        )
        assert said(store.check_free) == said(store.open) == expected
        assert said(lambda: store.append(rows("b"))) == expected
        assert store.rows() == rows("a") and "key-b" not in store
        other.communicate()
    store.check_free()
    store.append(rows("b"))
    store.close()
    assert Store(path).rows() == rows("a") + rows("b")


def test_checking_a_store_that_is_not_there_makes_none(path):
    Store(path).check_free()
    assert Store(path).rows() == [] and not path.parent.exists()


@pytest.mark.parametrize(("make", "reason"), [("file", "File exists"), ("dir", "Is a directory")])
def test_a_folder_that_cannot_be_written(path, make, reason):
    if make == "file":
        path.parent.write_text("in the way")
    else:
        path.mkdir(parents=True)
    obstacle = path if make == "dir" else path.parent
    assert said(lambda: Store(path).append(rows("a"))) == (
        f"{obstacle}: cannot be written ({reason}); choose another folder with --results-dir"
    )
