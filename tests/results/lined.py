"""Rows of all kinds, as the lines of a segment and read from there."""

from __future__ import annotations

import io

from hypothesis import strategies as st

from emolib.results.events import Shared, Walk, events_of
from emolib.results.lines import Encoder, shared_value
from emolib.results.rows import Row

names = st.text('a"\n\r\u2028é\\{,: vshared', max_size=7)
columns = st.dictionaries(names, st.lists(st.text('ab"\n é', max_size=60), max_size=6), max_size=3)
provenance = st.dictionaries(
    st.sampled_from(["shared", "ablation", "of", "settings", "notes"]),
    st.one_of(names, st.integers(-9, 2**62), st.dictionaries(names, names, max_size=3)),
).map(lambda told: told | {"ablation": str(told["ablation"])} if "ablation" in told else told)


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
            values=draw(st.dictionaries(names, st.floats(-1e150, 1e150), max_size=2)),
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
