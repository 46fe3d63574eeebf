"""Optimal ablation: constants that change logit_diff least, beside closed forms, zero, mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import N_LAYERS, profile, study_of, text, tiny_emotion, tiny_model

from emolib.engine.costs import Planned
from emolib.engine.whole import Whole
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.targets import Stream, StreamSet, target_set
from emolib.inputs.units import Unit
from emolib.interventions import Intervention
from emolib.methods.optimal_ablation import STARTS, STEPS, _Fit, _Point, costs, halves_of
from emolib.methods.study import Study
from emolib.models.language_model import LanguageModel
from emolib.models.snapshot import Snapshot
from emolib.planted import DECOY, PLANTED, WIDTH, feature, planted_emotion, planted_model

SIDES = ("emotion", "neutral")
CONSTANT = Head(0, 3)


def planted_study(model, **fields):
    settings = profile(max_new_tokens=2, **fields)
    return Study(model, planted_emotion(), settings)


@pytest.fixture(scope="module")
def with_constant():
    """Give the planted model with a head that writes the same on every prompt."""
    model = planted_model()
    d_head, attention = WIDTH // 4, model.hf.transformer.h[0].attn
    with torch.no_grad():
        attention.c_attn.bias[2 * WIDTH + CONSTANT.index * d_head] = 3.0
        attention.c_proj.weight[CONSTANT.index * d_head] = feature(7)
    return LanguageModel(model.hf, model.tokenizer, "planted-constant")


@pytest.mark.parametrize("position", ["last", "all"])
def test_a_constant_head_does_nothing_where_its_zero_does(with_constant, position):
    study = planted_study(with_constant, position=position)
    clean = study.run()

    def effect(kind):
        return study.run(study.ablation(kind)(CONSTANT)).logit_diff - clean.logit_diff

    assert np.abs(effect("zero")).min() > 0.1
    assert np.abs(effect("mean")).max() < 1e-6
    assert np.abs(effect("optimal")).max() < 1e-6
    fitted = study.optimal.fit(HeadSet((CONSTANT,)))
    assert fitted.loss.max() < 1e-12 and fitted.zero_loss.min() > 0.01
    assert torch.allclose(fitted.constants[:, 0], torch.tensor(3.0).double())


@pytest.mark.parametrize("sides", [SIDES, SIDES[::-1]])
def test_the_planted_head_comes_to_the_middle_of_the_two_sides(sides):
    """LD follows from what the head writes alone, so the best constant gives all prompts one LD:

    the mean of the clean ones, which LayerNorm keeps from being the LD of the mean.
    """
    study = planted_study(planted_model())
    clean = {side: study.run(on=side).logit_diff for side in SIDES}
    middle = np.mean([clean[side].mean() for side in SIDES])
    optimal, mean = (study.ablation(kind)(PLANTED) for kind in ("optimal", "mean"))
    side = sides[0]
    assert study.run(optimal, on=side).logit_diff == pytest.approx(np.full(8, middle), abs=1e-6)
    assert np.abs(study.run(mean, on=side).logit_diff - middle).min() > 0.01
    gap = clean["emotion"].mean() - clean["neutral"].mean()
    fitted = study.optimal.fit(HeadSet((PLANTED,)))
    assert fitted.loss.tolist() == pytest.approx([gap**2 / 4] * 2, rel=1e-9)
    # What LayerNorm erases does nothing under any constant.
    decoy = study.run(study.ablation("optimal")(DECOY), on=side).logit_diff
    assert decoy == pytest.approx(clean[side], abs=1e-6)


def put(study, targets, constants, side):
    """Give the change of logit_diff with the constant of each prompt's own half in place of z."""
    halves = halves_of(study.prompts(side))
    widths = study.optimal.fit(targets).widths
    cut = dict(zip(targets, constants.split(widths, dim=1), strict=True))

    def edit(z, site):
        return cut[site.target].to(z)[halves[list(site.batch.rows)], None].expand_as(z)

    run = study.run(Intervention("put", targets, edit, tokenwise=True), on=side)
    return run.logit_diff - study.run(on=side).logit_diff, halves.numpy()


def loss(study, targets, constants):
    """Give the loss of constants on the halves, by runs of the study."""
    both = [put(study, targets, constants, side) for side in SIDES]
    change, halves = (np.concatenate(part) for part in zip(*both, strict=True))
    return [float((change[halves == half] ** 2).mean()) for half in (0, 1)]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("position", ["last", "slot"])
