"""Files of the store: members of packed segments, who writes, and ids that sort."""

from __future__ import annotations

import gzip
import os
import re
import resource
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.results import segments as module
from emolib.results.segments import Gate, Segment, Writer, member_lines, new_name, segments

parts = st.lists(st.binary(max_size=3000), max_size=5)


@given(parts, st.integers(1, 400))
def test_members_come_back_with_their_places(tmp_path_factory, parts, chunk):
    path = tmp_path_factory.mktemp("packed") / "a.jsonl.gz"
    packed = [gzip.compress(part, mtime=0) for part in parts]
    path.write_bytes(b"".join(packed))
    segment = Segment("a", path)
    with pytest.MonkeyPatch.context() as patch:
        # Members begin and end anywhere in what is read at once.
        patch.setattr(module, "_CHUNK", chunk)
        found = list(segment.members())
    assert [data for _, data in found] == parts
    assert [offset for offset, _ in found] == [sum(map(len, packed[:i])) for i in range(len(parts))]
    assert [segment.member(offset) for offset, _ in found] == parts


def test_lines_end_at_line_feeds_alone():
    assert list(member_lines(iter([(0, b"a\rb\nc\n"), (9, b"d\n")]))) == [b"a\rb\n", b"c\n", b"d\n"]


def test_a_plain_file_goes_before_a_packed_one(tmp_path):
    (tmp_path / "records").mkdir()
    for name in ("b.jsonl", "b.jsonl.gz", "a.jsonl.gz", ".c", ".d.jsonl.gz", "lock"):
        (tmp_path / "records" / name).touch()
    (tmp_path / "records.jsonl.gz").touch()
    found = segments(tmp_path)
    assert [(name, s.path.name) for name, s in found.items()] == [
        ("0", "records.jsonl.gz"), ("a", "a.jsonl.gz"), ("b", "b.jsonl")
    ]  # fmt: skip
    assert [s.is_packed for s in found.values()] == [True, True, False]
    assert [s.is_old for s in found.values()] == [True, False, False]


@pytest.mark.parametrize("after", [None, "0", "20200101T000000000000-x-0000", "mine", "29990101T1"])
def test_an_id_says_when_and_where_and_comes_last(after, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "a host_of/mine" * 5)
    name = new_name(after)
    assert re.fullmatch(r"\d{8}T\d{12}-a-host-of-mine[\w-]*-[0-9a-f]{4}", name)
    if after not in (None, "mine", "29990101T1"):
        assert name > after


def test_a_segment_is_seen_when_it_is_locked_and_has_its_first_line(tmp_path, monkeypatch):
    seen = []
    write = Writer.write
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(
        Writer, "write", lambda *of: seen.append(dict(segments(tmp_path))) or write(*of)
    )
    writer = Writer(tmp_path, b"first\n", "a")
    assert seen == [{}]
    (segment,) = segments(tmp_path).values()
    assert segment.path.read_bytes() == b"first\n" and segment.is_being_written
    writer.write(b"second\n", 1)
    assert (writer.size, writer.line) == (13, 2)
    writer.close()
    assert not segment.is_being_written and list(segment.lines(6)) == [b"second\n"]
    with pytest.raises(InputError, match="cannot be written"):
        Writer(tmp_path / "none", b"", "b")


@pytest.mark.parametrize(
    ("first", "second", "free"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_one_run_at_a_time_or_shards(tmp_path, first, second, free):
    one, two = Gate(tmp_path), Gate(tmp_path)
    two.check(shared=second)
    assert not (tmp_path / "records").exists()
    one.enter(shared=first)
    for ask in (lambda: two.check(shared=second), lambda: two.enter(shared=second)):
        if free:
            ask()
        else:
            with pytest.raises(InputError, match="records: another run is writing to it; wait"):
                ask()
    two.leave()
    one.leave()
    two.enter(shared=second)
    two.leave()


def test_where_there_are_no_locks_everybody_may_write(tmp_path, monkeypatch):
    def no_locks(*of):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    one, two = Gate(tmp_path), Gate(tmp_path)
    one.enter(shared=False)
    two.enter(shared=False)
    one.leave()
    two.leave()
    writer = Writer(tmp_path, b"first\n", "a")
    assert writer.segment.is_being_written is None
    writer.close()


@contextmanager
def no_file_beyond(size):
    """Have the system refuse to write behind a place, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8), st.integers(0, 900))
def test_what_there_is_no_room_for_is_not_half_there(tmp_path_factory, lines, room):
    folder = tmp_path_factory.mktemp("full")
    lines = [line.replace(b"\n", b" ") + b"\n" for line in lines]
    (folder / "records").mkdir()
    kept = []
    with no_file_beyond(room):
        try:
            writer = Writer(folder, lines[0], "20261124T000000000000-a-0000")
        except InputError as error:
            assert "File too large" in str(error) and room < len(lines[0])
            assert not list((folder / "records").iterdir())
            return
        kept.append(lines[0])
        for line in lines[1:]:
            try:
                writer.write(line, 1)
            except InputError as error:
                assert f"{writer.segment.path}: cannot be written (File too large)" in str(error)
                assert writer.failed
                break
            kept.append(line)
        writer.close()
    assert list(writer.segment.lines()) == kept
    assert len(b"".join(kept)) <= room or len(kept) == len(lines)


def test_what_is_no_file_is_no_segment(tmp_path):
    (tmp_path / "records/b.jsonl").mkdir(parents=True)
    os.mkfifo(tmp_path / "records/a.jsonl")
    assert segments(tmp_path) == {}


def test_lines_and_members_have_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("emolib.results.segments._LONGEST", 1000)
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes(b"a" * 999 + b"\n" + b"b" * 1000 + b"\n")
    found = Segment("a", plain).lines()
    assert len(next(found)) == 1000
    with pytest.raises(InputError, match=r"a\.jsonl: a line of more than"):
        next(found)
    packed.write_bytes(gzip.compress(b"c" * 1000) + gzip.compress(b"c" * 10**6))
    found = Segment("a", packed).members()
    assert len(next(found)[1]) == 1000
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: member 2 is of more than"):
        next(found)
