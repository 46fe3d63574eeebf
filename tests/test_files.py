"""Files: safe names, hashes equal for equal content alone, JSON for people."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.files import (
    hash_files,
    hash_json,
    is_local,
    safe,
    sweep,
    to_json,
    unfinished,
    write_text,
)

names = st.text('abé"', max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(names, values, max_size=4))
def test_key_order_does_not_count(value):
    assert hash_json(value) == hash_json(dict(reversed(value.items())))


@given(values, values)
def test_other_values_have_other_hashes(one, two):
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (hash_json(one) == hash_json(two)) == same


def test_json_hash_is_sha256_of_the_text_in_utf_8():
    expected = hashlib.sha256('{"a": "é", "b": 1}'.encode()).hexdigest()[:16]
    assert hash_json({"b": 1, "a": "é"}) == expected


def files(tmp_path, **contents):
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def test_order_and_folder_of_files_do_not_count(tmp_path):
    paths = files(tmp_path, a=b"1", b=b"2")
    moved = tmp_path / "moved"
    moved.mkdir()
    assert hash_files(paths) == hash_files(reversed(files(moved, b=b"2", a=b"1")))


def test_names_contents_and_their_borders_count(tmp_path):
    sets = [{"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {"a": b"12", "b": b""}, {"a": b"1", "b": b"2"}]
    found = []
    for i, contents in enumerate(sets):
        folder = tmp_path / str(i)
        folder.mkdir()
        found.append(hash_files(files(folder, **contents)))
    assert len({*found, hash_files([])}) == len(sets) + 1
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in found)


@given(st.text("aé_Ω/\\.- :*\n+7", max_size=8))
def test_safe_names_are_names_of_files(name):
    found = safe(name)
    assert found and found == safe(found)
    assert not set(found) & set("/\\: *\n") and not found.startswith((".", "-"))


readable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["prompts", "scores"]), inner)
    ),
    max_leaves=8,
)


@given(readable.filter(lambda value: "inf" not in repr(value)))
def test_json_for_people_is_the_same_json(value):
    assert json.loads(to_json(value)) == value


def test_an_entry_is_a_line():
    entries = [{"text": "a\nb", "kl": [1, 2]}, {"text": "c", "kl": []}]
    text = to_json({"records": [{"summary": {"kl": {"ci": [0, 1]}}, "prompts": entries}]})
    assert sum('"text"' in line for line in text.splitlines()) == 2
    assert '"ci": [0, 1]' in text


@pytest.mark.parametrize(
    ("kind", "local"),
    [("ext4", True), ("nfs4", False), ("lustre", False), ("fuse.sshfs", False), ("overlay", True)],
)
def test_a_network_s_file_systems_are_told_from_disks(monkeypatch, tmp_path, kind, local):
    place = tmp_path / "my data"
    place.mkdir()
    table = f"/dev/a / ext4 rw 0 0\nserver:/b {place}".replace("my data", "my\\040data")
    read_text = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, *of: (
            f"{table} {kind} rw 0 0\n" if str(path) == "/proc/self/mounts" else read_text(path, *of)
        ),
    )
    assert is_local(place / "not/there yet") == local
    assert is_local(tmp_path)


def test_where_the_system_does_not_say_disks_are_local(monkeypatch, tmp_path):
    def absent(*of):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert is_local(tmp_path)


def test_what_a_killed_process_left_unfinished_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "tables").mkdir()
    whole, hidden = tmp_path / "tables/a.csv", tmp_path / ".mine.part.csv"
    left, new = unfinished(whole), unfinished(tmp_path / "b.csv")
    for path in (whole, hidden, left, new):
        path.write_text("x")
    for path in (whole, hidden, left):
        os.utime(path, (time.time() - 4000,) * 2)
    assert sweep(tmp_path) == [left]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        [whole, hidden, new]
    )


def test_a_name_as_long_as_a_file_s_may_be_is_written(tmp_path):
    path = tmp_path / ("é" * 120 + ".json")
    write_text(path, "x")
    assert path.read_text() == "x" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / ("x" * 300), "x")


@pytest.mark.parametrize("what", ["a folder", "a FIFO", "a loop", "a dangling link", "a device"])
def test_a_file_takes_the_place_of_files_alone(tmp_path, what):
    """Whoever may do anything would have replaced /dev/null itself."""
    path = tmp_path / "x"
    match what:
        case "a folder":
            path.mkdir()
        case "a FIFO":
            os.mkfifo(path)
        case "a loop":
            path.symlink_to("x")
        case "a dangling link":
            path.symlink_to("nowhere")
        case "a device":
            path.symlink_to("/dev/null")
    before = path.lstat()
    with pytest.raises(InputError, match="cannot be written"):
        write_text(path, "text")
    assert path.lstat() == before and list(tmp_path.iterdir()) == [path]
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("name", ["", ".", "a\x1b[31m", "a\nb", "\udcff", "a\u202eb"])
def test_a_place_that_no_line_can_name_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        write_text(Path(name), "text")
    assert list(tmp_path.iterdir()) == []
