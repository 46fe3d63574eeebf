"""Files of users, read within bounds: whatever the bytes, content or one clear line."""

from __future__ import annotations

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib import documents
from emolib.documents import parse_json, read_bytes, read_json, read_text, read_toml
from emolib.errors import InputError

EXPECTED = "expected a list"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\"[{\\é"), inner),
)  # fmt: skip


def said(call):
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


@given(JSON)
def test_what_is_json_is_read_as_json_reads_it(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1)) == value


@given(st.text())
def test_any_text_is_read_or_refused_by_one_kind_of_error(text):
    try:
        read = parse_json(text)
    except ValueError as error:
        # What json takes is refused for a reason of ours alone.
        if not isinstance(error, json.JSONDecodeError):
            assert type(error).__name__ == "_RefusedError"
    else:
        assert read == json.loads(text)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[", "not JSON (line 1, column 2: Expecting value)"),
        ("", "not JSON (line 1, column 1: Expecting value)"),
        ("[" * 100_000, "lists or objects nested more than 64 deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "lists or objects nested more than 64 deep"),
        ("1" * 5000, "a number of 5000 digits (111111111111…)"),
        ("-1." + "1" * 5000, "a number of 5003 digits (-1.111111111…)"),
        ("1e999", "1e999 is too large for a number"),
        ("NaN", "NaN is no number"),
        ('{"a": 1, "a": 2}', "'a' is named twice; name it once"),
        (r'["\ud800"]', "a text with half a surrogate pair, which is no character"),
        (r'{"a": {"\udfff": 1}}', "a text with half a surrogate pair, which is no character"),
    ],
    ids=str,
)  # fmt: skip
def test_json_that_nothing_can_be_made_of_is_told_why(tmp_path, content, why):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert said(lambda: read_json(path, EXPECTED)) == f"{path}: {why}; {EXPECTED}"


def test_depth_is_that_of_brackets_outside_of_texts():
    deepest = "[" * documents.DEEPEST + "]" * documents.DEEPEST
    assert parse_json(deepest) is not None
    quoted = json.dumps(['[{"\\' * 1000])
    assert parse_json(quoted) == json.loads(quoted)
    assert parse_json(json.dumps([[]] * 1000)) == [[]] * 1000


def test_pairs_of_surrogates_are_a_character_and_numbers_that_are_none_where_they_may(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(r'["\ud83d\ude00", NaN, -Infinity]')
    text, nan, infinite = read_json(path, EXPECTED, nan=True)
    assert text == "😀" and math.isnan(nan) and infinite == -math.inf


def test_a_byte_order_mark_is_no_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path, EXPECTED) == [1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a = [", "not TOML (Invalid value (at end of document))"),
        ("a = " + "[" * 100_000, "lists or objects nested more than 64 deep"),
        ("a = " + "1" * 5000, "not TOML (Exceeds the limit (4300 digits) for integer string"),
        ("a = 1\na = 2", "not TOML (Cannot overwrite a value (at "),
    ],
    ids=["open", "deep", "long", "twice"],
)
def test_toml_that_is_none_is_told_why(tmp_path, content, why):
    path = tmp_path / "a.toml"
    path.write_text(content)
    found = said(lambda: read_toml(path, EXPECTED))
    assert found.startswith(f"{path}: {why}") and found.endswith(f"; {EXPECTED}")
    path.write_text('a = [1, "[["] # [[[')
    assert read_toml(path, EXPECTED) == {"a": [1, "[["]}


def test_what_is_no_file_to_read_is_told_why(tmp_path):
    loop, fifo, long = tmp_path / "loop", tmp_path / "fifo", tmp_path / ("x" * 300)
    loop.symlink_to(loop)
    os.mkfifo(fifo)
    (tmp_path / "bytes").write_bytes(b"a\xff")
    for path, why in [
        (tmp_path / "none", f"{tmp_path}/none: no such file"),
        (tmp_path, f"{tmp_path}: is a folder"),
        (fifo, f"{fifo}: is no regular file"),
        (loop, f"{loop}: cannot be read (it is a loop of links)"),
        (tmp_path / "bytes", f"{tmp_path}/bytes: not UTF-8 (byte 1)"),
        (tmp_path / "a\0b", f"{tmp_path}/a\ufffdb: no name that a file can have"),
    ]:
        assert said(lambda p=path: read_text(p, EXPECTED)) == f"{why}; {EXPECTED}"
    found = said(lambda: read_text(long, EXPECTED))
    assert "cannot be read (File name too long)" in found and len(found) < 300


def test_what_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2_000_001)
    assert len(read_bytes(path, EXPECTED, most=2_000_001)) == 2_000_001
    found = said(lambda: read_bytes(path, EXPECTED, most=2_000_000))
    assert found == f"{path}: 2 MB, more than the 2 MB that are read; {EXPECTED}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path):
    path = tmp_path / "mine"
    path.write_text("[]")
    path.chmod(0)
    assert "cannot be read (Permission denied)" in said(lambda: read_text(path, EXPECTED))
