"""What readers have to know beside the numbers: what was left out, and designs out of reach."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from made import FEW, around, rows_of

from emolib.reporting.notes import clusters_of, notes, out_of_reach
from emolib.results.rows import Row


def row(provenance, model="one", emotion="joy"):
    return Row("i", "x", "k", 0, 1, {"model": model, "emotion": emotion}, provenance=provenance)


def effects(count, experiment="effect", metric="logit_diff", **dims):
    return [
        made
        for i in range(count)
        for made in rows_of(experiment, {metric: around(1.0)}, heads=f"L0H{i}", **dims)
    ]


def three_templates(row):
    return 3, "templates"


def test_pairs_left_out_are_told_once_a_study_and_two_by_name():
    left_out = [["p1", "5 and 6 tokens"], ["p2", "no slot"], ["p3", "no slot"]]
    rows = [row({"left_out": left_out})] * 2
    rows += [row({"left_out": left_out[:1]}, emotion="fear"), row({"left_out": []}, "two")]
    assert list(notes(rows)) == [
        "one, joy: 3 pairs left out (p1: 5 and 6 tokens; p2: no slot; …)",
        "one, fear: 1 pairs left out (p1: 5 and 6 tokens)",
    ]


def test_words_in_pieces_are_told_once_for_all_models_that_cut_them_alike():
    rows = [row({"in_pieces": ["a", "b", "c"]}, model) for model in ("one", "two", "one")]
    rows += [row({"in_pieces": ["a"]}, "three"), row({"in_pieces": []}, "four")]
    end = "and stay out of the logit metrics of"
    assert list(notes(rows)) == [
        f"joy: 3 words are several tokens each (a, b, …) {end} one, two",
        f"joy: 1 words are several tokens each (a) {end} three",
    ]


def test_nothing_left_out_is_nothing_told():
    assert list(notes([])) == list(notes([row({})])) == []


def test_a_design_that_can_tell_nothing_from_chance_is_told():
    (said,) = out_of_reach(effects(3), three_templates)
    assert said == (
        "effect: 3 templates and 3 tests: the least possible p is 2/2^3 = 0.25, so nothing can be "
        "significant at 0.05 (it takes 6 templates, for one of 3 alone 7 templates)"
    )
    assert list(out_of_reach(effects(3), lambda row: (12, "templates"))) == []


def test_the_tests_are_those_of_a_table():
    """Of a model, an emotion and a kind: rows of two kinds are not tests of one another."""
    rows = effects(2, ablation="zero") + effects(2, ablation="mean") + effects(2, model="two")
    (said,) = out_of_reach(rows, three_templates)
    assert said.startswith("effect: 3 templates and 2 tests: ")
    rows = effects(2) + effects(2, "other") + effects(5, "third", "atp_ig")
    told = [said.partition(" tests: ")[0] for said in out_of_reach(rows, three_templates)]
    assert told == ["effect, other: 3 templates and 2", "third: 3 templates and 5"]


def test_rows_that_a_rank_chose_are_no_tests():
    chosen = [replace(row, labels={"spec": "top1"}) for row in effects(3)]
    assert list(out_of_reach(chosen, three_templates)) == []
    (said,) = out_of_reach([*chosen, *effects(1)], three_templates)
    assert said.startswith("effect: 3 templates: ")


def test_rows_without_an_effect_that_is_tested_are_none():
    rows = effects(3, metric="sentiment")
    rows += [replace(row, values={"logit_diff": 1.0}) for row in effects(3)]
    assert list(out_of_reach(rows, three_templates)) == []


def test_what_a_row_stands_on():
    (made,) = effects(1)
    assert clusters_of(made) == (FEW, "templates")
    assert clusters_of(replace(made, pairs={"templates": ["a", "b"] * 4})) == (2, "templates")
    assert clusters_of(replace(made, pairs={})) == (FEW, "prompts")
    assert clusters_of(replace(made, pairs={}, vectors={})) == (0, "prompts")


def test_where_nothing_is_tested_numpy_is_not_loaded():
    script = (
        "import sys; from emolib.reporting.notes import notes, out_of_reach\n"
        "print([*notes([]), *out_of_reach([], None)], 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[] False", done.stderr
