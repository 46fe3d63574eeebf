"""Planted models of other plans: several heads, other layers, and many drawn at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from tiny import crossed, profile

from emolib.inputs.heads import Head, all_heads
from emolib.interventions import mean, patch, zero
from emolib.methods import screening
from emolib.methods.study import Study
from emolib.planted import EMOTION_WORDS, GAIN, Plan, planted_emotion, planted_model, random_plan

DRAWN = 60
FEW = 15


def logit_diff(h):
    return (h - 1) / math.sqrt(1 + h**2 / 64)


def study_of(plan, emotion="gratitude"):
    settings = profile(max_new_tokens=2, verify=plan.layers * plan.heads)
    return Study(planted_model(torch.float64, plan), planted_emotion(emotion), settings)


def value(scores, name, head):
    return np.mean(scores.of(head)[name])


@crossed(count=[1, 2, 3, 4], layer=[0, 1, 2])
def test_heads_that_split_the_effect(count, layer):
    """One alone moves LD(6) to LD(6·(k − 1)/k), j of them to LD(6·(k − j)/k)."""
    heads = [Head(layer, index) for index in range(count)]
    plan = Plan(3, 8, dict.fromkeys(heads, GAIN / count), (Head(layer, 7),))
    study = study_of(plan)
    assert study.run().logit_diff == pytest.approx(4, abs=1e-6)
    for j in range(1, count + 1):
        left = logit_diff(6 * (count - j) / count)
        ablated = study.run(zero(heads[:j])).logit_diff
        assert ablated == pytest.approx(left, abs=1e-6)
        run = study.run(patch(heads[:j], study.activations("emotion")), on="neutral")
        assert run.logit_diff == pytest.approx(logit_diff(6 * j / count), abs=1e-6)
    # dla freezes σ at 1.25, so it is additive where ablation is not.
    scores = screening.screen(study)
    for head in heads:
        assert value(scores, "dla", head) == pytest.approx(4.8 / count, abs=1e-6)
        assert value(scores, "delta_out", head) == pytest.approx(6 / count, abs=1e-6)


@crossed(emotion=EMOTION_WORDS, layer=[0, 1])
def test_rotary_positions_and_rms_norm_have_the_same_answers(emotion, layer):
    """Llama's RMSNorm computes in float32 whatever the dtype, hence the tolerance."""
    planted, decoy = Head(layer, 1), Head(layer, 2)
    study = study_of(Plan(gains={planted: GAIN}, decoys=(decoy,), architecture="llama"), emotion)
    assert study.model.hf.config.model_type == "llama"
    scores, close = screening.screen(study), 2e-6
    assert study.run().logit_diff == pytest.approx(4, abs=close)
    assert study.run(on="neutral").logit_diff == pytest.approx(-1, abs=close)
    table = {"delta_attn": (0.65, 0.65), "delta_out": (6, 0), "dla": (4.8, 0), "atp_denoise":
             (6, 0), "atp_noise": (-3.36, 0), "patch_denoise": (5, 0),
             "patch_noise": (-5, 0)}  # fmt: skip
    for name, (mine, other) in table.items():
        for head in all_heads(2, 4):
            expected = {planted: mine, decoy: other}.get(head, 0)
            assert value(scores, name, head) == pytest.approx(expected, abs=close), (name, head)
    half = study.run(mean(planted, study.reference)).logit_diff
    assert half == pytest.approx(logit_diff(3), abs=close)
    assert study.run(zero(planted)).logit_diff == pytest.approx(-1, abs=close)


def auroc(values, planted):
    """Return the chance that a planted head has a larger value than another."""
    mine, others = values[planted], values[~planted]
    return mannwhitneyu(mine, others).statistic / (len(mine) * len(others))


@pytest.fixture(scope="module", params=[FEW, pytest.param(DRAWN, marks=pytest.mark.slow)])
def drawn(request):
    """Return per drawn model, which heads are planted, which are decoys, and the scores."""
    found = []
    for seed in range(request.param):
        plan = random_plan(seed)
        heads = all_heads(plan.layers, plan.heads)
        scores = screening.screen(study_of(plan, ("gratitude", "anger", "apology")[seed % 3]))
        table = {
            name: np.abs([value(scores, name, head) for head in heads])
            for name in ("atp_ig", "patch_denoise", "patch_noise", "delta_attn")
        }
        found.append((plan, np.array([head in plan.gains for head in heads]), table))
    return found


@pytest.mark.parametrize("name", ["atp_ig", "patch_denoise", "patch_noise"])
def test_screening_and_verification_put_the_planted_heads_first(drawn, name):
    assert len(drawn) in (FEW, DRAWN)
    assert [auroc(table[name], planted) for _, planted, table in drawn] == [1.0] * len(drawn)


def test_attention_alone_falls_for_the_decoy(drawn):
    """It takes every decoy for a planted head: above all other heads, and often above those."""
    planted_first = [auroc(table["delta_attn"], planted) for _, planted, table in drawn]
    assert np.mean([value < 1 for value in planted_first]) > 0.8
    for plan, planted, table in drawn:
        heads = all_heads(plan.layers, plan.heads)
        decoys = np.array([head in plan.decoys for head in heads])
        others = table["delta_attn"][~planted]
        assert auroc(others, decoys[~planted]) == 1.0
        # Patching sees through it.
        assert table["patch_denoise"][decoys].max() < 0.05 * table["patch_denoise"][planted].min()


def test_plans_differ():
    plans = [random_plan(seed) for seed in range(DRAWN)]
    shapes = {(plan.layers, plan.heads, len(plan.gains), len(plan.decoys)) for plan in plans}
    assert len(shapes) >= 12
    assert random_plan(3) == random_plan(3) != random_plan(4)
