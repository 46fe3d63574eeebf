"""What methods say they cost is what they then ask for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tiny import HEADS, N_HEADS, N_LAYERS, profile, tiny_emotion, tiny_model

from emolib.engine import hooked, layerwise
from emolib.engine.costs import CLEAN, Planned
from emolib.inputs.heads import HeadSet
from emolib.interventions import zero
from emolib.methods import (
    attention,
    attribution,
    circuits,
    controls,
    patching,
    paths,
    probes,
    readouts,
    repair,
    screening,
    specificity,
    steering,
    study,
    unit_scores,
    unit_screening,
)
from emolib.methods.study import Study


@pytest.fixture
def made():
    return Study(tiny_model("gpt2"), tiny_emotion(), profile())


def planned(made, **more):
    sides = {side: made.prompts(side) for side in ("emotion", "neutral")}
    shape = made.model.n_layers, made.model.n_heads, made.model.n_units
    return Planned(sides, made.profile, *shape, **more)


def stated(runs):
    """Count runs under an intervention by side, and clean ones."""
    found, clean = Counter(), 0
    for one in runs:
        edited = [first for first in one.firsts if first != CLEAN]
        found[one.prompts] += 0 if one.backward else len(edited)
        clean += len(one.firsts) - len(edited)
    return +found, clean


@pytest.fixture
def asked(monkeypatch):
    """Count the runs under an intervention that any study is asked for, by side."""
    found, run = Counter(), Study.run

    def counted(self, *interventions, on="emotion", position=None):
        if interventions:
            found[on] += 1
        return run(self, *interventions, on=on, position=position)

    monkeypatch.setattr(Study, "run", counted)
    return found


def by_side(made, counts):
    sides = {side: counts[made.prompts(side)] for side in ("emotion", "neutral")}
    return {side: count for side, count in sides.items() if count}


@pytest.mark.parametrize("verify", [0, 1, 3, 6, 20, "all"])
def test_verifying_heads(made, asked, verify):
    made.profile = replace(made.profile, verify=verify)
    top, drawn = attribution.to_verify(HEADS, made.profile)
    attribution.verify(made, [*top, *drawn])
    edited, clean = stated(attribution.verify_costs(planned(made)))
    assert by_side(made, edited) == asked and not clean


@pytest.mark.parametrize("verify", [1, 3, 20])
def test_controls(made, asked, verify, monkeypatch):
    made.profile = replace(made.profile, verify=verify)
    monkeypatch.setattr(controls, "lexical_study", lambda study: study)
    controls.controls(made, HEADS[:verify])
    edited, clean = stated(controls.costs(planned(made)))
    assert by_side(made, edited) == asked and clean == 2


@pytest.mark.parametrize(("greedy", "draws"), [(0, 0), (2, 0), (99, 1), (0, 10)])
def test_circuits(made, asked, greedy, draws):
    """Draws that are alike are one run, and how large the circuit is nobody knows before."""
    made.profile = replace(made.profile, circuit_draws=draws, circuit_greedy=greedy)
    found = circuits.find_circuit(made)
    edited, clean = stated(circuits.costs(planned(made)))
    # Three templates have no circuit: of one of 5 heads there would be 7 runs more.
    assert found.circuit is None and clean == 1
    # Sizes 1, 2, 3 and 5 beside none and all; each step runs every head that is left.
    stated_runs = 1 + 4 * (1 + draws) + sum([8, 7, 6, 5, 4, 3, 2, 1][:greedy])
    assert by_side(made, edited) == {"emotion": stated_runs + 7}
    assert asked["emotion"] <= stated_runs and not asked["neutral"]
    if not draws and not greedy:
        assert asked["emotion"] == stated_runs


@pytest.mark.parametrize("verify", [1, 2, 4, 8])
def test_paths(made, asked, verify, monkeypatch):
    """Heads spread evenly over the layers are what the plan takes them for."""
    made.profile = replace(made.profile, verify=verify)
    received, run = [], made.runner.received

    def counted(side, runs, heads):
        received.extend(runs)
        return run(side, runs, heads)

    monkeypatch.setattr(made.runner, "received", counted)
    each = verify // 2
    paths.head_paths(made, [*HEADS[: verify - each], *HEADS[N_HEADS : N_HEADS + each]])
    edited, clean = stated(paths.costs(planned(made)))
    assert by_side(made, edited) == {"neutral": asked["neutral"] + len(received)} and not clean
    assert not asked["emotion"] and len(received) == (verify - each if each else 0)


@pytest.mark.parametrize("position", ["last", "slot", "all"])
def test_direct_effects(made, asked, position):
    made.profile = replace(made.profile, position=position)
    repair.self_repair(made, zero(HEADS[0]))
    runs = list(repair.costs(planned(made, firsts=(0, 1), draws=10)))
    assert len(runs) == (0 if position == "slot" else 1) == bool(asked)
    assert all(one.firsts == (0, 1) * 10 and not one.new for one in runs)


def test_unit_screening(made, asked):
    unit_screening.screen_units(made)
    edited, clean = stated(unit_screening.costs(planned(made)))
    assert by_side(made, edited) == asked
    # The units' reference on both sides, and how active they are on both.
    assert clean == 4


def test_unit_screening_of_one_pair_has_no_halves(asked):
    made = Study(tiny_model("gpt2"), tiny_emotion(1), profile())
    unit_screening.screen_units(made)
    edited, clean = stated(unit_screening.costs(planned(made)))
    assert by_side(made, edited) == asked and clean == 2


def test_patching(made, asked):
    for positions in (None, ("last",), ("last", "all")):
        asked.clear()
        runs = list(patching.patched(made, HEADS[1], positions))
        edited, clean = stated(patching.costs(planned(made, firsts=(0,), positions=positions)))
        # And a text each way, at the profile's position.
        assert sum(edited.values()) == len(runs) + 2 == sum(asked.values()) + 2 and not clean
    assert stated(patching.costs(planned(made, items=3, positions=("last",))))[0].total() == 12


@pytest.mark.parametrize("heads", [0, 2])
def test_steering(made, asked, heads):
    """Of random directions five draws each, and a text of one: no run of its own for them."""
    made.profile = replace(made.profile, steering_heads=heads, steering_layers=("all",))
    doses = list(steering.steering(made))
    plan = list(steering.costs(planned(made)))
    places, neutral, emotion = N_LAYERS + (heads > 0), 7 + 6, 3 + 3
    assert asked == {"neutral": places * neutral, "emotion": places * emotion}
    assert len(doses) == sum(asked.values())
    texts = {len(one.prompts): len(one.firsts) for one in plan if one.new and CLEAN in one.firsts}
    assert set(texts) == {len(doses[0].clean.prompts)} and len(doses[0].clean.prompts) == 2
    decoded = sum(len(one.firsts) for one in plan if one.new and CLEAN not in one.firsts)
    assert decoded == len(doses)
    swept = sum(len(one.firsts) for one in plan if not (one.new or one.backward))
    # And two clean runs that others have made.
    assert swept == places * (7 + 3 + 5 * (6 + 3)) + 2
    assert [one.firsts for one in plan if one.backward] == [(0,)] * (heads > 0)


def test_readouts(made):
    twice = planned(made, firsts=(0, 1), draws=10)
    scores, texts = readouts.costs(twice)
    assert scores.firsts == (0, 1) * 10 and not scores.new
    assert texts.firsts == (0, 1) and texts.new == made.profile.max_new_tokens
    assert all(not runs.firsts for runs in readouts.costs(planned(made)))


def test_specificity_and_probes(made, asked):
    """A run of each set on the emotion's prompts; z is read of clean runs that others make too."""
    specificity.effects(made, [HeadSet((head,)) for head in HEADS[:3]])
    plan = planned(made, firsts=(0, 0, 0))
    edited, clean = stated(specificity.costs(plan))
    assert by_side(made, edited) == asked == {"emotion": 3} and not clean
    asked.clear()
    probes.last_z(made, HEADS[:3])
    for head in HEADS[:3]:
        probes.effect(made, head)
    runs = list(probes.costs(plan))
    assert by_side(made, stated(runs)[0]) == asked
    assert [one.again for one in runs] == [True, True, False]


