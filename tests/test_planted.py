"""Every cell of the table of SCIENCE §8, through the same doors that experiments use."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import profile

from emolib import interventions
from emolib.engine import hooked
from emolib.inputs.heads import Head, all_heads
from emolib.interventions import patch, zero
from emolib.methods import screening
from emolib.methods.study import Study
from emolib.planted import DECOY, EMOTION_WORDS, PLANTED, TARGETS, planted_emotion, planted_model
from emolib.stats.summary import summarize

HEADS = all_heads(2, 4)
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
MEAN = 2 / math.sqrt(1 + 9 / 64) - 4
# Per quantity: the planted head, the decoy; every other head is 0.
TABLE = {
    "emotion_mean_attn": (0.75, 0.75),
    "neutral_mean_attn": (0.1, 0.1),
    "delta_attn": (0.65, 0.65),
    "delta_out": (6, 5),
    "delta_out_debiased": (6, 5),
    "dla": (4.8, 0),
    "atp_denoise": (6, 0),
    "atp_noise": (-3.36, 0),
    "atp_ig": (5.0065, 0),
    "patch_denoise": (5, 0),
    "patch_noise": (-5, 0),
}


@pytest.fixture(
    scope="module",
    params=[(dtype, name) for dtype in TOLERANCE for name in EMOTION_WORDS],
    ids=lambda param: f"{str(param[0]).removeprefix('torch.')}-{param[1]}",
)
def study(request):
    dtype, name = request.param
    settings = profile(verify=len(HEADS), max_new_tokens=2)
    return Study(planted_model(dtype), planted_emotion(name), settings)


@pytest.fixture(scope="module")
def scores(study):
    return screening.screen(study)


@pytest.fixture
def close(study):
    def close(value, expected):
        tolerance = TOLERANCE[study.model.hf.dtype]
        assert np.abs(np.asarray(value) - expected).max() <= tolerance, (value, expected)

    return close


@pytest.mark.parametrize("quantity", TABLE)
def test_screening_gives_the_table(quantity, study, scores, close):
    for head in HEADS:
        value = scores.of(head)[quantity]
        if quantity == "atp_ig" and head == PLANTED:
            # The table rounds it; the exact number is in its own test.
            assert np.abs(np.asarray(value) - 5.0065).max() < 5e-5
        elif quantity == "neutral_mean_attn" or (
            quantity == "emotion_mean_attn" and head not in (PLANTED, DECOY)
        ):
            close(value, 0.1)
        else:
            close(value, dict(zip((PLANTED, DECOY), TABLE[quantity], strict=True)).get(head, 0))


def test_atp_ig_is_the_midpoint_rule_over_five_points(scores, close):
    def slope(h):
        """Derivative of LD(h) = (h − 1) / √(1 + h²/64)."""
        return (1 + h / 64) / (1 + h * h / 64) ** 1.5

    # The path moves the whole of what the head writes from neutral, 0, to emotion, 6.
    exact = 6 * np.mean([slope(6 * (k + 0.5) / 5) for k in range(5)])
    close(scores.of(PLANTED)["atp_ig"], exact)


def test_clean_logit_diff_is_4_on_emotion_and_minus_1_on_neutral(study, close):
    close(study.run().logit_diff, 4)
    close(study.run(on="neutral").logit_diff, -1)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_zero_takes_5_away_on_emotion_and_nothing_on_neutral(head, study, close):
    close(study.run(zero(head)).logit_diff - study.run().logit_diff, -5 * (head == PLANTED))
    neutral = study.run(zero(head), on="neutral").logit_diff
    close(neutral - study.run(on="neutral").logit_diff, 0)


def test_an_effect_that_is_the_same_for_every_pair_has_no_d_z(study):
    effect = study.run(zero(PLANTED)).logit_diff - study.run().logit_diff
    found = summarize(effect, study.prompts().clusters)
    assert (found["d_z"], found["why"]) == (None, "SD ≈ 0")


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_mean_leaves_half_of_what_the_head_writes(head, study, close):
    ablated = study.run(study.ablation("mean")(head)).logit_diff
    close(ablated - study.run().logit_diff, MEAN * (head == PLANTED))


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_patching_moves_all_of_the_gap_both_ways(head, study, close):
    emotion, neutral = study.activations("emotion"), study.activations("neutral")
    gap = study.run().logit_diff - study.run(on="neutral").logit_diff
    close(gap, 5)
    denoised = study.run(patch(head, emotion), on="neutral").logit_diff
    noised = study.run(patch(head, neutral)).logit_diff
    close((denoised - study.run(on="neutral").logit_diff) / gap, float(head == PLANTED))
    close((noised - study.run().logit_diff) / gap, -float(head == PLANTED))


def test_resample_draws_a_neutral_prompt_or_an_emotion_one(study, close):
    """A donor is one or the other, so a draw's effect is −5 or 0 and the mean in between."""
    reference = study.reference
    once = interventions.resample(PLANTED, reference, draws=40)
    logits = study.run(once).logits
    emotion, neutral = study.targets
    effects = logits[..., emotion].mean(-1) - logits[..., neutral].mean(-1) - 4
    assert effects.shape == (40, len(study.pairs))
    nearest = torch.where(effects < -2.5, -5.0, 0.0)
    close((effects - nearest).numpy(), 0)
    assert 0.35 < float((nearest == 0).float().mean()) < 0.65
    close(study.run(once).logit_diff, 4 + nearest.double().mean(0).numpy())


