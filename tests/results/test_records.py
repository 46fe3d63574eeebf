"""The store: nothing written is lost, and what is damaged is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import RECORDS

BEGIN = b'{"v"'
ADVICE = "restore the file from a copy or move it away to start afresh"


def rows(name, of=1, **changes):
    """Return the rows of one item."""
    row = Row(f"exp_x.py::exp_x[{name}]", "x", f"key-{name}", 0, of, {"model": "m", "heads": name})
    return [replace(row, row=i, values={"n": float(i)}, **changes) for i in range(of)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


def filled(folder, *items):
    """Record items as a run of their own, and return its segment."""
    store = Store(folder)
    for item in items:
        store.append(item)
    store.close()
    return folder / RECORDS / f"{store.run}.jsonl"


def killed(folder, *items):
    """Record items as a run that is killed, and return its segment."""
    path = filled(folder, *items)
    *lines, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines))
    return path


def shown(folder, **asked):
    return list(Store(folder).rows(**asked))


def said(call):
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def test_reading_rows_loads_no_numpy():
    code = "import sys, emolib.results.records; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The store


def test_what_is_appended_is_there_when_opened_again(folder):
    filled(folder, rows("b", 2), rows("a"))
    again = Store(folder)
    assert again["key-b"] == rows("b", 2) and "key-a" in again and "key-c" not in again
    assert list(again.rows()) == rows("a") + rows("b", 2)
    assert again.repaired is None and len(again) == 2 and list(again) == ["key-b", "key-a"]
    before = filled(folder, rows("c"))
    assert len(list((folder / RECORDS).glob("*.jsonl"))) == 2 and before.is_file()


@pytest.mark.parametrize("ask", ["__getitem__", "outline"])
def test_an_item_that_is_not_there_is_a_key_error(folder, ask):
    for _ in range(2):
        with pytest.raises(KeyError):
            getattr(Store(folder), ask)("key-b")
        filled(folder, rows("a"))


def test_rows_are_readable_before_the_store_is_closed(folder):
    store = Store(folder)
    store.append(rows("a", 2))
    assert shown(folder) == list(store.rows()) == rows("a", 2)
    # What another has read of this run's segment is not read twice.
    store.append(rows("b"))
    assert shown(folder) == list(store.rows()) == rows("a", 2) + rows("b")
    store.close()


def test_an_item_recorded_again_shows_its_latest_rows_and_keeps_the_others(folder):
    old, new = rows("a", 2), rows("a", key="other", time="later")
    filled(folder, old, rows("b"), new)
    store = Store(folder)
    assert list(store.rows()) == new + rows("b")
    assert store["key-a"] == old
    # The same key again, as --fresh gives.
    filled(folder, [replace(old[0], of=1, time="last")])
    assert [row.time for row in shown(folder)] == ["last", ""]


def test_rows_of_an_older_context_are_left_out_of_their_family_alone(folder):
    def of(name, context, **dims):
        dims = {"model": "m", "emotion": "joy", "heads": name} | dims
        return rows(name, context=context, dims=dims)

    stale, fresh = of("a", "old"), of("b", "new")
    others = [*of("c", "old", model="n"), *of("d", "old", emotion="fear")]
    item = "exp_x.py::exp_y[e]"
    others += [replace(row, experiment="y", item=item) for row in of("e", "old")]
    filled(folder, stale, fresh, *([row] for row in others))
    assert shown(folder) == fresh + others
    assert Store(folder).experiments() == ["x", "y"]
    assert shown(folder, experiment="y") == others[-1:]
    assert list(Store(folder).whole_rows("y")) == others[-1:]


def test_of_functions_of_one_name_the_one_that_ran_last_is_shown(folder):
    other = [replace(row, item="exp_b.py::exp_x[a]", key="k") for row in rows("a")]
    filled(folder, rows("a"), other)
    assert shown(folder) == other
    filled(folder, rows("c"))
    assert shown(folder) == rows("a") + rows("c")


# Runs


def test_a_run_is_what_it_recorded_and_what_it_took_from_the_store(folder):
    filled(folder, rows("a", context="old"), rows("b", context="old"))
    again = Store(folder)
    again.append(rows("c", context="new"))
    again.touch("key-a")
    assert list(again.rows(run=again.run)) == rows("a", context="old")
    assert list(again.rows()) == rows("a", context="old") + rows("b", context="old")
    again.append(rows("d", context="new"))
    again.close()
    first, second = Store(folder).runs()
    assert (first.items, first.replayed) == (2, 0) and (second.items, second.replayed) == (2, 1)
    assert first.started <= first.ended <= second.started <= second.ended
    assert shown(folder, run=first.id) == rows("a", context="old") + rows("b", context="old")
    assert (
        shown(folder)
        == shown(folder, run=second.id)
        == rows("c", context="new") + rows("d", context="new")
    )
    assert list(Store(folder).whole_rows("x", run=first.id)) == shown(folder, run=first.id)
    assert Store(folder).experiments(run=first.id) == ["x"]


def test_a_replayed_item_is_shown_as_it_was_then(folder):
    filled(folder, rows("a", time="1"))
    replaying = Store(folder)
    replaying.touch("key-a")
    replaying.close()
    filled(folder, rows("a", time="2"))
    assert [row.time for row in shown(folder, run=replaying.run)] == ["1"]
    assert [row.time for row in shown(folder)] == ["2"]


def test_going_back_to_stored_rows_makes_their_context_the_last(folder):
    filled(folder, rows("a", context="1"))
    filled(folder, rows("b", context="2"))
    assert shown(folder) == rows("b", context="2")
    for name, context in (("a", "1"), ("b", "2"), ("a", "1")):
        store = Store(folder)
        store.touch(f"key-{name}")
        store.close()
        assert shown(folder) == rows(name, context=context)
        (folder / RECORDS / "index.sqlite").unlink()
        assert shown(folder) == rows(name, context=context)
    assert len(Store(folder)) == 2


def test_a_segment_that_comes_later_and_is_older_is_put_in_its_place(folder, tmp_path):
    """As when results of several machines are brought together."""
    first = filled(folder, rows("a", context="1"))
    filled(folder, rows("b", context="2"))
    last = Store(folder)
    last.touch("key-a")
    last.close()
    away = first.rename(tmp_path / "away")
    assert shown(folder) == rows("b", context="2")
    away.rename(first)
    assert shown(folder) == shown(folder, run=last.run) == rows("a", context="1")


def test_what_is_told_of_a_run_stands_in_its_segment(folder):
    store = Store(folder)
    about = {"command": "pytest x", "settings": {"seed": 1}, "commit": "c+"}
    store.open(shard="2/3", about=lambda: about)
    store.append(rows("a"))
    (run,) = Store(folder).runs()
    assert (run.command, run.settings, run.commit, run.shard) == (
        "pytest x",
        {"seed": 1},
        "c+",
        "2/3",
    )
    assert run.id == store.run and run.ended == "" and run.host and run.items == 1
    store.close()
    assert Store(folder).runs()[0].ended >= run.started


def test_a_run_is_found_by_how_its_id_begins(folder):
    ids = [filled(folder, rows(name)).stem for name in "ab"]
    store = Store(folder)
    assert store.find(ids[1]).id == store.find(ids[1][:-1]).id == ids[1]
    assert list(store.rows(run=ids[0][:-2])) == rows("a")
    expected = f"expected the id of a run in {folder}/records, or how it begins, but"
    advice = "`python -m emolib runs` lists them"
    assert said(lambda: store.find("2")) == f"--run 2: {expected} 2 runs begin with it; {advice}"
    assert said(lambda: list(store.rows(run="x"))) == (
        f"--run x: {expected} there is no such run; {advice}"
    )
    assert said(lambda: list(Store(folder / "none").rows(run="x"))).endswith(advice)


def test_a_run_that_records_nothing_leaves_no_segment(folder):
    store = Store(folder)
    store.open()
    store.close()
    assert Store(folder).runs() == [] and not list(folder.rglob("*.jsonl"))


def test_ids_of_runs_sort_by_their_beginning_although_clocks_differ(folder):
    path = filled(folder, rows("a", context="1"))
    path.rename(path.with_name("29991231T235959999998-host-0000.jsonl"))
    later = filled(folder, rows("b", context="2"))
    assert later.name.startswith("29991231T235959999999-")
    assert shown(folder) == rows("b", context="2")


# Torn ends


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_is_left_out(folder, cut):
    path = killed(folder, rows("a"), rows("b"))
    torn = path.read_bytes()[:-cut]
    path.write_bytes(torn)
    store = Store(folder)
    assert store.repaired == (
        f"{path}: its last line was torn (the run was killed while writing); left out "
        f"{len(torn) - torn.rindex(BEGIN)} bytes, that item runs again"
    )
    assert "key-a" in store and "key-b" not in store
    store.append(rows("c"))
    store.close()
    assert path.read_bytes() == torn, "nobody writes to another's segment"
    assert shown(folder) == rows("a") + rows("c")
    assert Store(folder).repaired is None, "it is told once"


@pytest.mark.parametrize("torn", [b"", b'{"v": 1, "ite', b"\xff\xfe"])
def test_an_item_whose_rows_are_not_all_there_is_left_out(folder, torn):
    path = killed(folder, rows("a"), rows("b", 3))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + torn)
    what = "its last line was torn" if torn else "it ends inside an item"
    assert Store(folder).repaired == (
        f"{path}: {what} (the run was killed while writing); "
        f"left out {len(b''.join(lines[2:4]) + torn)} bytes, that item runs again"
    )
    assert shown(folder) == rows("a")


@given(st.data())
def test_however_much_is_cut_off_whole_items_stay(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    items = [rows("a", 2), rows("b"), rows("c", 3)]
    path = killed(folder, *items)
    whole = path.read_bytes()
    ends = [sum(map(len, whole.splitlines(keepends=True)[:n])) for n in (1, 3, 4, 7)]
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    store = Store(folder)
    count = sum(kept >= end for end in ends[1:])
    assert list(store.rows()) == [row for item in items[:count] for row in item]
    assert (store.repaired is None) == (kept in (0, *ends))
    store.append(rows("d"))
    store.close()
    assert shown(folder) == list(store.rows()) and Store(folder).repaired is None


def test_the_end_of_a_segment_that_is_being_written_is_not_called_torn(folder):
    store = Store(folder)
    store.append(rows("a"))
    path = folder / RECORDS / f"{store.run}.jsonl"
    with path.open("ab") as file:
        file.write(b'{"v": 3, "it')
    other = Store(folder)
    assert other.repaired is None and list(other.rows()) == rows("a")
    store.close()


# Damage


def damage(line, **changes):
    """Return a line with other fields and a checksum that fits."""
    from emolib.results.lines import seal

    data = json.loads(line) | changes
    data = {k: v for k, v in data.items() if v is not ... and k not in ("outline", "crc")}
    detail = {k: data.pop(k) for k in ("vectors", "texts", "lists", "pairs")}
    head, tail = json.dumps(data)[:-1].encode(), json.dumps(detail)[1:-1].encode()
    return seal(head + b", " + tail + b', "outline": %d' % len(head))


CASES = {
    "half a line": (lambda line: line[:40] + b"\n", "not JSON"),
    "not UTF-8": (lambda line: b'"\xff"\n', "not JSON"),
    "an empty line": (lambda line: b"\n", "not JSON"),
    "no object": (lambda line: b"[1]\n", "expected a line of version 3"),
    "a later version": (
        lambda line: line.replace(b'"v": 3', b'"v": 4'),
        "expected a line of version 3",
    ),
    "a digit": (
        lambda line: line.replace(b'"n": 1.0', b'"n": 1.1'),
        "wrong checksum: these are not the bytes that were written",
    ),
    "a digit of the checksum": (
        lambda line: line.replace(b'"crc": "', b'"crc": "0')[:-4] + b'"}\n',
        "wrong checksum: these are not the bytes that were written",
    ),
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
@pytest.mark.parametrize("indexed", [True, False])
def test_damage_in_the_middle_names_the_line_and_leaves_the_file(folder, name, indexed):
    change, message = CASES[name]
    path = filled(folder, rows("a"), rows("b", 2), rows("c"))
    if not indexed:
        (folder / RECORDS / "index.sqlite").unlink()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = change(lines[3])
    path.write_bytes(b"".join(lines))
    damaged = path.read_bytes()
    for _ in range(2):
        assert said(lambda: Store(folder)) == f"{path}: line 4: {message}; {ADVICE}"
    assert path.read_bytes() == damaged


def test_damage_that_the_index_does_not_know_of_is_seen_when_rows_are_read(folder):
    path = filled(folder, rows("a"), rows("b", vectors={"v": [1.25]}))
    state = path.stat()
    path.write_bytes(path.read_bytes().replace(b"1.25", b"1.35"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    store = Store(folder)
    assert store["key-a"] == rows("a")
    assert said(lambda: store["key-b"]).startswith(f"{path}: line 3: wrong checksum")
    (folder / RECORDS / "index.sqlite").unlink()
    assert said(lambda: Store(folder)).startswith(f"{path}: line 3: wrong checksum")


def test_an_item_that_begins_in_the_middle_is_damage(folder):
    path = filled(folder, rows("a", 2))
    first, _, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, *rest]))
    assert said(lambda: Store(folder)) == (
        f"{path}: line 2: expected row 0 of an item, got row 1 of exp_x.py::exp_x[a]: a line is "
        f"missing; {ADVICE}"
    )


# Stores of the old form


def old(folder, *items):
    folder.mkdir(parents=True, exist_ok=True)
    made = [json.dumps({"v": 2} | asdict(row)) + "\n" for item in items for row in item]
    (folder / "records.jsonl").write_text("".join(made), encoding="utf-8")
    return folder / "records.jsonl"


def test_a_store_of_the_old_form_is_read_and_taken_over(folder):
    whole = rows(
        "a", 2, vectors={"v": [1.0]}, provenance={"model": {"id": "m" * 200}, "heads": ["h"]}
    )
    path = old(folder, whole, rows("b"))
    data = path.read_bytes()
    store = Store(folder)
    assert store["key-a"] == whole and store.outline("key-b") == rows("b")
    assert [row.provenance for row in store.rows()][:2] == [row.provenance for row in whole]
    store.append(rows("c"))
    store.touch("key-b")
    store.close()
    assert path.read_bytes() == data
    assert list(Store(folder).whole_rows("x")) == whole + rows("b") + rows("c")
    (run, _) = Store(folder).runs()
    assert (run.id, run.items, run.started) == ("0", 2, "")
    assert shown(folder, run="0")[-1] == rows("b")[0]


def test_damage_in_a_store_of_the_old_form(folder):
    path = old(folder, rows("a"), rows("b"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-9])
    assert Store(folder).repaired == (
        f"{path}: its last line was torn (the run was killed while writing); left out "
        f"{len(lines[1]) - 9} bytes, that item runs again"
    )
    path.write_bytes(lines[0][:50] + b"\n" + lines[1])
    assert said(lambda: Store(folder)) == f"{path}: line 1: not JSON; {ADVICE}"
    path.write_bytes(lines[0] + lines[1].replace(b'"v": 2', b'"v": 1'))
    assert said(lambda: Store(folder)) == (f"{path}: line 2: expected a row of version 2; {ADVICE}")


# Writers


HOLD = """
import sys
from pathlib import Path
from emolib.results.records import Store
store = Store(Path(sys.argv[1]))
store.open(shard=sys.argv[2] or None)
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("theirs", "ours"), [("", None), ("", "1/2"), ("2/2", None)])
def test_one_writer_at_a_time(folder, theirs, ours):
    filled(folder, rows("a"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), theirs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout and other.stdout.readline() == b"open\n"
        store = Store(folder)
        expected = (
            f"{folder}/records: another run is writing to it; wait for it, or choose another "
            "folder with --results-dir"
        )
        assert said(lambda: store.check_free(shard=ours)) == expected
        assert said(lambda: store.open(shard=ours)) == expected
        if ours is None:
            assert said(lambda: store.append(rows("b"))) == expected
        assert list(store.rows()) == rows("a") and "key-b" not in store
        other.communicate()
    store.check_free()
    store.append(rows("b"))
    store.close()
    assert shown(folder) == rows("a") + rows("b")


def test_shards_write_side_by_side(folder):
    one, two = Store(folder), Store(folder)
    one.open(shard="1/2")
    two.check_free(shard="2/2")
    two.open(shard="2/2")
    for i in range(3):
        one.append(rows(f"a{i}"))
        two.append(rows(f"b{i}"))
    assert len(list(one.rows())) == 3, "what others write meanwhile is seen by who opens next"
    one.close()
    two.close()
    assert len(shown(folder)) == 6
    assert [run.shard for run in Store(folder).runs()] == ["1/2", "2/2"]
    assert [run.items for run in Store(folder).runs()] == [3, 3]


def test_what_another_shard_wrote_and_told_the_index_can_be_read(folder):
    """The index is one for all who write: what it has from others stands in files new to us."""
    one, two = Store(folder), Store(folder)
    one.open(shard="1/2")
    one.append(rows("a"))
    assert len(list(one.rows())) == 1
    two.open(shard="2/2")
    two.append(rows("b"))
    two.close()
    found = sorted(row.item for row in one.rows())
    assert found == sorted(row.item for row in shown(folder)) and len(found) == 2
    assert len([row for key in one for row in one[key]]) == 2
    one.close()


def test_what_another_run_wrote_between_reading_and_opening_is_there(folder):
    early = Store(folder)
    filled(folder, rows("b"))
    early.append(rows("c"))
    early.close()
    assert shown(folder) == list(early.rows()) == rows("b") + rows("c")


def test_checking_a_store_that_is_not_there_makes_none(folder):
    Store(folder).check_free()
    assert shown(folder) == [] and not folder.exists()
    assert list(Store(folder).whole_rows("x")) == [] == Store(folder).experiments()


@pytest.mark.parametrize(
    ("make", "reason"), [("file", "Not a directory"), ("dir", "Is a directory")]
)
def test_a_folder_that_cannot_be_written(folder, make, reason):
    if make == "file":
        folder.write_text("in the way")
    else:
        (folder / RECORDS / "lock").mkdir(parents=True)
    obstacle = folder / RECORDS / "lock" if make == "dir" else folder / RECORDS
    assert said(lambda: Store(folder).append(rows("a"))) == (
        f"{obstacle}: cannot be written ({reason}); make room for it, or choose another folder "
        "with --results-dir"
    )


class At:
    """Interrupts at the n-th line that is run in the store's writer; of 0 it counts."""

    def __init__(self, n):
        self.n, self.met = n, 0

    def __call__(self, frame, event, arg):
        file = frame.f_code.co_filename
        return self.line if file.endswith(("results/records.py", "results/segments.py")) else None

    def line(self, frame, event, arg):
        if event == "line":
            self.met += 1
            if self.met == self.n:
                raise KeyboardInterrupt
        return self.line


def test_an_interrupt_at_any_line_leaves_store_and_index_of_one_mind(tmp_path):
    def record(folder, n):
        store, at = Store(folder), At(n)
        store.append(rows("first"))
        before = sys.gettrace()
        sys.settrace(at)
        try:
            store.append(rows("second"))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        store.close()
        return at.met

    lines = record(tmp_path / "whole", 0)
    assert lines > 20
    for n in range(1, lines + 1):
        folder = tmp_path / str(n)
        record(folder, n)
        known = set(Store(folder))
        (folder / "records/index.sqlite").unlink()
        assert known == set(Store(folder)) >= {rows("first")[0].key}
