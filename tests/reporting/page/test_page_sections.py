"""The sections that are read without scripts."""

from __future__ import annotations

from made import around, rows_of

from emolib.reporting.page import page_sections
from emolib.reporting.page.baseline_check import Compared
from emolib.reporting.page.page_words import told_of


def cells(table):
    names = [column.title for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def test_the_strongest_heads_of_each_study_with_what_is_no_chance(parts):
    section = page_sections.heads(parts.maps)
    lines = cells(section.tables[0])
    first = next(line for line in lines if line["model"].text == "one")
    assert first["head"].text == "L1H0" and first["head"].href == "#one/fear/L1H0"
    assert (
        first["zero: Δ logit_diff"].text.endswith(" *")
        and first["probe accuracy"].text[:5] == "0.750"
    )
    assert len(lines) == 16 and "“" not in section.tables[0].note


def test_texts_of_the_strongest_head(parts):
    tables = page_sections.texts(parts.strongest(), parts.prompts).tables
    assert [table.caption.partition(":")[0] for table in tables] == [
        "one, fear", "one, joy", "two, fear", "two, joy",
    ]  # fmt: skip
    line = cells(tables[0])[0]
    assert line["before"].text == "some text" and line["after"].text == "some text 0"
    assert tables[0].note == "24 of 24 texts changed."


def test_views_have_a_line_a_study(parts):
    views = parts.views
    for section, titles in (
        (page_sections.circuits(views.circuits), {"circuit", "F, held out", "CPR, random"}),
        (page_sections.paths(views.paths), {"sender", "receiver", "Δ logit_diff"}),
        (page_sections.controls(views.controls), {"head", "shuffled labels"}),
        (page_sections.steering(views.steering), {"place", "largest fluent α", "Δ logit_diff"}),
        (page_sections.units(views.units), {"unit", "patch_effect"}),
        (page_sections.models(views.comparison), {"strongest", "depth"}),
    ):
        lines = cells(section.tables[0])
        assert len({(line["model"].text, line["emotion"].text) for line in lines}) == 4
        assert titles <= lines[0].keys(), section.id
    assert not page_sections.models(None) and not page_sections.circuits({})


def test_experiments_of_somebody_s_own_are_there(parts):
    (table,) = page_sections.others(parts.views.others).tables
    assert table.caption == "silence" and cells(table)[0]["note"].text == "a reason"
    rows = rows_of("mine", {"loudness": around(2.0)})
    (table,) = page_sections.others({"mine": rows}).tables
    assert cells(table)[0]["loudness"].text.startswith("2.03 [")


def test_without_a_baseline_it_says_how_to_get_one():
    section = page_sections.check(Compared())
    assert "--effects-save" in section.notes[0] and not section.tables


def test_the_glossary_has_what_is_known():
    words = {name: told_of(name) for name in ("logit_diff", "mine")}
    section = page_sections.glossary(words)
    assert [line["column"].text for line in cells(section.tables[0])] == ["logit_diff"]
    assert section.folded and not page_sections.glossary({"mine": told_of("mine")})
