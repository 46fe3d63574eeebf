"""Results brought together: whole segments, once, whoever has more of them."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from made import rows_of

from emolib.errors import InputError
from emolib.results.merging import Overlap, bring, find_results, overlap
from emolib.results.records import Store
from emolib.results.segments import segments


def item(name, *, value=1.0, text="a"):
    return [
        replace(row, key=name, item=f"exp_x.py::exp_it[{name}]", context="c")
        for row in rows_of("it", {"effect": [value] * 8, "text": [text] * 8}, heads=name)
    ]


def record(folder, *names, **fields):
    store = Store(folder)
    for name in names:
        store.append(item(name, **fields))
    store.close()
    return folder


def join(source, folder):
    target = Store(folder)
    target.open()
    try:
        return bring(source, target)
    finally:
        target.close()


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "records").glob("*.jsonl*")}


@pytest.fixture
def two(tmp_path):
    return record(tmp_path / "a/demo", "L0H0", "L0H1"), record(tmp_path / "b/demo", "L1H0")


def test_segments_come_over_as_they_are_and_once(two, tmp_path):
    into = tmp_path / "into"
    for source in two:
        assert join(source, into) == list(segments(source))
    assert contents(into) == contents(two[0]) | contents(two[1])
    assert list(Store(into)) == ["L0H0", "L0H1", "L1H0"]
    before = {path: path.stat().st_mtime_ns for path in (into / "records").glob("*.jsonl")}
    assert [join(source, into) for source in two] == [[], []]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_segment_that_has_grown_comes_over_again(two, tmp_path):
    source, _ = two
    into = tmp_path / "into"
    (path,) = (source / "records").glob("*.jsonl")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    join(source, into)
    path.write_bytes(whole)
    assert join(source, into) == list(segments(source))
    assert contents(into) == contents(source)
    # And the other way round: what is there already is not cut.
    path.write_bytes(b"".join(lines[:-2]))
    assert join(source, into) == [] and (into / "records" / path.name).read_bytes() == whole


def test_a_packed_segment_is_the_same_segment(two, tmp_path):
    source, into = two[0], tmp_path / "into"
    (path,) = (source / "records").glob("*.jsonl")
    join(source, into)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert join(source, into) == [] and list(contents(into)) == [path.name]


def test_segments_of_one_run_that_contradict_each_other_are_refused(two, tmp_path):
    source, into = two[0], tmp_path / "into"
    join(source, into)
    (path,) = (source / "records").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"L0H1", b"L0H7"))
    before = contents(into)
    with pytest.raises(InputError, match="are of one run and say different things"):
        join(source, into)
    assert contents(into) == before


def test_what_cannot_be_written_is_told(two, tmp_path, monkeypatch):
    def copyfile(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", copyfile)
    with pytest.raises(InputError, match=r"cannot be written \(No space left.*--into"):
        join(two[0], tmp_path / "into")
    assert contents(tmp_path / "into") == {}


@pytest.mark.parametrize("place", ["a", "a/demo"])
def test_a_folder_is_named_by_itself_or_by_the_one_above(two, tmp_path, place):
    assert find_results(tmp_path / place, "demo") == two[0]


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(InputError, match="no results there, nor any of the profile demo in it"):
        find_results(tmp_path, "demo")


def test_what_was_recorded_twice_is_counted_with_its_largest_difference(two, tmp_path):
    into = tmp_path / "into"
    other = record(tmp_path / "c", "L0H1", value=1.25, text="b")
    again = record(tmp_path / "d", "L1H0")
    for source in (*two, other, again):
        join(source, into)
    found = overlap(Store(into).recorded_again())
    assert found == Overlap(2, 1, 0.25, "effect of exp_x.py::exp_it[L0H1]")
    assert found.line() == (
        "2 items were recorded more than once: their numbers differ by 0.25 at most (effect of "
        "exp_x.py::exp_it[L0H1]), texts of 1 differ"
    )
    same = overlap([[item("L0H0"), item("L0H0"), item("L0H0")]])
    assert same.line() == "1 item was recorded more than once: their numbers are the same"
    assert overlap([]) == Overlap()


def test_a_store_of_the_older_form_is_recorded_once(two, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    lines = []
    for name in ("L0H0", "L5H5"):
        for row in item(name):
            fields = {field: getattr(row, field) for field in row.__dataclass_fields__}
            lines.append(json.dumps({"v": 2} | fields) + "\n")
    (old / "records.jsonl").write_text("".join(lines))
    into = tmp_path / "into"
    join(two[0], into)
    assert join(old, into) == ["0"] and join(old, into) == []
    assert sorted(Store(into)) == ["L0H0", "L0H1", "L5H5"]
    assert not list(Store(into).recorded_again())
