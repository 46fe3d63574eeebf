from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from made import HOSTILE

from emolib.reporting.markdown import escape, plain_table, table

# Every mark but an underscore inside a word, after an even number of backslashes.
LIVE = re.compile(r"(?<!\\)(?:\\\\)*(?:[`*\[\]|~$<>]|(?<![^\W_])_|_(?![^\W_\\]))")


@given(st.text(max_size=60) | st.text("_*`[]|~$<>\\\\a1. -#\n\t", max_size=20))
def test_escaped_text_is_one_line_without_live_marks(text):
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert not LIVE.search(shown)
    assert not re.match(r"\s*(\d+[.)]|[#+=-])", shown)


def test_hostile_text():
    assert escape(HOSTILE) == (
        r"a\|b \`c\` &lt;script&gt;x&lt;/script&gt; \](y) \$z\$ \\n \*d\* ↵ # e ↵ 1. f "
        r"&amp; \\frac{}\_{}"
    )


def test_names_are_left_readable():
    assert escape("max_new_tokens 0.1.0") == "max_new_tokens 0.1.0"
    assert escape("_a_ __b c__d") == r"\_a\_ \_\_b c\_\_d"


def test_controls_are_shown_not_obeyed():
    shown = escape("a\x1b[31m\x00\u202eb\x07\x1f")
    assert shown == "a\ufffd\\[31m\ufffd\ufffdb\ufffd\ufffd"
    assert "\x1b" not in plain_table([{"a": "\x1b[2J\nb"}])


def test_long_text_is_cut_before_it_is_escaped():
    shown = escape("&" * 400)
    assert shown == "&amp;" * 299 + "…"


def test_a_table_keeps_its_columns():
    shown = table([{"a": "x|y\nz", "b": None, "c|": 1.5}, {"a": "", "b": None, "c|": [0.5, 1.0]}])
    lines = shown.splitlines()
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3] * 4
    assert r"c\|" in lines[0] and "[0.500, 1]" in lines[3] and " b " not in lines[0]
