"""Exact effects of units, and the scores that stand in for them: equal where all is linear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import CONFIGS, build, profile, study_of, tiny_emotion
from torch import nn

from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import patch
from emolib.methods.study import Study
from emolib.methods.unit_effects import Patched, exact_effects, halves_of, to_compare
from emolib.methods.unit_scores import UnitScores, unit_scores
from emolib.models.language_model import LanguageModel


def linear():
    """Give a study of a GPT-2 without norms and activations, whose heads look at all alike."""
    model = build("gpt2", CONFIGS["gpt2"], torch.float64)
    hf = model.hf.double()
    for block in hf.transformer.h:
        block.ln_1 = block.ln_2 = block.mlp.act = nn.Identity()
        with torch.no_grad():
            block.attn.c_attn.weight[:, :64] = 0
            block.attn.c_attn.bias[:64] = 0
    hf.transformer.ln_f = nn.Identity()
    return Study(LanguageModel(hf, model.tokenizer, "linear"), tiny_emotion(), profile())


SOME = tuple(Unit(layer, index) for layer in (0, 1) for index in (0, 7, 19, 39))


def test_on_a_linear_model_relp_and_atp_are_the_exact_effect():
    study = linear()
    scores = unit_scores(study)
    assert "relp" not in scores.lacking
    exact = exact_effects(study, SOME, UnitSet(SOME))
    for unit, effect in exact.items():
        place = scores.place(unit)
        # Scores are kept in float32.
        assert scores.relp[:, place] == pytest.approx(effect, rel=1e-5, abs=1e-6)
        assert scores.atp[:, place] == pytest.approx(effect, rel=1e-5, abs=1e-6)
    assert max(np.abs(effect).max() for effect in exact.values()) > 0.05
    patched = Patched(exact, scores, halves_of(study))
    assert patched.correlation("relp") == patched.correlation("atp")


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "gemma2"])
@pytest.mark.parametrize("position", ["last", "all"])
def test_exact_effects_are_those_of_patching_both_ways(kind, position):
    study = study_of(kind, position=position)
    effects = exact_effects(study, SOME[2:4], UnitSet(SOME))
    for unit, effect in effects.items():
        denoise = study.run(patch(unit, study.activations("emotion", unit)), on="neutral")
        noise = study.run(patch(unit, study.activations("neutral", unit)))
        up = denoise.logit_diff - study.run(on="neutral").logit_diff
        assert effect == pytest.approx((up - (noise.logit_diff - study.run().logit_diff)) / 2)
    scores = unit_scores(study)
    assert scores.relp.shape == scores.atp.shape and np.isfinite(scores.relp).all()
    assert not np.allclose(scores.relp, scores.atp, rtol=0.05)


def made(atp, relp=None, n_units=100, seed=0):
    pairs = {"atp_denoise": np.float32(2 * atp), "atp_noise": np.float32(0 * atp)}
    return UnitScores(n_units, pairs | ({} if relp is None else {"relp": np.float32(relp)}), seed)


def test_units_to_compare_are_the_strongest_by_either_score_and_random_others():
    atp, relp = np.tile(np.arange(200.0), (4, 1)), np.tile(np.arange(200.0)[::-1], (4, 1))
    chosen = to_compare(made(atp, relp))
    assert len(set(chosen)) == len(chosen) == 36
    places = [made(atp).place(unit) for unit in chosen]
    assert places[:24] == [*range(199, 187, -1), *range(12)]
    assert set(places[24:]) <= set(range(12, 188)) and places[24:] == sorted(places[24:])
    assert chosen != to_compare(made(atp, relp, seed=1)) and chosen == to_compare(made(atp, relp))
    # What both name, and what one lacks, chance makes up for.
    assert len(set(to_compare(made(atp, atp)))) == len(set(to_compare(made(atp)))) == 36
    assert len(to_compare(made(atp[:, :30], n_units=15))) == 30


def test_a_score_is_compared_with_the_effects_of_the_other_half():
    """By the sizes: here each half's score ranks as the other half's effects, not as its own."""
    units = [Unit(0, index) for index in range(4)]
    halves = np.array([0, 0, 1, 1])
    first, second = np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])
    effects = dict(zip(units, np.stack([second, second, first, first]).T, strict=True))
    scores = made(np.stack([-first, -first, second, second]), n_units=4)
    patched = Patched(effects, scores, halves)
    assert patched.correlation("atp") == pytest.approx(1)
    same = made(np.stack([second, second, first, first]), n_units=4)
    assert Patched(effects, same, halves).correlation("atp") == pytest.approx(-1)
    assert patched.correlation("relp") is None
    assert Patched(effects, scores, np.zeros(4, int)).correlation("atp") is None
    flat = made(np.ones((4, 4)), n_units=4)
    assert Patched(effects, flat, halves).correlation("atp") is None


def test_of_whole_mlps_relevance_is_nearer_to_the_exact_effect(gratitude, load):
    """A single unit is a small step, of which a gradient tells nearly all; a whole MLP is none."""
    study = Study(load("tiny-gpt2"), gratitude, profile())
    scores, layers = unit_scores(study), range(study.model.n_layers)
    per_layer = [[Unit(layer, i) for i in range(scores.n_units)] for layer in layers]
    every = UnitSet(tuple(unit for units in per_layer for unit in units))
    exact = np.zeros(len(per_layer))
    for on, other, sign in (("neutral", "emotion", 1), ("emotion", "neutral", -1)):
        source, clean = study.activations(other, every), study.run(on=on).logit_diff
        for layer, units in enumerate(per_layer):
            moved = study.run(patch(UnitSet(tuple(units)), source), on=on).logit_diff - clean
            exact[layer] += sign * moved.mean() / 2
    off = {
        name: np.linalg.norm(table.mean(0).reshape(len(per_layer), -1).sum(1) - exact)
        for name, table in (("atp", scores.atp), ("relp", scores.relp))
    }
    assert exact.max() > 5 and off["relp"] < 0.7 * off["atp"]
