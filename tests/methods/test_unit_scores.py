"""Scores of every unit: against exact runs, against each other, and where they must add up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import FAMILIES, N_LAYERS, crossed, profile, study_of, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.engine.layerwise import Layerwise
from emolib.engine.whole import Whole
from emolib.errors import InputError
from emolib.inputs.targets import target_set
from emolib.inputs.units import LayerUnits, Unit, UnitSet
from emolib.interventions import Intervention
from emolib.methods.frozen_norms import frozen_norm
from emolib.methods.study import Study
from emolib.methods.unit_scores import UnitRanking, activity, matched, unit_scores
from emolib.methods.unit_screening import screen_units
from emolib.tracing import OwnTraceDict, hook_count

families = pytest.mark.parametrize("model_type", [*FAMILIES, "opt"])
SOME = [Unit(0, 0), Unit(0, 17), Unit(1, 5), Unit(1, 39)]


def part(unit):
    return LayerUnits(unit.layer, (unit.index,))


@crossed(model_type=[*FAMILIES, "opt"], position=["last", "after_slot", "all"])
def test_atp_is_the_slope_of_the_patch(model_type, position):
    """Finite differences: a small step of one unit's activation towards the other side."""
    study = study_of(model_type, position=position)
    scores, step = unit_scores(study), 1e-2

    def effect(unit, side, other, sign):
        a = {name: study.activations(name, SOME).of(part(unit)) for name in (side, other)}

        def towards(value, site):
            rows = site.batch.rows
            return value + sign * step * (a[other] - a[side])[rows.start : rows.stop]

        edited = Intervention("step", target_set(unit), towards)
        return study.run(edited, on=side).logit_diff

    for name, side, other in (
        ("atp_denoise", "neutral", "emotion"),
        ("atp_noise", "emotion", "neutral"),
    ):
        for unit in SOME:
            up, down = effect(unit, side, other, 1), effect(unit, side, other, -1)
            column = scores.pairs[name][:, scores.place(unit)]
            assert column == pytest.approx((up - down) / (2 * step), rel=2e-3, abs=1e-3), unit
    assert np.abs(scores.pairs["atp_denoise"]).max() > 0.05
    mean = (scores.pairs["atp_denoise"] - scores.pairs["atp_noise"]) / 2
    assert scores.atp == pytest.approx(mean)


@families
@pytest.mark.parametrize("position", ["last", "slot"])
def test_delta_act_is_the_difference_at_q(model_type, position):
    study = study_of(model_type, position=position)
    scores = unit_scores(study)
    for unit in SOME:
        emotion, neutral = (study.activations(side, unit) for side in ("emotion", "neutral"))
        mask = emotion.batch.at(position)
        change = (emotion.of(part(unit)) - neutral.of(part(unit)))[..., 0]
        expected = (change * mask).sum(1) / mask.sum(1)
        column = scores.pairs["delta_act"][:, scores.place(unit)]
        assert column == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-6)


@families
def test_direct_effects_of_a_layer_s_units_add_up_to_that_of_its_mlp(model_type):
    study = study_of(model_type)
    model, arch = study.model, study.model.arch
    (batch,) = study.prompts().batches(99, model.pad, model.device)
    posts = [arch.post_mlp_norm_path(layer) for layer in range(N_LAYERS)]
    outs = [model.mlp_out(layer) for layer in range(N_LAYERS)]
    paths = [*outs, *filter(None, posts), arch.final_norm]
    with torch.no_grad(), OwnTraceDict(model.hf, paths, retain_input=True, clone=True) as traces:
        hooked.forward(model, batch)
    unembed = model.hf.get_output_embeddings().weight
    emotion, neutral = study.targets
    direction = unembed[emotion].mean(0) - unembed[neutral].mean(0)
    final = frozen_norm(model, arch.final_norm, traces[arch.final_norm].input[:, -1])
    scores = unit_scores(study)
    sums = scores.pairs["dla"].reshape(len(batch.rows), N_LAYERS, -1).sum(-1)
    for layer, (out, post) in enumerate(zip(outs, posts, strict=True)):
        bias = getattr(model.module(out), "bias", None)
        written = hooked.by_prompt(traces[out].output, batch)[:, -1]
        written = written if bias is None else written - bias
        if post:
            written = frozen_norm(model, post, traces[post].input[:, -1])(written)
        expected = (final(written) @ direction).numpy()
        assert sums[:, layer] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert np.abs(sums).max() > 0.01


@families
def test_a_direction_carried_back_reads_what_comes_through(model_type):
    """The transpose: ⟨norm(x), y⟩ = ⟨x, back(y)⟩."""
    model = tiny_model(model_type, torch.float64)
    generator = torch.Generator().manual_seed(1)
    x, y, full = torch.randn(3, 5, 32, generator=generator, dtype=torch.float64)
    norm = frozen_norm(model, model.arch.final_norm, full)
    torch.testing.assert_close((norm(x) * y).sum(-1), (x * norm.back(y)).sum(-1))


