"""What stands in a segment: what a writer tells of it is what is read, and damage is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lined import row, rows, walked, written

from emolib.errors import InputError
from emolib.results.events import Recorded, Walk, events_of
from emolib.results.lines import Encoder, outlined, told
from emolib.results.rows import Row


@given(st.lists(rows(), min_size=1, max_size=3))
def test_what_a_writer_tells_of_its_lines_is_what_is_read_from_them(items):
    encoder, data, events, line = Encoder(), b"", [], 0
    for item in items:
        more, lines = events_of(item, encoder, len(data), line)
        events += more
        data += lines
        line += lines.count(b"\n")
    read, _ = walked(data)
    assert [event[:3] for event in read] == [event[:3] for event in events]
    assert [e.outlines for e in read if isinstance(e, Recorded)] == [
        e.outlines for e in events if isinstance(e, Recorded)
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (told("whatever", 1), "neither a row nor told of a run"),
        (told("replayed", [1]), "neither a row nor told of a run"),
        (told("run", {"id": 1}), "neither a row nor told of a run"),
        (told("item", "x"), "not JSON"),
        (told("ended", "now").replace(b"now", b"new"), "wrong checksum: these are not the bytes"),
        (b'{"v": 3, "ended": "now"}\n', "no checksum"),
        (b'{"v": 2, "ended": "now"}\n', "expected a line of version 3"),
        (b"[1]\n", "expected a line of version 3"),
        (b"[" * 10_000 + b"\n", "not JSON"),
        (b"\n", "not JSON"),
    ],
)
def test_a_line_that_is_none_is_named(line, message):
    with pytest.raises(InputError, match=f"^file: line 2: {message}.*; restore the file"):
        walked(told("ended", "now") + line)


def test_a_line_in_the_middle_of_an_item_is_damage():
    first, second = written([[row(of=2), row(number=1, of=2)]]).splitlines(keepends=True)
    with pytest.raises(InputError, match=r"line 2: expected row 1 of .*, got a line of 'ended'"):
        walked(first + told("ended", "now") + second)
    _, walk = walked(first + second[:-1])
    assert (walk.read, walk.left, walk.torn) == (0, len(first + second) - 1, True)


def test_going_on_from_a_place():
    data = written([[row("a")], [row("b")], [row("c", of=1)]])
    whole_, _ = walked(data)
    place = whole_[1]
    rest, walk = walked(data[place.offset :], read=place.offset, line=place.line - 1)
    assert rest == whole_[1:] and walk.read == len(data) and walk.line == 3


def test_rows_of_the_old_form_are_read():
    line = json.dumps({"v": 2} | {f: getattr(row(), f) for f in Row.__slots__}).encode() + b"\n"
    walk = Walk("file", old=True)
    (event,) = walk.through([line])
    assert event.rows == [row()] and walk.read == len(line)
    assert outlined(event.outlines[0], "file", dict) == replace(row())
