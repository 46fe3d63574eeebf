"""Packing: the same keys and rows before and after, nothing lost whenever it is broken off."""

from __future__ import annotations

import gzip
import subprocess
from dataclasses import asdict, replace

import pytest

from emolib.errors import InputError
from emolib.results import packing, segments
from emolib.results.packing import pack
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import RECORDS


def rows(name, of=1, size=900):
    row = Row(f"exp_x.py::exp_x[{name}]", "x", f"key-{name}", 0, of, {"h": name})
    told = {"model": {"id": "m" * 200}, "heads": [name]}
    return [
        replace(
            row, row=i, vectors={"v": [0.5 + i] * size}, provenance=told,
            texts={"prompt": ["p" * 200], "own": [f"{name}{i}" * 200]}, pairs={"ids": ["i" * 200]},
        )
        for i in range(of)
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a store of two runs, whose members have some ten rows."""
    monkeypatch.setattr(packing, "_MEMBER", 50_000)
    folder = tmp_path / "demo"
    for run in range(2):
        store = Store(folder)
        for i in range(30):
            store.append(rows(f"{run}-{i}", 1 + i % 3))
        store.touch("key-0-3")
        store.close()
    return folder


def content(folder):
    store = Store(folder)
    keys = list(store)
    return keys, [store[key] for key in keys], list(store.rows()), store.runs()


def names(folder):
    return sorted(path.name for path in (folder / RECORDS).glob("[!i]*"))


@pytest.mark.parametrize("indexed", [True, False], ids=["with its index", "indexed anew"])
def test_keys_rows_and_runs_are_the_same(folder, indexed):
    before, plain = content(folder), sorted((folder / RECORDS).glob("*.jsonl"))
    data = [path.read_bytes() for path in plain]
    found = list(pack(folder))
    assert [one.why_not for one in found] == ["", ""]
    assert all(one.after < one.before / 3 for one in found)
    assert names(folder) == [f"{one.name}.jsonl.gz" for one in found] + ["lock"]
    if not indexed:
        (folder / RECORDS / "index.sqlite").unlink()
    assert content(folder) == before
    assert list(Store(folder).whole_rows("x")) == [
        row for item in sorted(before[1], key=_item) for row in item
    ]
    unpacked = [
        subprocess.run(["zcat", path], capture_output=True, check=True).stdout
        for path in sorted((folder / RECORDS).glob("*.gz"))
    ]
    assert unpacked == data
    assert list(pack(folder)) == []


def _item(rows):
    return rows[0].item


def test_an_item_is_read_without_unpacking_the_others(folder, monkeypatch):
    list(pack(folder))
    store = Store(folder)
    unpacked = []
    member = segments.Segment.member
    monkeypatch.setattr(segments.Segment, "member", lambda *of: unpacked.append(1) or member(*of))
    assert store["key-1-7"] == rows("1-7", 2)
    # Its own, and the one with what rows refer to, which is written once.
    assert len(unpacked) == 2


def test_a_store_opened_before_reads_on(folder):
    store = Store(folder)
    first = store["key-0-5"]
    list(pack(folder))
    assert store["key-0-5"] == first and store["key-1-5"] == rows("1-5", 3)


def test_what_a_run_is_writing_to_stays_plain(folder):
    store = Store(folder)
    store.append(rows("new"))
    assert [one.why_not for one in pack(folder)] == ["", "", "a run is writing to it"]
    store.append(rows("newer"))
    store.close()
    assert Store(folder)["key-newer"] == rows("newer")
    assert [one.why_not for one in pack(folder)] == [""]


def test_the_torn_end_of_a_killed_run_is_left_out(folder):
    path = max((folder / RECORDS).glob("*.jsonl"))
    before = content(folder)[:3]
    *lines, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + b'{"v": 3, "item"')
    list(pack(folder))
    with gzip.open(path.with_suffix(".jsonl.gz")) as file:
        assert file.read() == b"".join(lines)
    assert content(folder)[:3] == before and Store(folder).repaired is None


def test_where_there_are_no_locks_a_run_that_did_not_end_may_go_on(folder, monkeypatch):
    path = max((folder / RECORDS).glob("*.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

    def no_locks(*of):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert [one.why_not[:22] for one in pack(folder)] == ["", "its run did not end, a"]


def test_on_a_network_s_disk_a_run_that_did_not_end_may_go_on_elsewhere(folder, monkeypatch):
    path = max((folder / RECORDS).glob("*.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    monkeypatch.setattr(packing, "is_local", lambda path: False)
    assert [bool(one.why_not) for one in pack(folder)] == [False, True]


def test_a_store_of_the_old_form_is_packed_where_it_is(tmp_path):
    import json

    made = [json.dumps({"v": 2} | asdict(row)) + "\n" for name in "ab" for row in rows(name, 2)]
    (tmp_path / "records.jsonl").write_text("".join(made), encoding="utf-8")
    before = content(tmp_path)
    list(pack(tmp_path))
    assert content(tmp_path) == before and not (tmp_path / "records.jsonl").exists()
    with gzip.open(tmp_path / "records.jsonl.gz", "rt", encoding="utf-8") as file:
        assert file.read() == "".join(made)


# Broken off and damaged


@pytest.mark.parametrize("at", ["replace", "unlink"])
def test_broken_off_anywhere_nothing_is_lost(folder, monkeypatch, at):
    before = content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(f"pathlib.Path.{at}", _killed)
        with pytest.raises(KeyboardInterrupt):
            list(pack(folder))
    assert content(folder) == before
    (folder / RECORDS / "index.sqlite").unlink()
    assert content(folder) == before
    list(pack(folder))
    assert content(folder) == before and len(names(folder)) == 3
    assert not list((folder / RECORDS).glob(".*"))


def _killed(*of, **named):
    raise KeyboardInterrupt


def test_a_disk_that_is_full_leaves_the_segment(folder, monkeypatch):
    before = content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(packing.gzip, "compress", _full)
        with pytest.raises(InputError, match=r"jsonl\.gz: cannot be written \(No space.*as it was"):
            list(pack(folder))
    assert content(folder) == before and not list((folder / RECORDS).glob("*.gz"))
    assert not list((folder / RECORDS).glob(".*"))


def _full(*of, **named):
    raise OSError(28, "No space left on device")


def test_a_disk_that_lies_leaves_the_segment(folder, monkeypatch):
    before = content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_check", lambda segment: 0)
        with pytest.raises(InputError, match="does not read back as written"):
            list(pack(folder))
    assert content(folder) == before


@pytest.mark.parametrize("change", ["cut", "flip"])
def test_damage_to_a_packed_segment_is_named(folder, change):
    list(pack(folder))
    path = max((folder / RECORDS).glob("*.gz"))
    data = bytearray(path.read_bytes())
    if change == "cut":
        del data[-100:]
    else:
        data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"^{path}: member \d+ is (cut off|damaged)"):
        Store(folder)


def test_nothing_to_pack_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no records to pack; run `pytest experiments` first"):
        list(pack(tmp_path / "none"))


def test_a_link_in_the_way_is_not_followed(folder, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (plain, *_) = sorted((folder / RECORDS).glob("*.jsonl"))
    plain.with_name(f".{plain.name}.gz").symlink_to(mine)
    assert not [one.why_not for one in pack(folder) if one.why_not]
    assert mine.read_text() == "mine"
