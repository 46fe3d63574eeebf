"""Lines of a segment: rows come back equal, and what is damaged is seen."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.results.events import Recorded, Shared, Walk, events_of
from emolib.results.lines import Encoder, outlined, shared_value, slim, told, whole
from emolib.results.rows import Row

names = st.text('a"\n\r\u2028é\\{,: vshared', max_size=7)
columns = st.dictionaries(names, st.lists(st.text('ab"\n é', max_size=60), max_size=6), max_size=3)
provenance = st.dictionaries(
    st.sampled_from(["shared", "heads", "under", "model", "settings", "seed"]),
    st.one_of(names, st.integers(), st.dictionaries(names, names, max_size=3)),
)


def row(name="a", number=0, of=1, **fields):
    return Row(f"exp_x.py::exp_x[{name}]", "x", f"key-{name}", number, of, {"h": name}, **fields)


@st.composite
def rows(draw, name="a"):
    count = draw(st.integers(1, 3))
    return [
        row(
            name,
            i,
            count,
            labels=draw(st.dictionaries(names, names, max_size=2)),
            values=draw(st.dictionaries(names, st.floats(-1e300, 1e300), max_size=2)),
            vectors=draw(st.dictionaries(names, st.lists(st.floats(-9, 9), max_size=3))),
            texts=draw(columns),
            lists={k: [v, [1.5]] for k, v in draw(columns).items()},
            pairs=draw(st.one_of(st.just({}), columns)),
            provenance=draw(provenance),
        )
        for i in range(count)
    ]


def written(items):
    """Return the lines of items, and what they refer to, by one encoder."""
    encoder, data, line = Encoder(), b"", 0
    for item in items:
        _, more = events_of(item, encoder, len(data), line)
        data += more
        line += more.count(b"\n")
    return data


def walked(data, **at):
    walk = Walk("file", **at)
    return list(walk.through(io.BytesIO(data))), walk


def looking(events, data):
    places = {e.hash: data[e.offset : e.offset + e.length] for e in events if isinstance(e, Shared)}
    return lambda name: shared_value(places[name], "there")


@given(st.lists(rows(), min_size=1, max_size=4))
def test_rows_come_back_equal_whole_and_in_outline(items):
    data = written(items)
    events, walk = walked(data)
    look = looking(events, data)
    recorded = [event for event in events if isinstance(event, Recorded)]
    assert len(recorded) == len(items) and walk.left == 0
    for item, event in zip(items, recorded, strict=True):
        part = data[event.offset : event.offset + event.length].splitlines(keepends=True)
        assert [whole(line, "there", look) for line in part] == item
        assert [outlined(outline, look) for outline in event.outlines] == [slim(r) for r in item]
        assert data.splitlines(keepends=True)[event.line - 1] == part[0]


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


@given(rows(), st.data())
def test_any_other_byte_is_seen(item, data):
    lines = written([item])
    at = data.draw(st.integers(0, len(lines) - 2))
    changed = bytearray(lines)
    changed[at] ^= data.draw(st.integers(1, 255))
    if changed.count(b"\n") != lines.count(b"\n"):
        return
    with pytest.raises(InputError, match="file: line "):
        walked(bytes(changed))


def test_what_rows_have_alike_is_written_once():
    text = {"prompt": ["x" * 99] * 9, "own": ["y" * 200]}
    made = [row(str(i), texts=text | {"own": [f"{i}" * 200]}, pairs={"ids": ["p" * 200]},
                provenance={"model": "m" * 200, "heads": [str(i)]}) for i in range(5)]  # fmt: skip
    data = written([[one] for one in made]).decode()
    # Which texts will come again is known when they do.
    assert data.count("x" * 99) == 9 * 2
    assert data.count("p" * 200) == data.count("m" * 200) == 1
    assert all(data.count(str(i) * 200) == 1 for i in range(5))


def test_provenance_keeps_its_order():
    found = {"model": "m" * 200, "heads": ["L0H0"], "position": "last", "under": ["x"], "seed": 0}
    data = written([[row(provenance=found)]])
    events, _ = walked(data)
    back = outlined(events[-1].outlines[0], looking(events, data))
    assert list(back.provenance.items()) == list(found.items())


def test_nan_is_no_json():
    with pytest.raises(ValueError, match="Out of range float"):
        written([[row(values={"x": float("nan")})]])


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
    assert outlined(event.outlines[0], dict) == replace(row())
