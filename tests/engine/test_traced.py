"""Traces at places that have the same name in every architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import CONFIGS, D_MODEL, HEADS, N_HEADS, study_of

from emolib.engine.traced import KINDS, traced
from emolib.errors import InputError
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import zero
from emolib.tracing import hook_count

every_row = pytest.mark.parametrize("kind", CONFIGS)


@every_row
def test_places_have_their_shapes_and_what_ran_in_them(kind):
    study = study_of(kind)
    model, prompts = study.model, study.prompts()
    rows = len(prompts), prompts.width
    shapes = {
        "resid": (*rows, D_MODEL),
        "attn": (*rows, D_MODEL),
        "z": (*rows, N_HEADS, model.w_o(HEADS[0]).shape[0]),
        "mlp": (*rows, D_MODEL),
        "units": (*rows, model.n_units),
    }
    clean = study.run().logit_diff
    for place in KINDS:
        with traced(model, f"{place}:1") as trace:
            readout = study.run().logit_diff
        assert tuple(trace.output.shape) == shapes[place], place
        assert readout == pytest.approx(clean, abs=1e-5)
    assert hook_count(model.hf) == 0


@every_row
def test_a_zero_in_a_place_is_the_ablation_of_it(kind):
    study = study_of(kind, position="all")
    model = study.model
    every_unit = UnitSet(tuple(Unit(0, index) for index in range(model.n_units)))
    first = [head for head in HEADS if head.layer == 0]
    for place, targets in (("z:0", first), ("units:0", every_unit)):
        with traced(model, place, edit_output=lambda values: 0 * values):
            inside = study.run()
            traced_ld, texts = inside.logit_diff, inside.texts
        ablated = study.run(zero(targets))
        assert traced_ld == pytest.approx(ablated.logit_diff, abs=1e-4)
        assert texts == ablated.texts


@every_row
def test_the_stream_is_what_attention_and_mlp_add(kind):
    study = study_of(kind)
    model = study.model
    with (
        traced(model, "resid:0") as before,
        traced(model, "attn:1") as attention,
        traced(model, "mlp:1") as mlp,
        traced(model, "resid:1") as after,
    ):
        study.run()
    mask = study.activations("emotion").batch.at("all")
    summed = before.output + attention.output + mlp.output
    assert torch.allclose(summed[mask], after.output[mask], atol=1e-4)


@every_row
def test_steering_moves_logits_and_texts(kind):
    study = study_of(kind)
    clean = study.run()
    step = torch.linspace(-1, 1, D_MODEL)

    def steer(resid):
        return resid + 2 * step * resid.norm(dim=-1, keepdim=True)

    with traced(study.model, "resid:0", edit_output=steer) as trace:
        steered = study.run()
        moved, texts = steered.logit_diff - clean.logit_diff, steered.texts
    assert np.abs(moved).max() > 1e-3
    assert trace.output.shape[-1] == D_MODEL
    assert texts != clean.texts


def test_a_module_s_path_is_a_place_too():
    study = study_of("gpt2")
    with traced(study.model, "transformer.h.0.attn") as trace:
        study.run()
    assert isinstance(trace.output, tuple)


def test_interventions_join_what_is_traced():
    study = study_of("llama", position="all")
    with traced(study.model, "z:0", edit_output=lambda z: 0 * z):
        both = study.run(zero(HEADS[5])).logit_diff
    first = [head for head in HEADS if head.layer == 0]
    expected = study.run(zero([*first, HEADS[5]])).logit_diff
    assert both == pytest.approx(expected, abs=1e-5)


def test_the_trace_is_told_by_its_place():
    study = study_of("gpt2")
    with traced(study.model, "mlp:1"):
        assert {str(change) for change in study.model.changes} == {"traced mlp:1"}
        run = study.run()
    with pytest.raises(InputError, match="under traced mlp:1, "):
        assert run.texts


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("resid:7", "layer 7 does not exist, tiny-gpt2 has 2 layers, counted from 0"),
        ("stream:0", "has no such place; expected resid:LAYER, attn:LAYER, z:LAYER, "),
        ("", "has no such place"),
        ("resid:-1", "has no such place"),
    ],
)
def test_no_such_place(place, message):
    with pytest.raises(InputError, match=message):
        traced(study_of("gpt2").model, place)
    assert hook_count(study_of("gpt2").model.hf) == 0


@pytest.mark.parametrize("place", ["resid:0", "z:1", "units:0"])
@pytest.mark.parametrize("edit", [lambda v: v[:, :1], lambda v: v.sum(), lambda v: "no"])
def test_an_edit_of_another_shape_is_refused(place, edit):
    study = study_of("gpt2")
    with (
        pytest.raises(InputError, match=rf"traced\('{place}'\): edit_output must return a tensor "),
        traced(study.model, place, edit_output=edit),
    ):
        study.run()
    assert hook_count(study.model.hf) == 0


def test_an_edit_that_never_ran_is_an_error():
    study = study_of("gpt2")
    outside = study.run()
    with (
        pytest.raises(RuntimeError, match="nothing ran inside the `with`"),
        traced(study.model, "resid:0", edit_output=lambda resid: resid),
    ):
        assert outside.logit_diff is not None


def test_none_in_return_keeps_what_is_there():
    study, seen = study_of("gpt2"), []
    with traced(study.model, "resid:0", edit_output=lambda resid: seen.append(resid.shape)):
        inside = study.run().logit_diff
    assert inside == pytest.approx(study.run().logit_diff, abs=1e-6) and seen


def test_a_trace_may_end_the_forward():
    study = study_of("gpt2")
    with traced(study.model, "resid:0", stop=True) as trace:
        study.run()
    assert trace.output.shape[-1] == D_MODEL