@pytest.mark.parametrize("size", [1, 4])
def test_the_batch_size_changes_no_score(size):
    study = Study(tiny_model("opt"), tiny_emotion(), profile())
    parts = Study(tiny_model("opt"), tiny_emotion(), profile(batch_size=size))
    whole, again = unit_scores(study), unit_scores(parts)
    for name, table in whole.pairs.items():
        assert again.pairs[name] == pytest.approx(table, abs=1e-4, rel=1e-4), name
    assert activity(parts) == pytest.approx(activity(study), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_kept_in_float32(dtype):
    scores = unit_scores(Study(tiny_model("llama", dtype), tiny_emotion(), profile()))
    assert {table.dtype for table in scores.pairs.values()} == {np.dtype("float32")}
    assert {table.shape for table in scores.pairs.values()} == {(6, 80)}
    assert scores.atp.dtype == np.float32


@pytest.mark.parametrize("way", ["hooks", "own modules"])
def test_where_layers_are_not_taken_apart_there_is_no_relp_and_rows_say_why(way):
    study, options = study_of("gpt2"), {"batch_size": None, "max_new_tokens": 4}
    study.runner._paths[False] = (
        Whole(study.model, study.prompts, **options, share=False)
        if way == "hooks"
        else Layerwise(study.model, study.prompts, **options, apart=False)
    )
    scores, apart = unit_scores(study), unit_scores(study_of("gpt2"))
    why = scores.lacking["relp"]
    assert why.startswith("no relevance: ") and scores.relp is None and apart.lacking == {}
    assert scores.atp == pytest.approx(apart.atp, rel=1e-4, abs=1e-6)
    row = screen_units(study).top[0]
    assert row["relp"] is row["relp_correlation"] is None and row["why_no_relp"] == why
    assert -1 <= row["atp_correlation"] <= 1 and len(row["patch_effect"]) == 6


def test_scoring_leaves_no_hook_and_no_gradient():
    study = study_of("gemma2")
    unit_scores(study)
    activity(study)
    assert hook_count(study.model.hf) == 0
    assert all(parameter.grad is None for parameter in study.model.hf.parameters())


def test_scores_need_pairs_but_activity_does_not():
    free = dataclasses.replace(tiny_emotion(), pairs=None, free=(("w1 w2 w3",), ("w3 w4",)))
    study = Study(tiny_model("gpt2"), free, profile())
    with pytest.raises(InputError, match="needs aligned pairs"):
        unit_scores(study)
    assert activity(study).shape == (N_LAYERS, 40)


def test_the_ranking_is_by_the_absolute_mean():
    scores = dataclasses.replace(unit_scores(study_of("gpt2")), n_units=2)
    atp = np.array([[1, -5, 2, 0], [1, -3, -2, 0.5], [1, -4, 2, 1], [1, -4, -2, 1]], np.float32)
    made = dataclasses.replace(scores, pairs={"atp_denoise": 2 * atp, "atp_noise": 0 * atp})
    ranking = made.ranking()
    assert ranking.top(9) == [Unit(0, 1), Unit(0, 0), Unit(1, 1), Unit(1, 0)]
    assert ranking.unit(2) == Unit(0, 0)
    assert ranking.reliability is not None
    assert made.ranking(np.array([0])).top(2) == [Unit(0, 1), Unit(1, 0)]
    assert made.place(Unit(1, 1)) == 3
    assert UnitRanking(40, np.array([41, 3]), None).top(1) == [Unit(1, 1)]


@families
def test_activity_is_the_mean_size_over_both_sides(model_type):
    study = study_of(model_type, position="after_slot")
    found = activity(study)
    for unit in SOME:
        values = []
        for side in ("emotion", "neutral"):
            read = study.activations(side, unit)
            values.append(read.of(part(unit))[read.batch.at("after_slot")])
        expected = float(torch.cat(values).abs().mean())
        assert found[unit.layer, unit.index] == pytest.approx(expected)


def test_matched_units_are_others_of_the_layer_about_as_active():
    active = np.stack([np.arange(40.0), np.arange(40.0)[::-1]])
    units = UnitSet((Unit(0, 3), Unit(0, 4), Unit(1, 39)))
    drawn = set()
    for seed in range(40):
        control = matched(units, active, seed=seed, nearest=4)
        assert [unit.layer for unit in control] == [0, 0, 1]
        assert not set(control) & set(units)
        assert all(unit.index < 9 for unit in control if unit.layer == 0)
        assert all(unit.index > 34 for unit in control if unit.layer == 1)
        assert control == matched(units, active, seed=seed, nearest=4)
        drawn.add(control)
    assert len(drawn) > 5


def test_without_units_left_there_is_nothing_to_match():
    whole = UnitSet(tuple(Unit(0, i) for i in range(3)))
    with pytest.raises(InputError, match=r"^no random unit of layer 0 is left to compare with: "):
        matched(whole, np.ones((1, 4)))
