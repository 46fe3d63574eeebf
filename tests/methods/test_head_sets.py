"""Sets of heads: what is left with them alone, in the closed form and on random models."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from split_gain import logit_diff, share, split
from tiny import FAMILIES, HEADS, TEXTS, profile, study_of, tiny_emotion, tiny_model
from worlds import shapes

from emolib.errors import InputError
from emolib.inputs.heads import Head, all_heads
from emolib.interventions import mean, patch, zero
from emolib.methods.head_sets import HeadSets, greedy, same_layers, sizes, table
from emolib.methods.study import Study
from emolib.planted import DECOY, GAIN, Plan, planted_emotion, planted_model


@pytest.mark.parametrize(
    ("count", "of", "expected"), [(1, 2, 0.574532), (1, 3, 0.394029), (2, 3, 0.736656)]
)
def test_heads_that_split_the_effect(count, of, expected):
    """F of m of K is (LD(6m/K) − LD(0)) / (LD(6) − LD(0)), whichever of them they are."""
    study, heads = split(of)
    sets = HeadSets(study)
    closed = share(6 * count / of)
    assert closed == pytest.approx(expected, abs=5e-7)
    for chosen in (heads[:count], heads[-count:], [*heads[:count], Head(0, 7), Head(1, 3)]):
        assert sets.faithfulness(chosen) == pytest.approx(closed, abs=1e-9)
    assert sets.faithfulness(heads) == pytest.approx(1, abs=1e-12)
    assert sets.faithfulness([Head(0, 7)]) == pytest.approx(0, abs=1e-9)


def test_mean_and_zero_in_place_of_the_neutral_z():
    """A planted head's z is 0 on neutral prompts, and its mean over both sides half of h."""
    for outside, empty in (("zero", logit_diff(0)), ("mean", logit_diff(3))):
        study, heads = split(2)
        sets = HeadSets(study, outside)
        assert sets.empty == pytest.approx(np.full(8, empty), abs=1e-9)
        of_one = logit_diff(3) if outside == "zero" else logit_diff(4.5)
        expected = (of_one - empty) / (logit_diff(6) - empty)
        assert sets.faithfulness(heads[:1]) == pytest.approx(expected, abs=1e-9)
    assert HeadSets(split(1, circuit_ablation="zero")[0]).outside == "zero"


@pytest.mark.parametrize("model_type", FAMILIES)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_what_holds_of_every_model_and_set(model_type, data):
    """None is 0, all is 1; the order of a set does not matter, and what it is is one patch."""
    shape = data.draw(shapes(model_type))
    studies = [Study(shape.model(), tiny_emotion(), profile()) for _ in range(3)]
    heads = all_heads(shape.layers, shape.heads)
    sets = HeadSets(studies[0], data.draw(st.sampled_from(["patch", "zero", "mean"])))
    if sets.faithfulness(()) is not None:
        assert sets.faithfulness(()) == pytest.approx(0, abs=1e-12)
        assert sets.faithfulness(data.draw(st.permutations(heads))) == pytest.approx(1, abs=1e-12)
    chosen = data.draw(st.lists(st.sampled_from(heads), unique=True, max_size=len(heads) - 1))
    other = HeadSets(studies[1], sets.outside).metric(data.draw(st.permutations(chosen)))
    np.testing.assert_allclose(sets.metric(chosen), other, atol=1e-12)
    rest, study = [head for head in heads if head not in chosen], studies[2]
    edit = {"patch": lambda: patch(rest, study.activations("neutral")), "zero": lambda: zero(rest),
            "mean": lambda: mean(rest, study.reference)}[sets.outside]()  # fmt: skip
    run = study.run(edit, on="emotion", position="all")
    np.testing.assert_allclose(sets.metric(chosen), run.logit_diff, atol=1e-9)


def test_every_head_patched_is_the_neutral_run_where_prompts_end_alike():
    """What else tells the sides apart is in the slot, which the last token sees by heads alone."""
    sets = HeadSets(study_of("gpt2"))
    np.testing.assert_allclose(sets.empty, sets.study.run(on="neutral").logit_diff, atol=1e-9)
    assert abs(sets.empty - sets.full).max() > 1e-3
    ends = tuple(replace(pair, prompt=pair.prompt.partition("}")[0] + "}")
                 for pair in tiny_emotion().pairs)  # fmt: skip
    model = tiny_model("gpt2", torch.float64)
    sets = HeadSets(Study(model, replace(tiny_emotion(), pairs=ends), profile()))
    assert abs(sets.empty - sets.study.run(on="neutral").logit_diff).max() > 1e-3


