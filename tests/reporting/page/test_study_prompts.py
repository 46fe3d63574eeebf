"""The prompts of a study: in order of their pairs, whose side they are, where they differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from made import FEW, around, rows_of

from emolib.reporting.page.study_prompts import Prompts, differing, side_of
from emolib.results.selection import StudyKey

STUDY = StudyKey("one", "joy")
TEXT = st.text(st.sampled_from("ab 🙂."))


def units(text):
    return text.encode("utf-16-le")


@given(TEXT, TEXT)
def test_what_is_outside_the_spans_is_the_same_on_both_sides(left, right):
    spans = differing(left, right)
    if left == right:
        assert spans == (None, None)
        return
    outside = [
        (units(text)[: 2 * start], units(text)[2 * end :])
        for text, (start, end) in zip((left, right), spans, strict=True)
    ]
    assert outside[0] == outside[1]


def test_spans_are_of_whole_words():
    left, right = "He thanked Anna.", "He talked to Anna."
    (a, b), (c, d) = differing(left, right)
    assert (left[a:b], right[c:d]) == ("thanked", "talked to")
    assert differing(None, "a") == (None, None)


def test_each_side_has_its_prompts_and_clean_texts():
    prompts = Prompts()
    for direction, side in (("noise", "emotion"), ("denoise", "neutral")):
        record = {"direction": direction, "logit_diff": around(1.0),
                  "prompt": [f"{side} {i}" for i in range(FEW)],
                  "clean_text": [f"{side} clean {i}" for i in range(FEW)],
                  "patched_text": ["x"] * FEW}  # fmt: skip
        (row,) = rows_of("head_patching", record, heads="L0H1")
        assert side_of(row) == side
        prompts.see(row)
    told = prompts[STUDY].told()
    assert told["pairs"][1] == {"id": "p1", "template": "t1"}
    assert told["emotion"][2] == "emotion 2" and told["clean"]["neutral"][7] == "neutral clean 7"
    assert told["differ"]["emotion"][0] == [0, 7] and told["tokens"] is told["slot"] is None


def test_free_prompts_are_numbered():
    (row,) = rows_of("head_ablation", {"logit_diff": around(1.0), "prompt": ["a", "b", "c"]},
                     heads="L0H1", ablation="zero")  # fmt: skip
    row.pairs.clear()
    prompts = Prompts()
    prompts.see(row)
    told = prompts[STUDY].told()
    assert [pair["id"] for pair in told["pairs"]] == ["0", "1", "2"]
    assert told["emotion"] == ["a", "b", "c"] and told["neutral"] == [None] * 3
