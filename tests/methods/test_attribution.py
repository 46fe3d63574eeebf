"""Attribution patching and the exact effects beside it."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import FAMILIES, HEADS, crossed, profile, study_of

from emolib.engine import hooked
from emolib.inputs.heads import all_heads, head_set
from emolib.interventions import Intervention, patch
from emolib.methods import attribution, screening
from emolib.stats.missed import drawn_for

families = pytest.mark.parametrize("model_type", FAMILIES)


@crossed(model_type=FAMILIES, position=["last", "after_slot", "all"])
def test_atp_is_the_slope_of_the_patch(model_type, position):
    """Finite differences: a small step of one head's z towards the other side."""
    study = study_of(model_type, position=position)
    z = {side: study.activations(side).z for side in ("emotion", "neutral")}
    scores = attribution.attribution_scores(study)
    step = 1e-3

    def effect(head, side, other, sign):
        def towards(value, site):
            rows = site.batch.rows
            change = z[other][head.layer] - z[side][head.layer]
            return value + sign * step * change[rows.start : rows.stop, :, head.index]

        return study.run(Intervention("step", head_set(head), towards), on=side).logit_diff

    for name, side, other in (
        ("atp_denoise", "neutral", "emotion"),
        ("atp_noise", "emotion", "neutral"),
    ):
        for column, head in enumerate(HEADS):
            up, down = effect(head, side, other, 1), effect(head, side, other, -1)
            slope = (up - down) / (2 * step)
            assert scores[name][:, column] == pytest.approx(slope, rel=1e-3, abs=2e-3), head
    assert np.abs(scores["atp_denoise"]).max() > 0.1


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox"])
def test_atp_ig_is_the_slope_averaged_along_the_path(model_type):
    """Along the path z at Q of all heads stands between the two sides."""
    study = study_of(model_type)
    model, prompts = study.model, study.prompts("neutral")
    z_emo, z_neu = study.activations("emotion").z, study.activations("neutral").z
    step, slopes = 1e-4, []
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        moved = {}

        def place(value, site, share=share, moved=moved):
            layer, index = site.head.layer, site.head.index
            stands = ((1 - share) * z_neu[layer] + share * z_emo[layer])[:, :, index]
            moved[site.head] = stands - value
            return stands

        hooked.last_logits(model, prompts, [Intervention("place", head_set(HEADS), place)])
        row = []
        for head in HEADS:
            ends = []
            for sign in (1, -1):

                def again(value, site, sign=sign, head=head, moved=moved):
                    value = value + moved[site.head]
                    change = (z_emo[head.layer] - z_neu[head.layer])[:, :, head.index]
                    return value + sign * step * change if site.head == head else value

                ends.append(study.run(Intervention("again", head_set(HEADS), again), on="neutral"))
            row.append((ends[0].logit_diff - ends[1].logit_diff) / (2 * step))
        slopes.append(np.stack(row, axis=1))
    found = attribution.attribution_scores(study)["atp_ig"]
    assert found == pytest.approx(np.mean(slopes, axis=0), rel=1e-3, abs=1e-3)
    assert not np.allclose(found, attribution.attribution_scores(study)["atp_denoise"], rtol=0.02)


def test_verified_heads_are_the_top_and_random_others():
    study = study_of("gpt_neox", verify=2)
    scores = screening.screen(study)
    chosen = list(scores.verified)
    assert chosen[:2] == scores.ranking[:2] and tuple(chosen[2:]) == scores.drawn
    assert len(set(chosen)) == 2 + drawn_for(len(HEADS) - 2)
    assert list(screening.screen(study).verified) == chosen
    denoise = study.run(patch(chosen[3], study.activations("emotion")), on="neutral").logit_diff
    noise = study.run(patch(chosen[3], study.activations("neutral"))).logit_diff
    expected = (
        (denoise - study.run(on="neutral").logit_diff).mean(),
        (noise - study.run().logit_diff).mean(),
    )
    assert scores.verified[chosen[3]] == pytest.approx(expected)
    assert -1 <= scores.rank_correlation <= 1


def test_the_random_heads_are_never_top_ones_and_change_with_the_seed():
    ranking, sets = all_heads(12, 12), set()
    for seed in range(8):
        top, drawn = attribution.to_verify(ranking, profile(verify=10, seed=seed))
        assert top == ranking[:10]
        # Of 134 others 25 leave 13 open.
        assert len(set(drawn)) == 25 and not set(drawn) & set(top)
        assert drawn == attribution.to_verify(ranking, profile(verify=10, seed=seed))[1]
        sets.add(tuple(drawn))
    assert len(sets) == 8
    assert len(attribution.to_verify(ranking, profile(verify=10), drawn=3)[1]) == 3
    assert len(attribution.to_verify(ranking, profile(verify=10), drawn=999)[1]) == 134


def test_verifying_no_head_leaves_the_columns_empty():
    scores = screening.screen(study_of("gpt2", verify=0))
    assert scores.verified == {} and scores.missed is None
    assert scores.rank_correlation is None
    row = scores.of(HEADS[0])
    assert row["patch_denoise"] is row["patch_noise"] is row["rank_correlation"] is None
    assert row["missed_most"] is row["missed_tau"] is None and "missed" not in row


@pytest.mark.parametrize(("verify", "drawn"), [("all", 3), (6, 2), (8, 0), (20, 0)])
def test_every_head_may_be_verified(verify, drawn):
    """Of ``all`` the first five count as the ranking's strongest."""
    scores = screening.screen(study_of("gpt2", verify=verify))
    assert set(scores.verified) == set(HEADS) and len(scores.drawn) == drawn
    assert (scores.missed is None) == (drawn == 0)
    if scores.missed:
        assert scores.missed[:3] == (0, drawn, drawn)
        assert scores.missed.sentence().startswith(f"every one of the {drawn} other heads was ver")


def test_what_the_ranking_missed_is_by_the_drawn_heads_alone():
    heads = tuple(all_heads(12, 12))
    top, drawn = heads[:10], heads[20:42]
    verified = {head: (9.0, 0.0) for head in top} | {head: (0.01, 7.0) for head in drawn}
    verified[drawn[3]] = (-0.03, 0.0)
    atp = {"atp_ig": np.zeros((2, len(heads)))}
    scores = screening.Screening(heads, atp, {}, verified, drawn=drawn)
    assert scores.missed == (15, 134, 22, 0.03, 0.05)
    row = scores.of(heads[100])
    assert row["missed"] == "at most 15 of 134 unverified heads exceed 0.03 logits (95 %)"
    numbers = [row[f"missed_{name}"] for name in ("most", "rest", "drawn", "tau")]
    assert numbers == [15, 134, 22, 0.03]
