"""Unit screening, on a planted unit whose every score is known in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny import profile, study_of

from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import mean, patch, zero
from emolib.methods.study import Study
from emolib.methods.unit_scores import activity, matched, unit_scores
from emolib.methods.unit_screening import d_z, screen_units
from emolib.models.language_model import LanguageModel
from emolib.planted import EMOTION_WORDS, TARGETS, planted_emotion, planted_model
from emolib.tracing import hook_count

PLANTED = Unit(0, 100)
ACTIVATION, WRITTEN, READ = 10.0, 8.0, 0.5
# Of the planted head: what it writes, and the two terms of LD that are there without the unit.
HEAD, TARGET, NEUTRAL = 6.0, 6.0, 1.0


def scale(head, unit):
    return math.sqrt(1 + (head**2 + unit**2) / 64)


def logit_diff(head, unit):
    """Give LD where the head writes `head` and the unit `unit` along directions of their own."""
    return ((TARGET if head else 0) + READ * unit - NEUTRAL) / scale(head, unit)


def slope(head, unit):
    """Give ∂LD/∂(what the unit writes)."""
    sigma, top = scale(head, unit), logit_diff(head, unit) * scale(head, unit)
    return READ / sigma - top * unit / 64 / sigma**3


EMOTION, WITHOUT, NONE = logit_diff(HEAD, WRITTEN), logit_diff(HEAD, 0), logit_diff(0, 0)


@pytest.fixture(scope="module", params=EMOTION_WORDS)
def study(request):
    """The planted model with one unit more: after the head it reads the target's direction,
    which LayerNorm has made 4.8 long, and writes along one that the unembedding reads too.
    """
    model = planted_model()
    hf, index = model.hf, model.tokenizer.get_vocab()[TARGETS[request.param]]
    with torch.no_grad():
        out = hf.lm_head.weight[index].clone()
        new = torch.zeros_like(out)
        new[-2], new[-1] = 1 / math.sqrt(2), -1 / math.sqrt(2)
        mlp = hf.transformer.h[0].mlp
        # So far from 0 GELU is the identity.
        mlp.c_fc.weight[:, PLANTED.index] = ACTIVATION / 4.8 * out
        mlp.c_proj.weight[PLANTED.index] = WRITTEN / ACTIVATION * new
        hf.lm_head.weight[index] += READ * new
    model = LanguageModel(hf, model.tokenizer, model.name)
    return Study(model, planted_emotion(request.param), profile(max_new_tokens=2))


def test_the_model_is_what_the_closed_form_says(study):
    assert study.run().logit_diff == pytest.approx(EMOTION, abs=1e-5)
    assert study.run(on="neutral").logit_diff == pytest.approx(NONE, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("delta_act", ACTIVATION),
        ("dla", READ * WRITTEN / scale(HEAD, WRITTEN)),
        ("atp_denoise", WRITTEN * slope(0, 0)),
        ("atp_noise", -WRITTEN * slope(HEAD, WRITTEN)),
        # With the scale of the norm a constant, on either side.
        ("relp", READ * WRITTEN * (1 / scale(0, 0) + 1 / scale(HEAD, WRITTEN)) / 2),
    ],
)
def test_scores_are_the_closed_form(study, name, expected):
    table = unit_scores(study).pairs[name]
    assert table[:, PLANTED.index] == pytest.approx(expected, rel=1e-5)
    others = np.delete(table, PLANTED.index, axis=1)
    assert np.abs(others).max() == 0


def test_interventions_are_the_closed_form(study):
    change = study.run(zero(PLANTED)).logit_diff - study.run().logit_diff
    assert change == pytest.approx(WITHOUT - EMOTION, abs=1e-5)
    denoise = study.run(patch(PLANTED, study.activations("emotion", PLANTED)), on="neutral")
    assert denoise.logit_diff == pytest.approx(logit_diff(0, WRITTEN), abs=1e-5)
    noise = study.run(patch(PLANTED, study.activations("neutral", PLANTED)))
    assert noise.logit_diff == pytest.approx(WITHOUT, abs=1e-5)
    halved = study.run(mean(PLANTED, study.reference_of(PLANTED)))
    assert halved.logit_diff == pytest.approx(logit_diff(HEAD, WRITTEN / 2), abs=1e-5)


def test_the_planted_unit_is_found_and_confirmed(study):
    screening = screen_units(study)
    first, second = screening.top[:2]
    atp = WRITTEN * (slope(0, 0) + slope(HEAD, WRITTEN)) / 2
    halved = logit_diff(HEAD, WRITTEN / 2) - EMOTION
    assert (first["unit"], first["selected_by"]) == (str(PLANTED), 2)
    assert first["atp"] == pytest.approx(atp, rel=1e-5)
    exact = (logit_diff(0, WRITTEN) - NONE + EMOTION - WITHOUT) / 2
    assert first["patch_effect"] == pytest.approx(exact, abs=1e-5)
    assert first["relp"] == pytest.approx(
        READ * WRITTEN * (1 / scale(0, 0) + 1 / scale(HEAD, WRITTEN)) / 2, rel=1e-5
    )
    # One unit alone does anything: the ranks of the others tie, and it stands apart from them.
    assert first["atp_correlation"] == first["relp_correlation"] == pytest.approx(1)
    assert first["zero_effect"] == pytest.approx(WITHOUT - EMOTION, abs=1e-5)
    assert first["held_out_zero"] == pytest.approx(WITHOUT - EMOTION, abs=1e-5)
    assert first["held_out_mean"] == pytest.approx(halved, abs=1e-5)
    # In this model the unit's activation is the same on every pair.
    assert first["act_d_z"] is None and first["delta_act"] == pytest.approx(ACTIVATION)
    assert second["zero_effect"] == pytest.approx(0, abs=1e-9)
    effects = {row["kind"]: row for row in screening.confirmation}
    for kind, expected in (("zero", WITHOUT - EMOTION), ("mean", halved)):
        assert effects[kind]["top_effect"] == pytest.approx(expected, abs=1e-5)
        assert effects[kind]["random_effect"] == pytest.approx(0, abs=1e-9)
        assert effects[kind]["difference"] == pytest.approx(expected, abs=1e-5)
    layers = screening.layers
    assert [row["layer"] for row in layers] == ["L0", "L1"]
    assert layers[0]["max_abs_atp"] == layers[0]["sum_abs_atp"] == pytest.approx(atp, rel=1e-5)
    assert layers[0]["units_for_half"] == 1 and layers[1]["sum_abs_atp"] == 0


def test_each_half_s_units_are_measured_on_the_other_half():
    study = study_of("gpt2")
    screening, scores = screen_units(study), unit_scores(study)
    clusters = np.array(study.pairs.emotion.clusters)
    halves = np.array([list(dict.fromkeys(clusters)).index(name) % 2 for name in clusters])
    assert 0 < halves.sum() < len(halves)
    active, clean = activity(study), study.run().logit_diff
    expected = {name: np.zeros(len(halves)) for name in ("top", "random")}
    for half in (0, 1):
        selecting, held_out = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
        strength = np.abs(scores.atp[selecting].mean(0))
        places = np.argsort(-strength, kind="stable")[:20]
        top = UnitSet(tuple(Unit(*divmod(int(place), 40)) for place in places))
        for name, units in (("top", top), ("random", matched(top, active))):
            effect = study.run(zero(units)).logit_diff - clean
            expected[name][held_out] = effect[held_out]
            named = screening.confirmation[0][f"{name}_units"]
            assert {named[row] for row in held_out} == {str(units)}
    row = screening.confirmation[0]
    assert row["kind"] == "zero"
    assert row["top_effect"] == pytest.approx(expected["top"])
    assert row["random_effect"] == pytest.approx(expected["random"])
    assert np.abs(row["top_effect"]).mean() > np.abs(row["random_effect"]).mean()


def test_held_out_effects_are_over_pairs_that_did_not_select_the_unit():
    study = study_of("gpt2")
    screening = screen_units(study)
    halves = np.array([0, 0, 1, 1, 0, 0])
    top = screening.confirmation[0]["top_units"]
    seen = set()
    for row in screening.top[:20]:
        rows = [i for i in range(6) if row["unit"] in top[i].split("+")]
        count = len({halves[i] for i in rows})
        assert row["selected_by"] == count
        seen.add(count)
        if not rows:
            assert row["held_out_zero"] is row["held_out_mean"] is None
        else:
            assert row["held_out_zero"] == pytest.approx(row["zero_effect"][rows].mean())
            assert row["held_out_mean"] == pytest.approx(row["mean_effect"][rows].mean())
    assert len(seen) > 1


def test_rows_are_of_the_strongest_and_the_first_ones_are_ablated():
    study = study_of("gpt2")
    screening = screen_units(study)
    assert len(screening.top) == 50
    assert [row["unit"] for row in screening.top] == [str(u) for u in screening.ranking.top(50)]
    strength = [abs(np.mean(row["atp"])) for row in screening.top]
    assert strength == sorted(strength, reverse=True)
    assert all(len(row["zero_effect"]) == 6 for row in screening.top[:20])
    assert all(row["zero_effect"] is row["held_out_zero"] is None for row in screening.top[20:])
    row, reliability = screening.top[0], screening.ranking.reliability
    if reliability >= 0.8:
        assert row["rank"] == 1 and "ranking" not in row
    else:
        assert row["rank"] is None and row["ranking"].startswith("reliability")
    assert hook_count(study.model.hf) == 0


def test_one_pair_has_no_second_half():
    whole = study_of("gpt2")
    alone = dataclasses.replace(whole.emotion, pairs=whole.emotion.pairs[:1])
    screening = screen_units(Study(whole.model, alone, profile()))
    assert screening.confirmation == ()
    assert screening.top[0]["selected_by"] == 0 and screening.top[0]["held_out_zero"] is None
    assert screening.top[0]["ranking"] == "no reliability: too few pairs"


def test_d_z_is_mean_over_sd():
    assert d_z(np.array([1, 2, 3], np.float32)) == pytest.approx(2)
    assert d_z(np.array([2, 2, 2], np.float32)) is None
    assert d_z(np.array([2], np.float32)) is None
