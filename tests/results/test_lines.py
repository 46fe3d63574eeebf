"""Lines of a segment: rows come back equal, and another byte is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lined import looking, row, rows, walked, written

from emolib.errors import InputError
from emolib.results.events import Recorded
from emolib.results.lines import outlined, slim, whole


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
        assert [outlined(outline, "file", look) for outline in event.outlines] == [
            slim(r) for r in item
        ]
        assert data.splitlines(keepends=True)[event.line - 1] == part[0]


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
                provenance={"model": {"id": "m" * 200}, "heads": [str(i)]})
            for i in range(5)]  # fmt: skip
    data = written([[one] for one in made]).decode()
    # Which texts will come again is known when they do.
    assert data.count("x" * 99) == 9 * 2
    assert data.count("p" * 200) == data.count("m" * 200) == 1
    assert all(data.count(str(i) * 200) == 1 for i in range(5))


def test_provenance_keeps_its_order():
    found = {
        "model": {"id": "m" * 200},
        "heads": ["L0H0"],
        "position": "last",
        "under": ["x"],
        "seed": 0,
    }
    data = written([[row(provenance=found)]])
    events, _ = walked(data)
    back = outlined(events[-1].outlines[0], "file", looking(events, data))
    assert list(back.provenance.items()) == list(found.items())


def test_nan_is_no_json():
    with pytest.raises(ValueError, match="Out of range float"):
        written([[row(values={"x": float("nan")})]])
