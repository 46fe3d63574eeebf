"""What is said beyond single heads: each method's figures, and where it found nothing."""

from __future__ import annotations

from circuit_rows import ends
from made import FEW, around, rows_of

from emolib.reporting import found_methods
from emolib.reporting.carriers import Carriers, Effect
from emolib.reporting.wording import Estimate
from emolib.results.selection import StudyKey

JOY = StudyKey("one", "joy")
BOTH = [-1.0, 1.0] * (FEW // 2)
CARRIES = [Carriers(JOY, None, {"zero": {"L0H0": Effect(Estimate(-5), 0.01)}}, ("L0H0",))]


def told(found):
    return [(one.found, one.text) for one in found]


def specific(words, prompts, heads="L0H0", effect=-5.0):
    record = {"logit_diff": around(effect), "specificity": words, "specificity_prompts": prompts}
    return rows_of("head_specificity", record | {"effect_fear": 0.1, "kind": "zero"}, heads=heads)


def test_a_head_is_specific_by_words_and_not_by_prompts():
    by_words, by_prompts = told(found_methods.specificity(specific(around(-4), BOTH), CARRIES))
    assert by_words[0] and "By words, 1 of the 1 pairs" in by_words[1]
    assert by_words[1].endswith("on the same prompts is −3.97 [−3.99, −3.95] logits.")
    assert by_prompts == (
        False,
        "Not specific by prompts: L0H0 (one, joy) does no less to the other emotions' own words on "
        "their own prompts.",
    )


def test_specificity_is_told_of_heads_that_carry_alone():
    assert list(found_methods.specificity(specific(around(-4), BOTH, "L1H0"), CARRIES)) == []


def summary(**record):
    own = {"order": "ranking", "circuit": "L0H0+L1H0", "k": 2, "n_heads": 16}
    return rows_of("circuit_summary", own | record, {"order": "random"})


def test_a_circuit_is_told_with_what_it_keeps_and_what_is_left():
    (found,) = found_methods.circuit(summary(**ends("held_out", 0.9), **ends("rest", 0.02)))
    assert found.heads == ("L0H0", "L1H0")
    assert found.text == (
        "2 of 16 heads are a circuit (L0H0+L1H0 in one): on held-out templates they keep a share F "
        "of the emotion of 0.90 [0.85, 0.95], all other heads together 2 %."
    )


def test_circuits_that_keep_too_little_are_not_alone_or_not_there():
    for kept, said in ((0.5, "0.50 [0.45, 0.55]"), (-2.4, "−2.40 [−2.45, −2.35]")):
        (short,) = told(found_methods.circuit(summary(**ends("held_out", kept))))
        assert short == (False, "On held-out templates the chosen heads keep less than F = 0.8, or "
                                f"none that can be told: {said}.")  # fmt: skip
    (wide,) = told(found_methods.circuit(summary(**ends("held_out", 0.9, reach=1.0))))
    assert not wide[0] and "none that can be told" in wide[1]
    _, double = told(found_methods.circuit(summary(**ends("held_out", 0.9), **ends("rest", 0.6))))
    assert not double[0] and "still do more than 20 %" in double[1]
    (none,) = told(found_methods.circuit(summary(held_out=None, why_no_held_out="too few")))
    assert none == (False, "No circuit in one (joy): too few.")


def test_an_f_without_an_interval_makes_no_circuit():
    """As of a model that the prompts hardly move: the share of a gap of next to nothing."""
    (found,) = told(
        found_methods.circuit(summary(held_out=2.4, rest=1.5, why_no_held_out_ci="no gap"))
    )
    assert found == (
        False,
        "Whether few heads are a circuit cannot be told in one (joy): F on held-out templates, "
        "2.40, has no interval: no gap.",
    )


def path(sender, receiver, effect, share=None):
    record = {"sender": sender, "receiver": receiver, "input": "all", "share": share}
    return record | {"effect": around(effect), "total": around(10.0)}


def test_paths_are_told_of_the_strongest_sender():
    rows = rows_of("head_paths", path("L0H0", "logits", 6.0, 0.6), path("L0H0", "L1H0", 3.0),
                   path("L0H0", "L1H1", 1.0))  # fmt: skip
    (found,) = found_methods.paths(rows)
    assert "directly by 6.04 [" in found.text and "60 % of all that it does" in found.text
    assert found.text.endswith("(L0H0 → L1H0, one, joy).")
    assert list(found_methods.paths(rows_of("head_paths", {"own": 1.0}))) == []


def probed(heads, p, effect):
    record = {"accuracy": [1.0] * FEW, "auroc": [0.5 + abs(effect) / 10] * FEW, "p": p}
    return rows_of("head_probe", record | {"logit_diff": effect * 1.0}, heads=heads)[0]


def test_probes_say_what_can_be_read_and_that_this_is_not_what_is_used():
    rows = [probed("L0H0", 0.001, 2), probed("L0H1", 0.002, 1), probed("L1H0", 0.9, 0)]
    (found,) = found_methods.probes(rows)
    assert "from z of 2 of 3 heads a study" in found.text
    assert "is 1.00. A probe says what is there, not what is used." in found.text


def confirmed(kind, difference, emotion="joy"):
    record = {"kind": kind, "difference": difference, "n_units": 20}
    return rows_of("unit_confirmation", record, emotion=emotion)


def test_units_are_confirmed_where_they_do_more_than_random_ones():
    rows = [*confirmed("zero", around(-3)), *confirmed("zero", BOTH, "fear")]
    none, found = told(found_methods.units(rows))
    assert found[0] and "under zero ablation by −2.97" in found[1]
    assert "(1 of 2 studies)" in found[1]
    assert not none[0] and "in one (fear)" in none[1]


def dose(alpha, fluency, effect=3.0, direction="emotion"):
    told = {"place": "resid:2", "direction": direction, "on": "neutral", "alpha": f"{alpha:g}"}
    return told | {"logit_diff": around(effect), "fluency": fluency, "keyword_rate": around(2)}


def test_steering_is_told_at_the_largest_dose_that_stays_fluent():
    rows = rows_of("steering", dose(0.5, -0.1), dose(1, -0.5), dose(2, -5.0, 9.0),
                   dose(1, 0.0, 0.2, "random"))  # fmt: skip
    (found,) = found_methods.steering(rows)
    assert "at 1 of 1 places" in found.text and "(α = 1)" in found.text
    assert "random directions as long, both ways, by 0.24" in found.text
    (none,) = told(found_methods.steering(rows_of("steering", dose(0.5, -3.0))))
    assert none == (False, "At 1 of 1 places even the smallest dose costs more than 1 nat a token "
                           "of fluency: one (joy).")  # fmt: skip


def test_a_direction_that_does_no_more_than_a_random_one_does_not_steer():
    for effect, random in ((0.2, -0.5), (-0.5, 0.0), (0.2, 0.5)):
        rows = rows_of("steering", dose(1, -0.1, effect), dose(-1, -0.1, random, "random"))
        (idle,) = told(found_methods.steering(rows))
        assert not idle[0] and idle[1].startswith("At 1 of 1 places the emotion direction does no")


def test_an_own_experiment_is_told_by_its_largest_row():
    rows = rows_of("silence", {"loudness": 0.5}, {"loudness": -2.0})
    (found,) = found_methods.own("silence", rows)
    assert found.text == "silence: of two rows the largest, loudness −2 (one, joy)."
    assert list(found_methods.own("silence", rows_of("silence", {"said": "a"}))) == []
