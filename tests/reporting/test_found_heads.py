"""What is said of heads: figures with intervals, and what is said where there is nothing."""

from __future__ import annotations

from made import rows_of

from emolib.reporting import found_heads
from emolib.reporting.carriers import Carriers, Effect
from emolib.reporting.wording import Estimate
from emolib.results.selection import StudyKey

JOY, FEAR = StudyKey("one", "joy"), StudyKey("one", "fear")
CI = (-3.0, -1.0)


def effect(mean, max_t=0.01, changed=0.5, words=-2.0):
    ci = mean - 0.5, mean + 0.5
    return Effect(Estimate(mean, ci), max_t, Estimate(changed, (0.4, 0.6)), Estimate(words, CI))


GAP = Estimate(10.0, (9.0, 11.0))


def one(study=JOY, heads=("L0H0",), constants=(), kind="zero", gap=GAP, **effects):
    first = {"L0H0": effect(-5.0), "L0H1": effect(-0.2), "L1H0": effect(0.0, 0.9)} | effects
    return Carriers(study, gap, {kind: first}, heads, constants)


def told(found):
    return [(each.found, each.text) for each in found]


def test_each_model_has_a_sentence_on_the_heads_that_carry():
    (found,) = found_heads.heads([one(), one(FEAR, L0H0=effect(-7.0))])
    assert found.text == (
        "In one L0H0 carries joy and fear. Zeroing L0H0 moves logit_diff by −5.0 [−5.5, −4.5] "
        "(joy) to −7.0 [−7.5, −6.5] (fear), 50–70 % of the clean gap."
    )
    assert (found.model, found.emotion, found.heads) == ("one", "", ("L0H0",))


def test_heads_beyond_the_first_two_are_named_alone():
    names = tuple(f"L{i}H0" for i in range(4))
    (found,) = found_heads.heads([one(heads=names, **{name: effect(-5.0) for name in names})])
    assert "(two further heads: L2H0 and L3H0)" in found.text
    assert found.heads == names


def test_where_no_head_carries_the_strongest_is_told_with_why():
    (found,) = found_heads.heads([one(heads=())])
    assert not found.found
    assert "No head by itself carries the emotion in one (joy): " in found.text
    assert "−5.0 [−5.5, −4.5], 50 % of the clean gap" in found.text


def test_a_head_that_moves_the_wrong_way_has_less_than_none_of_the_gap():
    (found,) = found_heads.heads([one(heads=(), L0H0=effect(5.0))])
    assert "5.0 [4.5, 5.5], −50 % of the clean gap" in found.text


def test_without_a_gap_nothing_is_said_to_carry():
    (found,) = found_heads.heads([one(heads=(), gap=Estimate(0.4, (-0.1, 0.9)))])
    assert not found.found and "cannot be told where there is no clean gap" in found.text


def test_heads_that_a_rank_chose_are_not_told_as_carrying():
    (found,) = found_heads.heads([one(heads=(), **{n: effect(-5.0, None) for n in
                                                   ("L0H0", "L0H1", "L1H0")})])  # fmt: skip
    assert not found.found
    assert "a rank chose them" in found.text and "--head-spec all" in found.text


def test_constants_are_told_apart():
    *_, found = found_heads.heads([one(constants=("L3H1",))])
    assert not found.found and "L3H1 (one, joy)" in found.text


def test_other_heads_are_counted_those_that_count_and_those_that_cannot_be_told():
    assert told(found_heads.effects([one()])) == [
        (True, "Besides these, 1 of 3 heads a study have an effect under zero ablation that is "
               "more than chance (max-T below 0.05), of at most 2 % of the clean gap."),
        (False, "1 of 3 heads a study have an effect under zero ablation that this run cannot tell "
                "from chance; that does not show that they do nothing."),
    ]  # fmt: skip


def test_heads_that_were_not_tested_are_not_counted():
    some = one(L0H1=effect(-0.2, None), L1H0=effect(0.0, 0.9))
    (unsure,) = told(found_heads.effects([some]))
    assert not unsure[0] and unsure[1].startswith("1 of 2 heads a study")
    (found, _) = told(found_heads.effects([one(heads=(), L0H0=effect(-0.2))]))
    assert found[1].startswith("2 of 3 heads a study")


def test_patching_that_may_do_nothing_is_not_found():
    (found,) = found_heads.patching([one(kind="denoise", L0H0=effect(-0.2))], {JOY: "L0H0"})
    assert not found.found and "−2 % of the clean gap" in found.text


def test_patching_is_told_of_the_head_that_carries_by_ablation():
    moved = one(kind="denoise", L0H0=effect(4.0), L0H1=effect(9.0))
    (found,) = found_heads.patching([moved], {JOY: "L0H0"})
    assert "(denoise) it moves 40 % of the clean gap, 4.0 [3.5, 4.5] logits." in found.text
    assert list(found_heads.patching([], {})) == []


def test_the_clean_gap_is_told_and_where_there_is_none():
    found = {JOY: Estimate(10.0, (9.5, 10.5)), FEAR: Estimate(0.02, (-0.01, 0.05))}
    assert told(found_heads.gaps(found)) == [
        (True, "The emotion shows in the logits in one, joy: the clean gap between emotion and "
               "neutral prompts is 10.0 [9.5, 10.5] logits."),
        (False, "No clean gap worth explaining (0.02 [−0.01, 0.05] logits, below 0.1 or not to be "
                "told from none): one (fear). What heads do there says little about the emotion."),
    ]  # fmt: skip


def test_a_clean_gap_has_an_interval_or_says_that_it_has_none():
    """Of a model that these prompts hardly move the mean alone would look like a finding."""
    (unsure,) = told(found_heads.gaps({JOY: Estimate(0.4, (-0.1, 0.9))}))
    assert not unsure[0] and "0.4 [−0.1, 0.9] logits" in unsure[1]
    (bare,) = told(found_heads.gaps({JOY: Estimate(0.4, None)}))
    assert bare[0] and bare[1].endswith("0.400 logits, recorded without an interval.")
    (both,) = told(found_heads.gaps({JOY: Estimate(0.4, None), FEAR: Estimate(3.0, (2.0, 4.0))}))
    assert both[1].endswith("logits, recorded without an interval in one (joy).")
    (against,) = told(found_heads.gaps({JOY: Estimate(-2.0, (-3.0, -1.0))}))
    assert not against[0] and "the wrong way in one (joy)" in against[1]


def test_texts_are_told_of_heads_that_carry():
    (found,) = found_heads.texts([one()])
    assert found.text == (
        "Under zero ablation of the head that carries the most 50 % of the texts change; the "
        "emotion's words per 100 move by −2.0 [−3.0, −1.0]."
    )
    assert list(found_heads.texts([one(heads=())])) == []
    (none,) = found_heads.texts([one(L0H0=effect(-5.0, changed=0.0, words=0.0))])
    assert not none.found


def test_attention_is_that_of_the_head_that_carries_the_most():
    rows = [
        row
        for heads, share in (("L0H0", 0.9), ("L0H1", 0.2))
        for row in rows_of("attention_patterns", {"emotion_slot": [share] * 8}, heads=heads)
    ]
    (found,) = found_heads.attention(rows, [one()])
    assert "0.900" in found.text and found.heads == ("L0H0",)
