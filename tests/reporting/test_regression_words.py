"""The regression check in words: which head, which way and by how much, before any table."""

from __future__ import annotations

from emolib.reporting.regression_check import Check, check_table, in_words
from emolib.results.baselines import DeclaredEffect
from emolib.stats.regression import Verdict


def check(baseline, now, outcome="drifted", heads="L0H2", role="gated", emotion="joy"):
    dims = {"model": "tiny-gpt2", "emotion": emotion, "heads": heads, "ablation": "zero"}
    effect = DeclaredEffect("head_ablation", dims, "logit_diff", role, (now,))
    return Check(effect, Verdict(outcome, baseline, now, None, 0.1))


def test_effects_of_a_head_are_one_line_with_the_span_of_their_change():
    found = in_words([check(-4, -2.84), check(-4, -1.92), check(2, 1)])
    assert found == ["tiny-gpt2 L0H2: three effects smaller by 29–52 %"]


def test_each_way_is_told_apart():
    found = in_words([
        check(-4, -6), check(-4, 1), check(0.0, 0.5, role="control", heads="L1H0"),
        check(-4, -2, "inconclusive", heads="L3H3"),
    ])  # fmt: skip
    assert found == [
        "tiny-gpt2 L0H2: one effect larger by 50 %, one effect turned around",
        "tiny-gpt2 L1H0: one effect of a control that has to have none",
        "one effect of which the pairs do not tell",
    ]


def test_of_many_heads_the_worst_are_named():
    found = in_words([check(-4, -1, heads=f"L{i}H0") for i in range(11)])
    assert found[0].startswith("tiny-gpt2 L0H0: ") and len(found) == 9
    assert found[-1] == "and of three more heads"


def test_what_is_as_it_was_is_said_in_a_line():
    assert in_words([check(-4, -4, "replayed")]) == ["one effect as it was"]
    assert in_words([check(-4, -4, "replayed"), check(-4, -4.01, "equivalent")]) == [
        "two effects as they were"
    ]
    assert "replayed" in check_table([check(-4, -4, "replayed")])
