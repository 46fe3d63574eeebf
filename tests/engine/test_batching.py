"""Runs that are asked for one by one and computed together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import HEADS, profile, study_of, tiny_emotion, tiny_model

from emolib.engine import layerwise, runner
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import Recipe, alone, edit, mean, patch, resample, scale, zero
from emolib.methods.patching import patched
from emolib.methods.study import Study
from emolib.models.loading import in_half

SETS = [HeadSet((head,)) for head in HEADS]


@pytest.fixture
def study():
    return study_of("gpt2")


@pytest.fixture
def sweeps(monkeypatch):
    """Note the runs of each sweep, and of each decode."""
    seen = []

    def spy(name):
        made = getattr(layerwise, name)

        def noted(clean_runs, runs, **options):
            seen.append((name, ["+".join(map(str, run)) for run in runs]))
            return made(clean_runs, runs, **options)

        monkeypatch.setattr(layerwise, name, noted)

    spy("sweep"), spy("generate")
    return seen


def read(*readouts, text=False):
    return [readout.texts if text else readout.logit_diff for readout in readouts]


def together(study):
    read(study.run(), study.run(on="neutral"))
    study.runner.companions = lambda targets: SETS


def test_the_first_that_is_asked_for_brings_the_others(study, sweeps):
    alone = {head: study.run(zero(head)).logit_diff for head in HEADS}
    other = study_of("gpt2")
    together(other)
    sweeps.clear()
    for head in reversed(HEADS):
        assert other.run(zero(head)).logit_diff == pytest.approx(alone[head], abs=1e-10)
    assert len(sweeps) == 1 and set(sweeps[0][1]) == {f"zero({head})" for head in HEADS}


def test_runs_of_another_kind_side_or_position_are_batches_of_their_own(study, sweeps):
    together(study)
    sweeps.clear()
    for head in HEADS:
        read(study.run(zero(head)), study.run(zero(head), position="all"))
        read(study.run(zero(head), on="neutral"), study.run(scale(head, 2)))
        read(study.run(mean(head, study.reference)))
        read(study.run(zero(head)), text=True)
        study.run(zero(head)).kl(study.run())
    assert [name for name, _ in sweeps] == ["sweep"] * 5 + ["generate"]
    assert all(len(runs) == len(HEADS) for _, runs in sweeps)


def test_patching_batches_by_direction_and_position(study, sweeps):
    together(study)
    sweeps.clear()
    for head in HEADS:
        list(patched(study, head))
    assert len(sweeps) == 8 and all(len(runs) == len(HEADS) for _, runs in sweeps)


def test_what_nothing_is_known_of_runs_alone(study, sweeps):
    together(study)
    sweeps.clear()
    read(study.run(edit(HEADS[0], lambda z: 2 * z)))
    read(study.run(zero(HEADS[0]), scale(HEADS[1], 2)))
    assert [len(runs) for _, runs in sweeps] == [1, 1]


def test_a_companion_that_cannot_run_harms_no_other(study):
    """Asked for itself it says what is wrong with it."""
    expected = study.run(zero(HEADS[0])).logit_diff
    other = study_of("gpt2")
    other.runner.companions = lambda targets: [*SETS, HeadSet((Head(9, 9),))]
    assert other.run(zero(HEADS[0])).logit_diff == pytest.approx(expected, abs=1e-10)
    with pytest.raises(InputError, match="L9H9 does not exist"):
        read(other.run(zero(Head(9, 9))))
    assert other.run(zero(HEADS[3])).texts


def test_a_recipe_makes_the_same_of_other_targets(study):
    z = study.activations("neutral")
    for made in (
        zero(HEADS[0]),
        scale(HEADS[0], 0.5),
        mean(HEADS[0], z),
        patch(HEADS[0], z, every_step=True),
        resample(HEADS[0], z, draws=3, seed=5),
    ):
        other = made.recipe.of(HEADS[6])
        assert (other.kind, other.draws, other.every_step) == (
            made.kind,
            made.draws,
            made.every_step,
        )
        assert str(other.targets) == "L1H2" and other.recipe == made.recipe
        again = study_of("gpt2").run(other).logits
        assert torch.equal(again, study.run(other).logits)
    assert Recipe(scale, (0.5,)) != Recipe(scale, (2,))
    assert zero(HEADS[0]).recipe != scale(HEADS[0], 0).recipe


def test_edits_of_units_from_activations_of_their_own_are_not_made_of_others(study, sweeps):
    """They ride in one sweep where each is asked for, and bring no companions along."""
    units = [UnitSet((Unit(0, index),)) for index in (1, 3, 4)]
    study.runner.companions = lambda targets: units
    z = study.activations("emotion", UnitSet(tuple(unit for one in units for unit in one)))
    runs = [mean(one, z) for one in units]
    assert not any(run.recipe.general for run in (*runs, patch(units[0], z)))
    assert zero(units[0]).recipe.general and alone(runs[0], study.reference).recipe is not None
    alike = [study_of("gpt2").run(run).logit_diff for run in runs]
    read(study.run())
    sweeps.clear()
    read(study.run(runs[0]))
    assert [len(found) for _, found in sweeps] == [1]
    study.expect(runs)
    sweeps.clear()
    found = read(*map(study.run, runs))
    assert [len(made) for _, made in sweeps] == [2]
    np.testing.assert_allclose(found, alike, atol=1e-6)


def halved(monkeypatch, **sizes):
    """Give a study in float32 with its twin in bfloat16, on few runs, and one without."""
    for name, value in sizes.items():
        monkeypatch.setattr(runner, name, value)
    model = tiny_model("gpt2")
    twin = in_half(model)
    half, full = (Study(model, tiny_emotion(), profile(), half=h) for h in (twin, None))
    half.runner.companions = full.runner.companions = lambda targets: SETS
    return half, full


def test_half_precision_says_the_strongest_in_full_and_how_far_off_it_is(monkeypatch):
    half, full = halved(monkeypatch, STRONGEST=2, SAMPLE=3)
    clean, effects, types = full.run(), {}, {}
    for head in HEADS:
        exact = full.run(zero(head)).logit_diff - clean.logit_diff
        effects[head] = float(np.mean(exact))
        low = half.run(zero(head)).logit_diff - half.run().logit_diff
        types[head] = half.runner.precision
        if types[head] == "float32":
            assert low == pytest.approx(exact, abs=1e-5)
        else:
            # Of other bits, but no further off than some times the error that is told.
            assert 0 < np.abs(low - exact).max() < 5 * max(half.runner.errors)
    order = sorted(HEADS, key=lambda head: -abs(effects[head]))
    assert {types[head] for head in order[:2]} == {"float32"}
    lows = [kind for kind in types.values() if kind != "float32"]
    assert len(half.runner.errors) == 3 and len(lows) == len(HEADS) - 5
    assert set(lows) == {f"bfloat16 ±{max(half.runner.errors):.2g}"}
    assert 1e-4 < max(half.runner.errors) < 0.5


def test_the_error_is_measured_and_not_assumed(monkeypatch):
    half, _ = halved(monkeypatch, STRONGEST=2, SAMPLE=3)
    with torch.no_grad():
        half.half.hf.transformer.h[1].mlp.c_proj.weight.mul_(1.5)
    read(half.run(zero(HEADS[0])))
    assert max(half.runner.errors) > 0.05


def test_few_runs_texts_and_clean_runs_are_in_full_precision(monkeypatch):
    half, full = halved(monkeypatch)
    assert half.run().logits.dtype == torch.float32
    assert half.run(zero(HEADS[0])).logit_diff == pytest.approx(full.run(zero(HEADS[0])).logit_diff)
    assert half.runner.precision == "float32" and not half.runner.errors
    assert half.run(zero(HEADS[0])).texts == full.run(zero(HEADS[0])).texts
    one = half.run(edit(HEADS[0], lambda z: z * 0))
    assert one.logit_diff == pytest.approx(half.run(zero(HEADS[0])).logit_diff, abs=1e-5)
