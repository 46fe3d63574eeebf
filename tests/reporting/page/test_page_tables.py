"""Tables and maps for who reads without scripts."""

from __future__ import annotations

from page_results import HOSTILE

from emolib.reporting.page.head_maps import Grid, HeadMaps
from emolib.reporting.page.map_scores import Score
from emolib.reporting.page.page_tables import head_cell, static_map, study_cells, table_of
from emolib.results.selection import StudyKey

STUDY = StudyKey("org/m", "joy")
SCORE = Score("head_ablation", "zero", "logit_diff")


def test_columns_that_say_nothing_are_left_out_and_long_tables_say_so():
    lines = [{"a": i, "b": None, "c": "", "d": [0.5, 0.25, None]} for i in range(40)]
    table = table_of("t", lines, note="n", tips={"a": "what a is"})
    assert [(c.title, c.tip, c.number) for c in table.columns] == [
        ("a", "what a is", True), ("d", "", True),
    ]  # fmt: skip
    assert len(table.rows) == 30 and table.note == "n The first 30 of 40."
    assert table.rows[7][0].text == "7" and table.rows[7][1].text == "0.500"


def test_text_in_cells_is_shown_and_cut():
    table = table_of(HOSTILE, [{HOSTILE: HOSTILE + "w" * 999}])
    (row,) = table.rows
    for text in (table.caption, table.columns[0].title, row[0].text):
        assert "<script>" in text and not set(text) & {"\x1b", "\u202e", "\u2028"}
    assert row[0].text.endswith("more characters")


def test_cells_lead_to_heads_and_studies():
    assert head_cell(STUDY, "L0H1").href == "#org%2Fm/joy/L0H1"
    assert study_cells(STUDY)["emotion"].href == "#org%2Fm/joy"


def test_steps_of_colour_are_fifths_of_the_largest_of_all_maps():
    maps = HeadMaps()
    for emotion, values in (("joy", (-2.0, 0.2, 10.0, None)), ("fear", (-20.0, 0.0, 1.9, 6.1))):
        grid = Grid(2, 2)
        for head, value in zip(("L0H0", "L0H1", "L1H0", "L1H1"), values, strict=True):
            grid.put(head, mean=value)
        maps.grids[StudyKey("m", emotion)] = {SCORE: grid}
    shown = [static_map(maps, study, SCORE) for study in maps.studies]
    assert [[cell.level for row in one.rows for cell in row] for one in shown] == [
        ["n5", "z", "z", "p2"], ["z", "z", "p2", "none"],
    ]  # fmt: skip
    assert shown[1].rows[0][0].text == "−2" and shown[1].rows[1][1].text == "–"
    assert shown[0].caption == "Ablation: zero: Δ logit_diff, logits"
