"""What studies say beside their maps: circuits, paths, steering, units, controls, specificity."""

from __future__ import annotations

import pytest
from circuit_rows import ends, points
from made import around, rows_of

from emolib.reporting.page import study_views
from emolib.results.selection import StudyKey

STUDY = StudyKey("one", "joy")


def test_a_circuit_with_its_curves():
    own = {"order": "ranking", "circuit": "L0H1+L0H2", "k": 2, "n_heads": 5, "chosen": 0.9}
    own |= {"why_no_rest": "too small"} | ends("held_out", 0.85)
    random = {"order": "random", "k": 2, "cpr": 0.25, "cmd": 0.75}
    (found,) = study_views.circuits(rows_of("circuit_summary", own, random), points()).values()
    assert found["circuit"] == ["L0H1", "L0H2"] and found["held_out"] == [0.85, 0.8, 0.9]
    assert (found["cpr"], found["cpr_random"], found["notes"]) == (None, 0.25, ["too small"])
    curve = [(point["k"], point["f"]) for point in found["curves"]["ranking"]]
    assert curve == [(0, 0), (1, 0.7), (2, 0.9), (5, 1)]
    drawn = found["curves"]["random"][1]
    assert (drawn["low"], drawn["high"]) == pytest.approx((drawn["f"] - 0.2, drawn["f"] + 0.2))


def test_paths_come_the_strongest_first_and_other_rows_are_left_alone():
    path = {"sender": "L0H1", "receiver": "L1H0", "input": "q", "effect": around(0.1),
            "total": around(1.0), "share": 0.1}  # fmt: skip
    strong = path | {"receiver": "logits", "input": "all", "effect": around(-0.5)}
    found = study_views.paths(rows_of("head_paths", path, strong, {"effect": 1.0}))[STUDY]
    assert [line["receiver"] for line in found["paths"]] == ["logits", "L1H0"]
    assert found["paths"][0]["effect"][0] == pytest.approx(-0.465)


def dose(alpha, fluency, direction="emotion", place="L0H1+L1H0"):
    return {"place": place, "direction": direction, "on": "neutral", "alpha": f"{alpha:g}",
            "logit_diff": around(alpha), "fluency": fluency, "cosine": 0.9}  # fmt: skip


def test_doses_are_in_order_and_the_largest_that_stays_fluent_is_named():
    rows = rows_of("steering", dose(2, -3.0), dose(1, -0.5), dose(1, -0.25, "random"),
                   dose(1, -5.0, place="resid:2"))  # fmt: skip
    heads, resid = study_views.steering(rows)[STUDY]["places"]
    assert (heads["place"], heads["largest"]) == ("L0H1+L1H0", 1)
    assert [one["alpha"] for one in heads["doses"]] == [1, 1, 2]
    by_direction = {one["direction"]: one for one in heads["doses"][:2]}
    assert by_direction["emotion"]["values"]["fluency"] == [-0.5, None, None]
    assert (resid["place"], resid["largest"]) == ("resid:2", None)


def test_units_with_layers_confirmation_and_edits():
    unit = {"unit": "L3U7", "atp": around(0.3), "reliability": 0.9, "relp": 0.5}
    found = study_views.units(
        {
            "unit_screening": rows_of("unit_screening", unit, unit | {"unit": "odd"}),
            "unit_layers": rows_of("unit_layers", {"layer": "L0", "sum_abs_atp": 2.0}),
            "unit_confirmation": rows_of(
                "unit_confirmation",
                {"kind": "zero", "top_effect": around(-1), "random_effect": around(0),
                 "difference": around(-1), "n_units": 3},
            ),
            "unit_ablation": rows_of("unit_ablation", {"spec": "top1", "logit_diff": around(-1)},
                                     units="L3U7", ablation="zero"),
        }
    )[STUDY]  # fmt: skip
    assert [(one["unit"], one["layer"]) for one in found["units"]] == [("L3U7", 3), ("odd", None)]
    assert found["layers"][0]["values"]["sum_abs_atp"] == 2
    assert found["confirmed"][0]["p"] < 0.05 and found["confirmed"][0]["random"] is not None
    (edit,) = found["edits"]
    assert (edit["units"], edit["kind"], edit["random"]) == ("L3U7", "zero", None)


def test_what_no_map_shows_is_told_aside():
    aside = study_views.Aside()
    special = {"specificity": around(1.0), "effect_joy": around(2.0), "effect_awe": 0.5}
    for row in (
        *rows_of("head_ablation", {"logit_diff": around(1.0)}, heads="L0H1+L1H0", ablation="zero"),
        *rows_of("head_ablation", {"logit_diff": around(1.0), "why_no_self_repair": "<small>"},
                 heads="L0H1", ablation="mean"),
        *rows_of("head_specificity", special, heads="L0H1"),
    ):  # fmt: skip
        aside.see(row)
    told = aside.told(STUDY)
    assert [(one["heads"], one["score"]) for one in told["sets"]] == [
        ("L0H1+L1H0", "head_ablation zero logit_diff"),
    ]  # fmt: skip
    assert told["facts"] == {"L0H1": [{"label": "no self repair (mean)", "text": "<small>"}]}
    assert told["specific"]["emotions"] == ["joy", "awe"]
    assert told["specific"]["heads"]["L0H1"][1] == [0.5, None, None]
    assert aside.told(StudyKey("x", "y"))["specific"] is None


def test_texts_under_steering_are_those_of_few_prompts_under_the_emotion_alone():
    texts = {"prompt": list("abcdefgh"), "clean_text": list("ijklmnop"),
             "steered_text": list("qrstuvwx")}  # fmt: skip
    found = study_views.SteeredTexts()
    for row in rows_of("steering", dose(1, 0) | texts, dose(0, 0) | texts,
                       dose(1, 0, "random") | texts):  # fmt: skip
        found.see(row)
    told = found.told(STUDY)
    assert told["prompts"] == {"neutral": list("abcdef")}
    (only,) = told["texts"]
    assert only["alpha"] == 1 and only["rows"][5] == [5, "v"]
    assert found.told(StudyKey("x", "y")) is None
