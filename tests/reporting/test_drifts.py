"""Effects that have moved, in words."""

from __future__ import annotations

from emolib.reporting.drifts import Drift, in_words


def test_a_head_has_a_line_with_each_way_its_effects_went():
    drifts = [Drift("m L0H2", -4.0, -1.92), Drift("m L1H0", 2.0, 3.0), Drift("m L0H2", -4.0, -2.84),
              Drift("m L0H2", 1.0, -1.0), Drift("m L2H0", 0.0, 0.5, is_control=True)]  # fmt: skip
    assert in_words(drifts) == [
        "m L0H2: two effects smaller by 29–52 %, one effect turned around",
        "m L1H0: one effect larger by 50 %",
        "m L2H0: one effect of a control that has to have none",
    ]
    assert in_words(drifts, most=1) == [in_words(drifts)[0], "and of two more heads"]
    assert in_words([]) == []


def test_what_was_nothing_has_no_share_and_what_is_gone_is_smaller():
    assert in_words([Drift("m L0H0", 0.0, 1.0)]) == ["m L0H0: one effect larger"]
    assert in_words([Drift("m L0H0", 1.0, 0.0)]) == ["m L0H0: one effect smaller by 100 %"]
