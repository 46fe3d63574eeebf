"""Packed parts: what goes in comes out, and what does not fit is left out in order."""

from __future__ import annotations

import base64
import json
import re
import zlib
from array import array

from hypothesis import given
from hypothesis import strategies as st

from emolib.reporting.page.head_details import Changed, Detail
from emolib.reporting.page.map_scores import Score
from emolib.reporting.page.page_blobs import fit, pack, unpack

SCORE = Score("head_ablation", "zero", "logit_diff")
VALUES = st.recursive(st.none() | st.text() | st.integers() | st.floats(allow_nan=False,
          allow_infinity=False), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
          max_leaves=20)  # fmt: skip


@given(VALUES)
def test_what_is_packed_is_raw_deflate_of_json(value):
    packed = pack(value)
    assert re.fullmatch("[A-Za-z0-9+/]+=*", packed)
    raw = zlib.decompress(base64.b64decode(packed), -zlib.MAX_WBITS).decode()
    assert json.loads(raw) == unpack(packed)
    if "\\ud" not in json.dumps(value):
        assert unpack(packed) == value


def detail(number, texts=20):
    lines = [[i, f"head {number} text {i} {hash((number, i))}"] for i in range(texts)]
    packed = zlib.compress(json.dumps(lines).encode())
    sizes = array("d", [1 - i / 50 for i in range(texts)])
    changed = Changed("zero ablation", "emotion", 30, sizes, packed)
    return Detail({SCORE: array("d", [number + i / 7 for i in range(30)])}, {"zero": changed})


def test_all_stays_where_there_is_room():
    details = [(f"b-0-L0H{i}", detail(i)) for i in range(5)]
    found = fit(details, 1e6)
    assert list(found.blobs) == [name for name, _ in details] and not found.left_out
    assert len(unpack(found.blobs["b-0-L0H3"])["texts"][0]["rows"]) == 20


def test_texts_that_changed_least_go_first_then_the_heads_that_come_last():
    details = [(f"b-0-L0H{i}", detail(i)) for i in range(40)]
    whole = fit(details, 1e9).size
    some = fit(details, 0.8 * whole)
    assert some.size <= 0.8 * whole and len(some.blobs) == 40
    kept = [unpack(text)["texts"][0]["rows"] for text in some.blobs.values()]
    assert all(0 < len(rows) < 20 and rows[0][0] == 0 for rows in kept)
    assert some.left_out == [
        f"Of 800 changed texts {sum(map(len, kept))} are here, those with the largest share of "
        "changed words."
    ]
    few = fit(details, 0.1 * whole)
    assert few.size <= 0.1 * whole and list(few.blobs) == list(some.blobs)[: len(few.blobs)]
    said = f"Effects pair by pair, attention and texts are here of {len(few.blobs)} heads of 40"
    assert few.left_out[0].startswith(said)


def test_no_room_at_all():
    found = fit([("b-0-L0H0", detail(0))], -5.0)
    assert not found.blobs and len(found.left_out) == 2
