"""Directions, which prompts take part in them, and what their doses come to where that is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted_relay import MARKER, READER, relay_model
from tiny import HEADS, profile, study_of, text, tiny_emotion, tiny_model

from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.interventions import shift, steer
from emolib.methods.steering import (
    CONTROL,
    EMOTION,
    RANDOM,
    directions,
    doses,
    held_out,
    held_out_rows,
    steering,
    strongest_heads,
)
from emolib.methods.study import Study
from emolib.models.encoding import Prompts
from emolib.planted import DECOY, PLANTED, class_features, feature, planted_emotion, planted_model

OUT = feature(len(class_features()))
"""What the planted head writes along for gratitude."""
EXACT = 1e-6


def logit_diff(h):
    """LD(h) = (λh − νs) / σ(h)."""
    return (h - 1) / math.sqrt(1 + h**2 / 64)


def planted(**fields):
    settings = {"max_new_tokens": 2, "steering_layers": ("all",), "steering_heads": 1} | fields
    return Study(planted_model(), planted_emotion(), profile(**settings))


def free_study(emotion=5, neutral=4, **fields):
    """Give a study of lists that do not align, of prompts of different lengths."""
    lists = tuple(
        tuple(text(*range(first + i, first + 3 + 2 * i)) for i in range(count))
        for first, count in ((5, emotion), (20, neutral))
    )
    free = replace(tiny_emotion(), pairs=None, free=lists)
    return Study(tiny_model("gpt2", torch.float64), free, profile(**fields))


@pytest.mark.parametrize(("alpha", "expected"), [(3, 1.872658), (6, 4)])
def test_a_step_along_what_the_planted_head_writes_is_what_the_head_does(alpha, expected):
    """SCIENCE: a·u_out after layer 0 at END gives LD(h + a)."""
    study = planted()
    run = study.run(steer(0, OUT, alpha), on="neutral")
    assert run.logit_diff == pytest.approx(np.full(8, logit_diff(alpha)), abs=EXACT)
    assert run.logit_diff == pytest.approx(np.full(8, expected), abs=EXACT)
    assert {made.split()[0] for made in run.texts} == {"thanks"}
    on_emotion = study.run(steer(0, OUT, -alpha)).logit_diff
    assert on_emotion == pytest.approx(np.full(8, logit_diff(6 - alpha)), abs=EXACT)


def test_planted_directions_are_what_the_heads_write():
    """The decoy's way is along all-ones, the planted head's along u_out: 6 of it after layer 0."""
    found = directions(planted())
    ones = torch.full((64,), 5 / 8, dtype=torch.float64)
    for layer in (0, 1):
        torch.testing.assert_close(found.streams[layer], 6 * OUT + ones, rtol=0, atol=EXACT)
    for head, vector in found.z.items():
        length = 3 if head in (PLANTED, DECOY) else 0
        assert float(vector.norm()) == pytest.approx(length, abs=EXACT)


def test_doses_of_the_planted_model_are_in_closed_form():
    study = steering(planted()).study
    for dose in steering(planted()):
        if dose.direction != EMOTION:
            continue
        clean, effect = (6, 4) if dose.side == "emotion" else (0, -1)
        expected = logit_diff(clean + 6 * dose.alpha) - effect
        moved = dose.run.logit_diff - dose.clean.logit_diff
        assert moved == pytest.approx(np.full(len(study.pairs), expected), abs=EXACT), dose.named
        word = "thanks" if clean + 6 * dose.alpha > 1 else "fine"
        assert {made.split()[0] for made in dose.run.texts} == {word}
        norm = 3 if dose.place.name == str(PLANTED) else math.sqrt(36 + 25)
        assert dose.size == pytest.approx({"norm": abs(dose.alpha) * norm, "cosine": 1}, abs=EXACT)
    assert [place.name for place in steering(planted()).places] == ["resid:0", "resid:1", "L0H1"]


def test_the_heads_are_those_that_matter_and_not_those_that_look():
    study = planted()
    every = range(len(study.prompts()))
    ranked = strongest_heads(study, directions(study), every)
    assert ranked[0] == PLANTED and len(ranked) == 8
    relay = Study(relay_model(), planted_emotion(), profile())
    # At the last token it is the reader alone that writes.
    assert strongest_heads(relay, directions(relay), every)[0] == READER != MARKER


def test_heads_are_ranked_by_what_a_small_dose_does():
    study = study_of("llama")
    found, rows = directions(study), [0, 2, 5]
    small, clean = 1e-4, study.run(on="neutral").logit_diff
    effects = {
        head: abs((study.run(shift(head, found.z, small), on="neutral").logit_diff - clean)[rows]
                  .mean()) for head in HEADS
    }  # fmt: skip
    expected = sorted(HEADS, key=lambda head: -effects[head])
    assert strongest_heads(study, found, rows) == expected


def test_directions_are_differences_of_means_of_pairs_and_of_free_lists():
    for study in (study_of("gpt_neox"), free_study()):
        sides = ("emotion", "neutral")
        rows = {"emotion": [0, 3], "neutral": [1, 2, 3]}
        every = {side: list(range(len(study.prompts(side)))) for side in sides}
        for chosen, found in ((every, directions(study)), (rows, directions(study, rows))):
            streams = [study.streams_at_last(side)[:, chosen[side]].mean(1) for side in sides]
            torch.testing.assert_close(found.streams, streams[0] - streams[1])
            for head in HEADS:
                z = [study.activations(s).of(head)[chosen[s], -1].mean(0) for s in sides]
                torch.testing.assert_close(found.z[head], z[0] - z[1])


def test_streams_are_those_that_a_trace_reads():
    study = study_of("gemma2")
    for layer, vectors in enumerate(study.streams_at_last("emotion")):
        with study.traced(f"resid:{layer}") as trace:
            study.run()
        torch.testing.assert_close(vectors, trace.output[:, -1], rtol=0, atol=1e-6)


def test_no_prompt_that_a_direction_is_read_on_took_part_in_it():
    study = study_of("gpt2", steering_prompts=2)
    whole, some = study.prompts(), held_out(study).prompts()
    assert whole.clusters == ("t0", "t0", "t1", "t1", "t2", "t2")
    # Of the templates every other one; t1 is the one that is held out.
    assert some.clusters == ("t1", "t1") and set(some.ids) == {whole.ids[2], whole.ids[3]}
    doses_of = steering(study)
    own = directions(study, {side: [0, 1, 4, 5] for side in ("emotion", "neutral")})
    (place, heads) = doses_of.places
    assert place.norm == pytest.approx(float(own.streams[1].norm()))
    assert place.name == "resid:1" and heads.name.count("+") == 4
    other = directions(study, {side: [2, 3] for side in ("emotion", "neutral")}).streams[1]
    cosine = torch.nn.functional.cosine_similarity(own.streams[1], other, dim=0)
    assert place.cosine == pytest.approx(float(cosine))


@given(
    templates=st.lists(st.integers(0, 9), min_size=2, max_size=40),
    count=st.integers(1, 12),
)
def test_held_out_prompts_are_spread_over_their_templates(templates, count):
    names = tuple(f"t{number}" for number in templates)
    prompts = Prompts(names, tuple((i,) for i in range(len(names))), None, names)
    rows = held_out_rows(prompts, count)
    whole = held_out_rows(prompts, len(names))
    assert rows == sorted(set(rows)) and set(rows) <= set(whole)
    assert len(rows) == min(count, len(whole))
    if len(set(names)) > 1:
        assert {names[row] for row in whole}.isdisjoint(
            names[row] for row in range(len(names)) if row not in whole
        )
        shares = []
        for name in {names[row] for row in whole}:
            taken, there = (sum(names[row] == name for row in of) for of in (rows, whole))
            shares.append((taken, taken == there))
        most = max(taken for taken, _ in shares)
        # None has two less than another, unless it had no more.
        assert all(taken >= most - 1 or all_of_it for taken, all_of_it in shares)


def test_doses_of_free_lists_run_on_every_other_prompt():
    study = free_study(steering_layers=("0",))
    found = steering(study)
    lists = study.emotion.free
    assert found.study.emotion.free == (lists[0][1::2], lists[1][1::2])
    seen = list(found)
    assert {dose.side: len(dose.run.logit_diff) for dose in seen} == {"neutral": 2, "emotion": 2}
    assert {dose.place.name for dose in seen} == {"resid:0", seen[-1].place.name}
    own = directions(study, {"emotion": [0, 2, 4], "neutral": [0, 2]}).streams[0]
    for dose in seen:
        if (dose.place.name, dose.direction) == ("resid:0", EMOTION):
            plain = found.study.run(steer(0, own, dose.alpha), on=dose.side, position="last")
            assert dose.run.logit_diff == pytest.approx(plain.logit_diff, abs=1e-6)
            assert dose.run.texts == plain.texts


def test_doses_go_to_the_last_token_whatever_the_position_of_others():
    settings = {"steering_heads": 1, "steering_doses": (-1, 1)}
    seen = [
        list(steering(study_of("gpt2", position=where, **settings))) for where in ("last", "all")
    ]
    for one, other in zip(*seen, strict=True):
        assert one.named == other.named
        assert one.run.logit_diff == pytest.approx(other.run.logit_diff, abs=1e-6)
        assert one.run.texts == other.run.texts


def test_which_doses_run_on_whom():
    settings = profile(steering_doses=(1, -1, 0.5, 0))
    assert doses(settings, "neutral", EMOTION) == [-1, 0, 0.5, 1]
    assert doses(settings, "neutral", CONTROL) == [-1, 0.5, 1]
    assert doses(settings, "emotion", EMOTION) == doses(settings, "emotion", CONTROL) == [-1]


def vectors_of(place, direction):
    """Give by part what an intervention of a place adds at a dose of 1, ``[draws, d]``."""
    return place.make[direction](1.0).recipe.arguments[0].of


def test_random_directions_are_as_long_and_the_same_in_every_dose():
    study = study_of("gpt2", steering_layers=("0",), steering_heads=2)
    for place, same in zip(steering(study).places, steering(study).places, strict=True):
        own, again = vectors_of(place, EMOTION), vectors_of(same, CONTROL)
        for part, drawn in vectors_of(place, CONTROL).items():
            assert torch.equal(drawn, again[part]) and len(drawn) == RANDOM
            torch.testing.assert_close(drawn.norm(dim=-1), own[part].norm().expand(RANDOM))
    first, other = (
        vectors_of(steering(study_of("gpt2", seed=seed)).places[0], CONTROL) for seed in (0, 1)
    )
    assert first.keys() == other.keys()
    assert all(not torch.allclose(first[part], other[part]) for part in first)


def test_a_random_direction_is_what_adding_it_oneself_comes_to():
    study = study_of("gpt2", steering_layers=("1",), steering_heads=0, steering_doses=(2,))
    found = steering(study)
    (dose,) = (dose for dose in found if dose.direction == CONTROL)
    (vectors,) = vectors_of(dose.place, CONTROL).values()
    each = []
    for vector in vectors:

        def add(resid, vector=vector):
            resid = resid.clone()
            resid[:, -1] += 2 * vector
            return resid

        with found.study.traced("resid:1", edit_output=add):
            each.append(found.study.run(on="neutral").logit_diff)
    assert dose.run.logit_diff == pytest.approx(np.mean(each, axis=0), abs=1e-5)


def test_no_heads_and_a_direction_of_length_0():
    none = steering(planted(steering_heads=0))
    assert [place.name for place in none.places] == ["resid:0", "resid:1"]
    # L1H0 writes nothing, and what separates its sides is nothing: no way to compare.
    study = Study(planted_model(), planted_emotion(), profile(steering_heads=8))
    (_, heads) = steering(study).places
    assert heads.cosine == pytest.approx(1)
    found = directions(study)
    assert float(found.z[Head(1, 0)].norm()) == 0


@pytest.mark.parametrize(("emotion", "neutral"), [(1, 4), (4, 1)])
def test_a_half_without_a_prompt_is_one_line(emotion, neutral):
    message = (
        r"^steering reads directions of one half of the prompts on the other: expected 2 or more "
        rf"of each side, got {emotion} of joy and {neutral} neutral; give more$"
    )
    with pytest.raises(InputError, match=message):
        steering(free_study(emotion, neutral))


def test_a_layer_that_there_is_not_is_one_line():
    with pytest.raises(InputError, match=r"^layer spec '2': tiny-gpt2 has 2 layers, counted from"):
        steering(study_of("gpt2", steering_layers=("2",)))


def test_a_model_under_hooks_of_others_is_steered_as_it_is():
    """Of the runs inside the logits, of the directions too; the model is what it was afterwards."""
    study = study_of("gpt2", steering_layers=("0",), steering_heads=0, steering_doses=(1,))
    before = [dose.run.logit_diff for dose in steering(study)]
    with study.traced("resid:0", edit_output=lambda resid: resid * 1.5):
        inside = [dose.run.logit_diff for dose in steering(study)]
    after = [dose.run.logit_diff for dose in steering(study)]
    assert np.allclose(before, after) and not np.allclose(before, inside, atol=1e-2)