def test_greedy_text_is_the_target_and_neutral_s_with_the_planted_head_zeroed(study):
    target = TARGETS[study.emotion.name]
    first = [text.split()[0] for text in study.run().texts]
    assert first == [target] * len(study.pairs)
    first = [text.split()[0] for text in study.run(zero(PLANTED)).texts]
    assert first == [TARGETS["neutral"]] * len(study.pairs)
    assert study.run(zero(DECOY)).texts == study.run().texts


def test_the_margin_is_the_smallest_gap_over_the_steps(study, close):
    """At the second token the prompt is 11 long, so less attention is left for the emotion."""
    h = 8 * 27 / (27 + 10)
    second = (h - 1) / math.sqrt(1 + h * h / 64)
    assert second < 4
    close(study.run().margin, second)


def test_atp_is_not_the_patch_effect(scores):
    """LayerNorm alone makes the difference: equal numbers would mean patching in disguise."""
    row = scores.of(PLANTED)
    assert abs(row["atp_denoise"].mean() - row["patch_denoise"]) > 0.9
    assert abs(row["atp_noise"].mean() - row["patch_noise"]) > 1.6


def test_the_planted_head_ranks_first(scores):
    assert scores.ranking[0] == PLANTED
    assert set(scores.verified) == set(HEADS)


def test_pairs_are_ten_tokens_and_the_slot_wanders(planted):
    emotion = planted_emotion("anger")
    aligned = planted.align(emotion.pairs)
    assert not aligned.left_out
    assert {len(ids) for ids in aligned.emotion.ids} == {10}
    assert {end - start for start, end in aligned.emotion.slots} == {1}
    assert len(set(aligned.emotion.slots)) > 4


def test_layer_norm_erases_what_the_decoy_writes(planted):
    written = planted.w_o(DECOY)[0]
    assert float(written.norm()) == pytest.approx(5 / 3)
    assert float((written - written.mean()).abs().max()) < 1e-12


def test_the_first_layer_norm_is_the_identity(planted):
    prompts = planted.align(planted_emotion().pairs).emotion
    stream = planted.hf.transformer.wte(torch.tensor(prompts.ids))
    torch.testing.assert_close(planted.hf.transformer.h[0].ln_1(stream), stream)


def test_a_head_that_is_not_planted_has_no_weights(planted):
    assert not planted.w_o(Head(1, 1)).any()
    assert hooked.last_logits(planted, planted.encode(["one END"])).isfinite().all()
