"""The section on specificity: what heads are about, from rows as a store would give them."""

from __future__ import annotations

import re

import pytest
from made import FEW, HOSTILE, around, lines_of, rows_of

from emolib.reporting.report_specificity import about, specificity


def row(heads, effect, words, prompts, **more):
    record = {"logit_diff": around(effect), "specificity": words, "specificity_prompts": prompts}
    record |= {"effect_joy": around(effect), "effect_fear": around(0.25), "kind": "zero"}
    return rows_of("head_specificity", record | more, heads=heads)[0]


BOTH = [-1.0, 1.0] * (FEW // 2)


@pytest.mark.parametrize(
    ("effect", "words", "verdict"),
    [
        (-2.0, around(-2.0), "this emotion"),
        (2.0, around(1.5), "this emotion"),
        (-2.0, around(2.0), "other emotions more"),
        (-2.0, BOTH, "any emotion"),
        (-0.035, around(-2.0), "no effect"),
        (-2.0, [0.0] * FEW, "any emotion"),
        # Float noise that has no spread is no effect on either side of 0.
        (-2.0, [1e-9] * FEW, "any emotion"),
        (-2.0, -1.5, ""),
        (-2.0, None, ""),
    ],
)
def test_what_a_head_is_about(effect, words, verdict):
    assert about(row("L0H0", effect, words, 0.0), "specificity") == verdict


@pytest.mark.parametrize("other", [-2.5, 2.5])
def test_words_of_another_emotion_that_move_as_far_are_told_of(other):
    """A mean over the others hides one that moves the most, or the other way."""
    one = row("L0H0", -2.0, around(-1.5), around(-1.5), effect_fear=around(other))
    assert about(one, "specificity") == "others as much"
    assert about(one, "specificity_prompts") == "this emotion"


def test_top_heads_by_effect_with_what_they_are_about():
    rows = [
        row("L0H1", -5.0, around(-4.8), BOTH),
        row("L1H0", -3.0, BOTH, around(-2.0)),
        row("L0H0", 0.1, BOTH, BOTH),
    ]
    text = "\n".join(specificity(rows, 2))
    assert "### one, joy: zero ablation" in text
    assert "By words, of the heads below: this emotion: L0H1; any emotion: L1H0." in text
    assert "By prompts, of the heads below: this emotion: L1H0; any emotion: L0H1." in text
    first, second = lines_of(text)
    assert (first["heads"], second["heads"]) == ("L0H1", "L1H0")
    assert first["by words: about"] == second["by prompts: about"] == "this emotion"
    assert first["Δ logit_diff"].startswith("-4.965 [") and first["Δ fear words"] == "0.285"
    assert "Δ joy words" not in first
    # Three heads were tested: two of 256 flips are as large, times three over one.
    assert float(first["by words: q"]) == pytest.approx(3 * 2 / 2**FEW, abs=2e-3)


def test_heads_that_a_rank_chose_have_no_q():
    (line,) = lines_of("\n".join(specificity([row("L0H1", -5.0, around(-4.8), 0.5,
                                                  spec="top1")], 5)))  # fmt: skip
    assert "by words: q" not in line and line["by prompts"] == "0.500"


def test_without_rows_the_command_is_named():
    assert "Not run: `pytest experiments/exp_head_specificity.py`." in "\n".join(specificity([], 5))


def test_hostile_names_break_nothing():
    found = [row(HOSTILE, -5.0, around(-4.8), BOTH)]
    text = "\n".join(specificity(found, 5))
    assert not re.search(r"<(b|i|script)>", text)
    assert len(lines_of(text)) == 1