def test_sets_that_are_expected_are_one_sweep(monkeypatch):
    study = study_of("gpt2")
    sets, asked = HeadSets(study), []
    expect = study.expect
    monkeypatch.setattr(study, "expect", lambda runs, **to: asked.append(len(runs)) or expect(
        runs, **to))  # fmt: skip
    sets.expect([HEADS[:1], HEADS[:2], HEADS[1::-1], HEADS])
    assert table(sets, [HEADS[:1], HEADS[:2], HEADS]).shape == (6, 3)
    # One set twice is one run, and all heads the clean one.
    assert asked == [2]
    sets.expect([HEADS[:1], HEADS[:2]])
    assert asked == [2, 0]


def test_heads_of_another_model_and_free_prompts_are_refused():
    sets = HeadSets(study_of("gpt2"))
    with pytest.raises(InputError, match="L7H0 does not exist: expected heads of tiny-gpt2, which"):
        sets.metric([Head(7, 0)])
    free = replace(tiny_emotion(), pairs=None, free=(TEXTS, TEXTS))
    with pytest.raises(InputError, match="needs aligned pairs of 'joy', got free prompt lists"):
        HeadSets(Study(tiny_model("gpt2"), free, profile()))


def test_a_gap_that_is_no_denominator():
    study = study_of("gpt2")
    same = torch.tensor([40])
    study.targets = (same, same)
    assert HeadSets(study).faithfulness(HEADS[:2]) is None


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0, 1]), (2, [0, 1, 2]), (4, [0, 1, 2, 3, 4]), (5, [0, 1, 2, 3, 5]),
     (144, [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])],
)  # fmt: skip
def test_sizes(count, expected):
    assert sizes(count) == expected


@given(order=st.permutations(all_heads(3, 4)), seed=st.integers(0, 99))
def test_random_heads_are_as_many_in_each_layer(order, seed):
    steps = sizes(len(order))
    drawn = same_layers(order, steps, str(seed))
    assert drawn == same_layers(order, steps, str(seed))
    for step, heads in zip(steps, drawn, strict=True):
        layers = [Counter(head.layer for head in some) for some in (order[:step], heads)]
        assert layers[0] == layers[1] and len(set(heads)) == step
    assert all(set(a) <= set(b) for a, b in pairwise(drawn))


def test_random_heads_differ_by_draw_and_are_not_always_the_top():
    order = sorted(all_heads(3, 4), key=lambda head: (head.index, head.layer))
    firsts = {str(same_layers(order, [1], f"0:{draw}")[0]) for draw in range(40)}
    assert len(firsts) == 4


def test_greedy_takes_what_raises_f_most_on_the_pairs_that_count():
    gains = {Head(0, 0): 0.2 * GAIN, Head(0, 1): 0.5 * GAIN, Head(1, 2): 0.3 * GAIN}
    plan = Plan(2, 4, gains, (Head(0, 3),))
    study = Study(planted_model(torch.float64, plan), planted_emotion(), profile())
    sets = HeadSets(study)
    every = np.full(8, True)
    assert greedy(sets, 3, every) == [Head(0, 1), Head(1, 2), Head(0, 0)]
    assert len(greedy(sets, 99, every)) == 8
    f = [sets.faithfulness(greedy(sets, k, every)) for k in range(4)]
    assert f == sorted(f) and f[0] == pytest.approx(0) and f[3] == pytest.approx(1)


def test_pairs_that_count_decide():
    study = study_of("gpt2")
    sets, half = HeadSets(study), np.arange(6) < 3
    expected = (sets.metric(HEADS[:3]) - sets.empty)[half].mean()
    expected /= (sets.full - sets.empty)[half].mean()
    assert sets.faithfulness(HEADS[:3], half) == pytest.approx(expected)
    assert sets.faithfulness(HEADS[:3]) != pytest.approx(expected, abs=1e-3)


def test_decoys_are_worth_nothing():
    sets = HeadSets(Study(planted_model(), planted_emotion("anger"), profile()))
    assert sets.faithfulness([DECOY]) == pytest.approx(0, abs=1e-9)
