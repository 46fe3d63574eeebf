"""How far to trust it: rankings that are none, and controls told with what they exclude."""

from __future__ import annotations

import numpy as np
from made import FEW, around, rows_of

from emolib.reporting.found_checks import controls, ranking


def controlled(**record):
    return rows_of("head_controls", {"head": "L0H0", "denoise": around(10)} | record)


def test_a_control_is_told_as_an_interval_never_by_its_mean_alone():
    wide = np.array([6.0, -6.0] * (FEW // 2)) + 0.18
    rows = controlled(shuffled_labels=wide)
    low, high = rows[0].interval("shuffled_labels")
    (found,) = controls(rows)
    assert not found.found
    assert "0.2 [−" in found.text
    assert f"excludes nothing smaller than {max(-low, high):.1f} logits" in found.text
    assert "beside effects of 10.0" in found.text


def test_a_control_that_comes_to_nothing_is_found():
    (found,) = controls(controlled(shuffled_labels=around(0)))
    assert found.found and "excludes nothing smaller than 0.1 logits" in found.text


def test_other_heads_of_the_layer_that_do_the_same_are_said_to():
    same, other = (next(iter(controls(controlled(same_layer=around(size))))) for size in (0, 5))
    assert same.found and same.heads == ("L0H0",)
    assert not other.found and "other heads of the layer do much of the same" in other.text


def test_what_an_unemotional_word_does_is_not_about_emotion():
    (found,) = controls(controlled(lexical=around(2)))
    assert not found.found and "20 % of its effect: so much of it is not about" in found.text


def test_controls_of_a_head_that_does_nothing_are_no_controls():
    nothing = np.array([6.0, -6.0] * (FEW // 2))
    (found,) = controls(controlled(denoise=nothing, same_layer=around(0), lexical=around(2)))
    assert not found.found and "Controls say nothing where the head itself" in found.text


def test_what_may_be_nothing_is_not_said_to_be_much():
    (found,) = controls(controlled(lexical=np.array([12.0, -8.0] * (FEW // 2))))
    assert not found.found and found.text.endswith(", or nothing: it says little.")


def test_controls_of_somebody_elses_making_say_nothing():
    assert list(controls(rows_of("head_controls", {"own": 1.0}))) == []


def screened(reliability, **record):
    return rows_of(
        "head_screening", {"atp_ig": around(1), "reliability": reliability} | record, heads="L0H0"
    )


def test_a_reliable_ranking_is_told_with_what_it_may_have_missed():
    more = {"rank_correlation": 0.8, "missed_most": 1, "missed_rest": 11, "missed_tau": 0.03}
    (found,) = ranking(screened(0.9, **more))
    assert found.found
    assert "reliability 0.90, one, joy); its rank correlation with exact patching" in found.text
    assert "Of the 11 heads a study" in found.text and "0.03 logits (95 %)" in found.text


def test_what_is_no_ranking_is_not_told_as_one():
    for reliability, why in ((0.4, "reliability 0.40 < 0.8"), (None, "too few pairs")):
        (found,) = ranking(screened(reliability))
        assert not found.found and why in found.text
