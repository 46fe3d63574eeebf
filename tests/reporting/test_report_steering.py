"""The report's section on steering, from rows as a store would give them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import HOSTILE, around, lines_of, rows_of

from emolib.reporting.report_steering import largest_dose, steering


def dose(alpha, effect=None, fluency=0.0, place="resid:2", direction="emotion", on="neutral"):
    told = {"place": place, "direction": direction, "on": on, "alpha": f"{alpha:g}"}
    told |= {"logit_diff": around(3.0 * alpha if effect is None else effect), "log_odds": alpha}
    told |= {"sentiment": 0.25, "keyword_rate": 5.0 * alpha, "fluency": fluency}
    return told | {"distinct_2": -0.125, "cosine": 0.875}


def text_of(*doses, top_n=10, **dims):
    return "\n\n".join(steering(rows_of("steering", *doses, **dims), top_n))


def tables(text):
    """Give the lines of each table in a text."""
    return [lines_of(part) for part in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


def test_the_largest_dose_that_stays_fluent_is_named():
    costs = {-1: -3.0, 0: 0.0, 0.5: -0.25, 1: -1.0, 2: -1.5}
    text = text_of(*(dose(a, fluency=f) for a, f in costs.items()),
                   *(dose(a, 0.25, place="resid:2", direction="random") for a in (0.5, 1, 2)),
                   dose(0.5, fluency=-1.25, place="L0H1+L0H2"))  # fmt: skip
    named, _ = tables(text)
    assert [(line["place"], line["largest α"]) for line in named] == [
        ("resid:2", "1"), ("L0H1+L0H2", "none"),
    ]  # fmt: skip
    first = named[0]
    assert first["Δ logit_diff"].startswith("3.035 [") and first["random"] == "0.285"
    assert (first["Δ keywords"], first["Δ fluency"], first["cosine of halves"]) == (
        "5", "-1", "0.875",
    )  # fmt: skip


@given(st.lists(st.floats(-3, 0.5), min_size=1, max_size=6))
def test_no_dose_below_the_largest_is_less_fluent_than_what_is_let_through(costs):
    rows = rows_of("steering", *(dose(i + 1, fluency=cost) for i, cost in enumerate(costs)))
    found = largest_dose({("neutral", float(row.labels["alpha"])): row for row in rows})
    count = 0 if found is None else int(found.labels["alpha"])
    assert all(cost >= -1 for cost in costs[:count])
    assert count == len(costs) or costs[count] < -1


def test_doses_on_emotion_prompts_and_below_0_are_not_asked_for_the_largest():
    rows = rows_of("steering", dose(-1, fluency=-5), dose(0), dose(1), dose(9, on="emotion"))
    doses = {(row.labels["on"], float(row.labels["alpha"])): row for row in rows}
    assert largest_dose(doses).labels["alpha"] == "1"
    assert largest_dose({}) is None


def test_every_dose_stands_beside_its_control_neutral_first():
    text = text_of(dose(-1, on="emotion"), dose(2), dose(-2), dose(0.5),
                   dose(2, 0.5, fluency=-2, direction="random"))  # fmt: skip
    _, lines = tables(text)
    assert [(line["on"], line["α"]) for line in lines] == [
        ("neutral", "-2"), ("neutral", "0.500"), ("neutral", "2"), ("emotion", "-1"),
    ]  # fmt: skip
    assert [line["random"] for line in lines] == ["–", "–", "0.535", "–"]
    assert lines[2]["random: Δ fluency"] == "-2" and lines[2]["Δ distinct_2"] == "-0.125"
    # Eight templates: 2 of 256 flips are as large, in a table of four.
    assert {line["q"] for line in lines} == {"0.008"}
    assert "### one, joy" in text


def test_of_many_places_the_strongest_are_shown_in_their_order():
    places = [dose(1, effect, place=f"resid:{i}") for i, effect in enumerate((0.5, -9, 0.25, 4))]
    named, lines = tables(text_of(*places, top_n=2))
    assert len(named) == 4
    assert [line["place"] for line in lines] == ["resid:1", "resid:3"]


def test_studies_stand_apart_and_none_is_said():
    rows = rows_of("steering", dose(1)) + rows_of("steering", dose(2), model="two")
    text = "\n\n".join(steering(rows, 5))
    assert text.index("### one, joy") < text.index("### two, joy")
    (missing, why) = steering([], 5)
    assert (missing, why) == ("## Steering", "Not run: `pytest experiments/exp_steering.py`.")


def test_hostile_names_break_nothing():
    text = text_of(dose(1, place=HOSTILE), model="a|<b>")
    assert not re.search(r"<(b|i|script)>", text)
    assert all(len(line) > 3 for found in tables(text) for line in found)


def test_rows_without_a_control_or_an_effect_are_shown_as_far_as_they_go():
    (row,) = rows_of("steering", dose(1))
    bare = replace(row, values={"logit_diff": None})
    named, lines = tables("\n\n".join(steering([bare], 5)))
    assert named[0]["largest α"] == "none" and lines[0]["place"] == "resid:2"
    no_dose = replace(row, labels=row.labels | {"alpha": "much"})
    with pytest.raises(ValueError, match="much"):
        list(steering([no_dose], 5))
