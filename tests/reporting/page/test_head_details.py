"""What a head does pair by pair: effects in their places, texts that changed, where it looks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made import FEW, rows_of

from emolib.reporting.page.head_details import HeadDetails
from emolib.reporting.page.study_prompts import Prompts
from emolib.results.selection import StudyKey, study_of

STUDY = StudyKey("one", "joy")
EFFECTS = [0.0, -8.0, 1.0, 0.5, 0.25, 4.0, 0.125, -0.001]
CLEAN = [f"one two three {i}" for i in range(FEW)]


def details(*rows):
    prompts, found = Prompts(), HeadDetails()
    for row in rows:
        prompts.see(row)
        found.see(row, prompts[study_of(row)])
    return found.heads[STUDY]["L0H1"]


def ablated(after, **more):
    record = {"logit_diff": EFFECTS, "prompt": ["a prompt"] * FEW, "clean_text": CLEAN,
              "ablated_text": after} | more  # fmt: skip
    (row,) = rows_of("head_ablation", record, heads="L0H1", ablation="zero")
    return row


def test_values_are_told_with_as_many_decimals_as_the_largest_needs():
    (effects,) = details(ablated(CLEAN)).told(0)["effects"]
    assert effects == {
        "score": "head_ablation/zero/logit_diff",
        "values": [0, -8, 1, 0.5, 0.25, 4, 0.125, -0.001],
    }


def test_pairs_of_a_row_that_lacks_some_stand_in_their_places():
    part = ablated(CLEAN)
    ids = ["p6", "p0"]
    some = replace(part, dims=part.dims | {"ablation": "mean"}, vectors={"logit_diff": [3.0, 2.0]},
                   pairs={"ids": ids, "templates": ids}, texts={})  # fmt: skip
    _, effects = details(part, some).told(0)["effects"]
    assert effects["values"] == [2, None, None, None, None, None, 3, None]


def test_texts_that_changed_come_the_most_changed_first():
    after = [*CLEAN]
    after[2], after[5] = "one two three 9", "nothing of it"
    (texts,) = details(ablated(after)).told(-math.inf)["texts"]
    assert texts["title"] == "zero ablation" and (texts["changed"], texts["of"]) == (2, FEW)
    assert texts["rows"] == [[5, "nothing of it"], [2, "one two three 9"]]
    (few,) = details(ablated(after)).told(0.5)["texts"]
    assert few["rows"] == [[5, "nothing of it"]] and few["changed"] == 2


def test_texts_of_other_clean_ones_have_them_beside():
    others = [f"other {i}" for i in range(FEW)]
    second = ablated(["changed"] * FEW, clean_text=others)
    second = replace(second, dims=second.dims | {"ablation": "mean"})
    _, texts = details(ablated(CLEAN), second).told(-math.inf)["texts"]
    assert texts["rows"][0] == [0, "changed", "other 0"]


def test_it_looks_at_the_pairs_that_the_head_moves_most():
    tokens = [["a", "b"]] * FEW
    record = {"delta_slot": [0.0] * FEW, "slot": [[0, 1]] * FEW}
    for side in ("emotion", "neutral"):
        record |= {f"{side}_tokens": tokens, f"{side}_attention": [[0.12345, 0.5]] * FEW}
    (row,) = rows_of("attention_patterns", record, heads="L0H1")
    looks = details(ablated(CLEAN), row).told(0)["attention"]
    assert [look["pair"] for look in looks] == [1, 5, 2, 3, 4, 6]
    assert looks[0]["emotion"] == looks[0]["neutral"] == pytest.approx([0.123, 0.5])
