"""Which heads carry an emotion: every part of the rule decides, each on its own."""

from __future__ import annotations

import numpy as np
import pytest
from made import FEW, rows_of

from emolib.reporting import carriers as module
from emolib.reporting.carriers import rule
from emolib.reporting.wording import Estimate
from emolib.results.chances import columns
from emolib.results.selection import StudyKey

STUDY = StudyKey("one", "joy")
GAP = {STUDY: Estimate(10.0)}
NOISE = np.linspace(-0.2, 0.2, FEW)


def carriers(found, gaps):
    """Give the carriers of rows that are tested as a run tests them."""
    tested = {place: told.get("logit_diff_max_t") for place, told in columns(found).items()}
    return module.carriers(found, gaps, tested)


def rows(effects, kind="zero", key="ablation", **labels):
    """Give a row a head of one table, each with its effect and a little noise of its own."""
    return [
        row
        for i, (heads, effect) in enumerate(effects.items())
        for row in rows_of(
            "x", {"logit_diff": effect + np.roll(NOISE, i)} | labels, heads=heads, **{key: kind}
        )
    ]


def heads(*found, gaps=GAP):
    (one,) = carriers([row for rows in found for row in rows], gaps)
    return one.heads


def test_a_head_that_lowers_the_gap_by_enough_carries():
    assert heads(rows({"L0H0": -2, "L0H1": -4, "L1H0": 0})) == ("L0H1", "L0H0")


def test_one_that_lowers_it_by_too_little_does_not():
    assert heads(rows({"L0H0": -2, "L0H1": -0.9})) == ("L0H0",)


def test_one_that_raises_it_does_not():
    assert heads(rows({"L0H0": -2, "L0H1": 4})) == ("L0H0",)
    assert heads(rows({"L0H0": -2, "L0H1": 4}), gaps={STUDY: Estimate(-10.0)}) == ("L0H1",)


def test_where_there_is_no_gap_nothing_carries():
    for gap in (Estimate(0.05), Estimate(-0.03), Estimate(2.0, (-1.0, 5.0))):
        assert heads(rows({"L0H0": -2, "L0H1": 0.3}), gaps={STUDY: gap}) == ()


def test_one_that_may_be_chance_does_not():
    loud = {"logit_diff": np.array([-30, 26] * (FEW // 2), float)}
    found = [*rows({"L0H0": -2}), *rows_of("x", loud, heads="L0H1", ablation="zero")]
    assert found[1].mean("logit_diff") == -2
    assert heads(found) == ("L0H0",)


def test_one_must_count_under_every_kind_that_was_run():
    (one,) = carriers(
        [*rows({"L0H0": -2, "L0H1": -4, "L1H1": -3}),
         *rows({"L0H0": -2, "L0H1": -0.3, "L1H1": -0.9}, "mean")],
        GAP,
    )  # fmt: skip
    assert one.heads == ("L0H0",)
    # What comes to a fifth under mean ablation is less than a carrier and more than a constant.
    assert one.constants == ("L0H1",)
    assert one.kind == "zero" and one.strongest == "L0H0"
    assert one.share("L0H0") == pytest.approx(0.2, abs=0.01)


def test_denoising_tells_of_the_emotion_the_other_way():
    found = [*rows({"L0H0": 3, "L0H1": -3}, "denoise", "direction"),
             *rows({"L0H0": -3, "L0H1": -3}, "noise", "direction")]  # fmt: skip
    assert heads(found) == ("L0H0",)


def test_without_a_gap_that_is_known_being_more_than_chance_is_enough():
    (one,) = carriers(rows({"L0H0": -2, "L0H1": -0.9, "L1H0": 0}), {})
    assert one.heads == ("L0H0", "L0H1")
    assert one.share("L0H0") is None


def test_what_a_rank_chose_is_not_tested_and_several_heads_together_are_not_one():
    (one,) = carriers(rows({"top1": -4, "L0H0+L0H1": -8}, spec="top:1"), GAP)
    assert not one.is_tested
    assert one.heads == ()
    assert list(one.first) == ["top1"]


def test_patching_elsewhere_than_at_the_position_of_the_run_is_left_out():
    here, there = (
        rows({"L0H0": 3}, "denoise", "direction", position=at) for at in ("last", "slot")
    )
    for row in [*here, *there]:
        row.provenance["position"] = "last"
    (one,) = carriers([*there, *here], GAP)
    assert one.heads == ("L0H0",)
    assert carriers(there, GAP) == []


def test_the_rule_is_told_as_it_is():
    assert "ablating it alone" in rule(["zero", "mean"])
    assert "patching it alone" in rule(["denoise"])
    assert "10 %" in rule(["zero"]) and "0.05" in rule(["zero"])
