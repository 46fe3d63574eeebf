"""The table that a run ends with: no row is broken, whatever the width and the names."""

from __future__ import annotations

import pytest
from made import HOSTILE

from emolib.reporting.short_table import MOST, short_table

EFFECT = {"mean": -3.4875, "ci": [-3.744, -3.247]}


def line(**changes):
    return {
        "model": "tiny-gpt2", "emotion": "gratitude", "gap": {"mean": 13.137, "ci": [12.9, 13.33]},
        "heads": ["L0H2"], "head": "L0H2", "kind": "zero", "effect": EFFECT, "share": 0.265,
        "reliability": 0.987, "doubt": "",
    } | changes  # fmt: skip


def rows(text):
    """Give the lines of a table by column, without its legend."""
    head, rule, *found = text.splitlines()
    ends = [len(part) for part in rule.split("  ")]
    starts = [sum(ends[:i]) + 2 * i for i in range(len(ends))]
    cut = [slice(a, a + n) for a, n in zip(starts, ends, strict=True)]
    found = found[: next(i for i, text in enumerate(found) if text.startswith("carriers:"))]
    return [{head[c].strip(): text[c].strip() for c in cut} for text in found]


def test_a_line_a_study_with_what_was_found():
    assert rows(short_table([line()], width=120)) == [{
        "model": "tiny-gpt2", "emotion": "gratitude", "gap": "13.1 [12.9, 13.3]",
        "carriers": "L0H2", "zero: Δ": "−3.5 [−3.7, −3.2]", "of gap": "26 %", "ranking": "0.99",
    }]  # fmt: skip


@pytest.mark.parametrize("width", [80, 60, 52])
@pytest.mark.parametrize("name", ["tiny-gpt2", "meta-llama/Llama-3.2-1B-Instruct-of-ours"])
def test_no_line_is_wider_than_the_terminal(width, name):
    text = short_table([line(model=name), line(model="b", emotion="x")], width=width)
    assert max(map(len, text.splitlines())) <= width
    first, _ = rows(text)
    assert first["zero: Δ"] == "−3.5 [−3.7, −3.2]" and first["carriers"] == "L0H2"
    assert name.endswith(first["model"].lstrip("…"))


def test_at_80_columns_the_demo_keeps_its_gap_and_share():
    found = rows(short_table([line(heads=["L0H2", "L1H0"])], width=80))
    assert found[0]["gap"] == "13.1" and found[0]["of gap"] == "26 %"
    assert found[0]["carriers"] == "L0H2, L1H0"


def test_where_no_head_carries_or_none_was_ablated_that_is_said():
    unsure = line(heads=[], reliability=0.4, doubt="reliability 0.40 < 0.8")
    assert (
        rows(short_table([unsure]))[0] | {"carriers": "none (L0H2)", "ranking": "none"}
        == (rows(short_table([unsure]))[0])
    )
    screened = line(heads=[], kind=None, effect=None, share=None, gap=None)
    text = short_table([screened])
    assert "first head" in text.splitlines()[0] and "Δ" not in text.splitlines()[0]
    more = short_table([line(heads=["L0H0", "L0H1", "L1H0", "L2H0"])])
    assert "L0H0, L0H1 +2" in more


def test_of_many_studies_the_first_are_shown_and_the_others_counted():
    text = short_table([line(emotion=f"e{i}") for i in range(MOST + 3)])
    assert "(and 3 more studies)" in text and f"e{MOST}" not in text


def test_names_do_what_they_say_and_no_more():
    text = short_table([line(model=f"{HOSTILE}\x1b[31m", emotion="a\rb")], width=400)
    assert "\x1b" not in text and "\r" not in text
    # A name with line breaks stays one row.
    assert len(rows(text)) == 1


@pytest.mark.parametrize("fmt", ["github", "html", "latex"])
def test_other_formats_are_those_of_tabulate(fmt):
    assert "L0H2" in short_table([line()], fmt=fmt, width=200)