def test_on_its_own_half_no_constant_is_better_than_the_fitted_one(kind, position):
    study = study_of(kind, position=position)
    for targets in (HeadSet((Head(0, 1),)), HeadSet((Head(0, 0), Head(1, 2)))):
        fitted = study.optimal.fit(targets)
        assert (fitted.loss <= fitted.mean_loss).all() and (fitted.loss <= fitted.zero_loss).all()
        assert fitted.loss.max() < 0.9 * fitted.mean_loss.max()
        assert loss(study, targets, fitted.constants) == pytest.approx(fitted.loss.tolist())
        zero = loss(study, targets, torch.zeros_like(fitted.constants))
        assert zero == pytest.approx(fitted.zero_loss.tolist())
        reference = study.reference_of(targets)
        mean = torch.cat([reference.mean(head, position) for head in targets])
        found = loss(study, targets, mean.expand(2, -1))
        assert found == pytest.approx(fitted.mean_loss.tolist())


def test_a_prompt_is_ablated_with_the_constant_of_the_other_half():
    study = study_of("gpt2")
    targets = HeadSet((Head(0, 1),))
    fitted = study.optimal.fit(targets)
    assert not torch.allclose(*fitted.constants)
    run = study.run(study.ablation("optimal")(targets)).logit_diff - study.run().logit_diff
    swapped, halves = put(study, targets, fitted.constants.flip(0), "emotion")
    assert run == pytest.approx(swapped, abs=1e-9)
    # Templates t0, t1, t2 of two pairs each.
    assert halves.tolist() == [0, 0, 1, 1, 0, 0]


def test_prompts_of_one_half_do_not_move_its_constant_that_others_are_ablated_with():
    """Held out: with other prompts in the second half, the constant of the first is the same."""
    emotion = tiny_emotion()
    changed = [
        dataclasses.replace(pair, emotion="w9", neutral="w8") if pair.template == "t1" else pair
        for pair in emotion.pairs
    ]
    model, targets = tiny_model("gpt2", torch.float64), HeadSet((Head(0, 1),))
    one, other = (
        Study(model, dataclasses.replace(emotion, pairs=tuple(pairs)), profile())
        for pairs in (emotion.pairs, changed)
    )
    first, second = (made.optimal.fit(targets) for made in (one, other))
    # The mean that both begin from is of all prompts, and little of it is left.
    assert first.loss[0] == pytest.approx(float(second.loss[0]), rel=0.5)
    assert first.zero_loss[0] == pytest.approx(float(second.zero_loss[0]), rel=1e-12)
    assert first.zero_loss[1] != pytest.approx(float(second.zero_loss[1]), rel=1e-3)


def free_study(counts=(6, 4)):
    lists = tuple(
        tuple(text(first + i, first + i + 1, first + 2 * i) for i in range(count))
        for first, count in zip((1, 20), counts, strict=True)
    )
    emotion = dataclasses.replace(tiny_emotion(), pairs=None, free=lists)
    return Study(tiny_model("gpt2", torch.float64), emotion, profile())


def test_free_lists_have_every_other_prompt_in_a_half():
    study = free_study()
    targets = HeadSet((Head(1, 2),))
    fitted = study.optimal.fit(targets)
    assert (fitted.loss <= fitted.mean_loss).all() and fitted.loss.max() < fitted.zero_loss.max()
    run = study.run(study.ablation("optimal")(targets)).logit_diff
    expected, halves = put(study, targets, fitted.constants.flip(0), "emotion")
    assert run - study.run().logit_diff == pytest.approx(expected, abs=1e-9)
    assert halves.tolist() == [0, 1] * 3


def test_units_have_constants_too():
    study = study_of("gpt2")
    targets = target_set([Unit(0, 3), Unit(0, 7), Unit(1, 2)])
    fitted = study.optimal.fit(targets)
    assert fitted.widths == [2, 1] and (fitted.loss <= fitted.zero_loss).all()
    effect = study.run(study.ablation("optimal")(targets)).logit_diff - study.run().logit_diff
    assert np.isfinite(effect).all() and effect.any()