def test_clean_runs_and_gradients(made, monkeypatch):
    """Each of few prompts is a batch: so many forwards are so many clean runs."""
    seen, forward = [], hooked.forward
    monkeypatch.setattr(hooked, "forward", lambda *of, **how: seen.append(1) or forward(*of, **how))

    def forwards(*measured):
        seen.clear()
        for method in measured:
            method(made)
        return len(seen)

    plan = planned(made)
    # What is kept of clean runs serves attention and what heads write.
    assert forwards(attention.last_attention, screening.attention_scores) == 0
    again = [runs.again for runs in (*attention.costs(plan), *screening.costs(plan))]
    assert again.count(True) == 2 + 4
    backward = list(unit_scores.costs(plan))
    assert [runs.firsts for runs in backward] == [(0, 0), (0, 0)]
    assert forwards(unit_scores.unit_scores) == 0
    assert all(runs.backward and runs.position == made.profile.position for runs in backward)
    active = stated(unit_scores.activity_costs(plan))[1]
    assert active == forwards(unit_scores.activity) == 2
    assert [runs.new for runs in study.costs(plan)] == [made.profile.max_new_tokens] * 2


def test_attribution(made, monkeypatch):
    taken, gradients = Counter(), layerwise.gradients

    def counted(model, clean, position, objective, values):
        taken[clean.batch.prompts] += len(values)
        return gradients(model, clean, position, objective, values)

    monkeypatch.setattr(layerwise, "gradients", counted)
    attribution.attribution_scores(made)
    runs = list(attribution.costs(planned(made)))
    batches = len(made.prompts().buckets(128, 0, "cpu"))
    assert {one.prompts: batches * len(one.firsts) for one in runs} == taken
    assert all(one.backward for one in runs)


@pytest.mark.parametrize("count", [0, 1, 5, 48])
def test_layers_that_are_not_known_are_spread_over_the_model(made, count):
    layers = planned(made).spread(count)
    assert layers == sorted(layers) and len(layers) == count
    sizes = Counter(layers)
    assert not count or max(sizes.values()) - min(sizes[i] for i in range(N_LAYERS)) <= 1