def test_sets_that_are_to_come_are_fitted_side_by_side(monkeypatch):
    study, calls = study_of("gpt2"), []
    sets = [HeadSet((Head(layer, index),)) for layer in (0, 1) for index in range(4)]
    study.runner.companions = lambda targets: sets
    slopes = study.runner.constant_slopes
    monkeypatch.setattr(
        study.runner,
        "constant_slopes",
        lambda *given: calls.append(len(given[3])) or slopes(*given),
    )
    ablate = study.ablation("optimal")
    found = [study.run(ablate(one)).logit_diff for one in sets]
    assert len(calls) <= 2 * (1 + STEPS) and calls[0] == STARTS * len(sets)
    alone = study_of("gpt2")
    for one, effect in zip(sets[::3], found[::3], strict=True):
        assert alone.run(alone.ablation("optimal")(one)).logit_diff == pytest.approx(
            effect, abs=1e-6
        )


def test_the_whole_model_under_hooks_gives_the_same():
    study, other = study_of("gpt2"), study_of("gpt2")
    other.runner._paths[False] = Whole(
        other.model, other.prompts, batch_size=None, max_new_tokens=4, share=False
    )
    targets = HeadSet((Head(0, 1), Head(1, 0)))
    runs = [made.run(made.ablation("optimal")(targets)).logit_diff for made in (study, other)]
    assert runs[0] == pytest.approx(runs[1], abs=1e-6)


def test_constants_belong_to_what_is_on_the_model_when_they_are_fitted():
    model = planted_model()
    model.as_loaded = Snapshot(model.hf)
    study = planted_study(model)
    before = study.run(study.ablation("optimal")(PLANTED)).logit_diff
    with study.traced("z:0", edit_output=lambda z: 0.5 * z):
        inside = study.run(study.ablation("optimal")(PLANTED)).logit_diff
        clean = np.mean([study.run(on=side).logit_diff.mean() for side in SIDES])
    assert np.abs(inside - before).min() > 0.01
    assert inside == pytest.approx(np.full(8, clean), abs=0.2)
    again = study.run(study.ablation("optimal")(PLANTED)).logit_diff
    assert again.tolist() == before.tolist()


def test_texts_are_made_with_the_constant():
    study = study_of("gpt2", position="all")
    run = study.run(study.ablation("optimal")([Head(0, i) for i in range(4)]))
    assert len(run.texts) == 6 and np.isfinite(run.fluency).all()


def test_what_has_no_constant_is_refused():
    study = study_of("gpt2")
    with pytest.raises(InputError, match=r"^optimal ablation: expected heads or units"):
        study.ablation("optimal")(StreamSet((Stream(0),)))
    with pytest.raises(
        InputError, match=r"^optimal ablation: expected two prompts or more on each"
    ):
        free_study((3, 1)).ablation("optimal")(Head(0, 1))


@given(
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(0, 2**31 - 1),
)
def test_where_the_metric_is_linear_a_fit_ends_at_least_squares(prompts, dims, seed):
    """Of more dimensions than prompts too, where nothing is left; and no step raises the loss."""
    rng = torch.Generator().manual_seed(seed)
    slope = torch.randn(prompts, dims, generator=rng).double()
    at_zero = torch.randn(prompts, generator=rng).double()

    def point(constant):
        return _Point(constant, at_zero + slope @ constant, slope)

    starts = [point(torch.randn(dims, generator=rng).double()), point(torch.zeros(dims).double())]
    fit = _Fit(starts)
    assert fit.best.loss == min(start.loss for start in starts)
    for _ in range(40):
        before = fit.best.loss
        fit.judge(point(fit.proposed()))
        assert fit.best.loss <= before
    left = at_zero - slope @ torch.linalg.pinv(slope) @ at_zero
    assert fit.best.loss == pytest.approx(float(left.square().mean()), rel=1e-4, abs=1e-6)


def test_a_fit_that_nothing_moves_stands_still():
    still = _Point(torch.ones(2).double(), torch.ones(3).double(), torch.zeros(3, 2).double())
    fit = _Fit([still, still])
    assert not fit.goes_on and fit.proposed() is still.constant
    fit.judge(still)
    assert fit.best is still


def test_a_plan_counts_fits_where_they_are_asked_for():
    study = study_of("gpt2")
    sides = {side: study.prompts(side) for side in SIDES}
    planned = Planned(sides, study.profile, N_LAYERS, 4, 40, firsts=(0, 1))
    assert list(costs(planned)) == []
    made = list(costs(dataclasses.replace(planned, ablation="optimal")))
    assert [runs.prompts for runs in made] == list(sides.values())
    assert all(runs.backward and runs.firsts == (0, 1) * (STARTS + STEPS) for runs in made)
