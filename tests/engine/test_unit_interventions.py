"""Interventions on MLP units, through the engine: on every architecture of the table."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    CONFIGS,
    N_LAYERS,
    TEXTS,
    crossed,
    edited,
    profile,
    study_of,
    text,
    tiny_emotion,
    tiny_model,
)

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.units import LayerUnits, Unit, UnitSet
from emolib.interventions import edit, mean, patch, resample, scale, zero
from emolib.methods.patching import patched
from emolib.methods.study import Study
from emolib.models.encoding import Prompts
from emolib.tracing import OwnTraceDict, hook_count

every_row = pytest.mark.parametrize("model_type", sorted(CONFIGS))
families = pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "opt", "gemma2"])
POSITIONS = ("last", "slot", "after_slot", "all")
SLOTS = ((1, 3), (0, 1), (2, 3))
UNITS = [Unit(layer, index) for layer in range(N_LAYERS) for index in range(40)]
# Norms of the RMS families compute in float32 whatever the model's type.
CLOSE = {"rtol": 0, "atol": 2e-5}


def all_units(model):
    return [Unit(layer, i) for layer in range(N_LAYERS) for i in range(model.n_units)]


def prompts_of(model):
    free = model.encode(TEXTS)
    return Prompts(free.texts, free.ids, SLOTS)


def outputs_of(model, interventions, position="all"):
    """Give what the down-projections put out, by prompt, and where the prompts are."""
    prompts = prompts_of(model)
    (batch,) = prompts.batches(8, model.pad, model.device)
    paths = [model.mlp_out(layer) for layer in range(N_LAYERS)]
    with (
        torch.no_grad(),
        hooked.intervened(model, interventions, batch, position),
        # Copies: Falcon adds its attention to the MLP's output in place.
        OwnTraceDict(model.hf, paths, retain_input=True, clone=True) as traces,
    ):
        hooked.forward(model, batch)
    found = [
        (hooked.by_prompt(traces[p].input, batch), hooked.by_prompt(traces[p].output, batch))
        for p in paths
    ]
    return batch, found


@crossed(model_type=sorted(CONFIGS), position=POSITIONS)
def test_neutral_edits_change_no_bit(model_type, position):
    model = tiny_model(model_type)
    prompts, units = prompts_of(model), all_units(model)
    source = hooked.activations(model, prompts, UnitSet(tuple(units)))
    clean = hooked.last_logits(model, prompts)
    for neutral in (edit(units, lambda a: a), scale(units, 1), patch(units, source)):
        logits = hooked.last_logits(model, prompts, [neutral], position=position)
        assert torch.equal(logits, clean), neutral


@every_row
@pytest.mark.parametrize("unit", [Unit(0, 39), Unit(1, 7)], ids=str)
def test_zeroing_a_unit_is_zeroing_its_row_of_w_out(model_type, unit):
    model = tiny_model(model_type, torch.float64)
    prompts = model.encode(TEXTS)
    clean = hooked.last_logits(model, prompts)
    zeroed = hooked.last_logits(model, prompts, [zero(unit)], position="all")
    row = model.w_out(unit.layer)[unit.index]
    with edited(model, [row]):
        row.zero_()
        expected = hooked.last_logits(model, prompts)
    torch.testing.assert_close(zeroed, expected, **CLOSE)
    assert (zeroed - clean).abs().max() > 1e-4


@every_row
def test_units_and_bias_add_up_and_with_all_zeroed_the_bias_alone_is_left(model_type):
    model = tiny_model(model_type, torch.float64)
    _, clean = outputs_of(model, [])
    batch, zeroed = outputs_of(model, [zero(all_units(model))])
    real = batch.at("all")
    for layer in range(N_LAYERS):
        bias = getattr(model.module(model.mlp_out(layer)), "bias", None)
        bias = torch.zeros(32, dtype=torch.float64) if bias is None else bias
        a, output = clean[layer]
        torch.testing.assert_close(a @ model.w_out(layer) + bias, output)
        left = zeroed[layer][1][real]
        torch.testing.assert_close(left, bias.expand_as(left))


@families
@pytest.mark.parametrize("position", POSITIONS)
def test_an_edit_reaches_its_positions_and_its_unit_s_direction_alone(model_type, position):
    model, unit = tiny_model(model_type, torch.float64), Unit(1, 3)
    batch, clean = outputs_of(model, [])
    _, moved = outputs_of(model, [edit(unit, lambda a: a + 2)], position)
    change = moved[1][1] - clean[1][1]
    expected = 2 * model.w_out(1)[3] * batch.at(position)[..., None]
    torch.testing.assert_close(change, expected)


def test_the_units_of_a_layer_come_to_an_edit_together():
    model, seen = tiny_model("opt"), []
    named = [Unit(1, 30), Unit(0, 4), Unit(1, 2)]

    def look(a):
        seen.append(a)
        return a

    hooked.last_logits(model, prompts_of(model), [edit(named, look)])
    assert [tuple(a.shape) for a in seen] == [(3, 9, 1), (3, 9, 2)]
    found = hooked.activations(model, prompts_of(model), UnitSet(tuple(named)))
    real = found.batch.at("all")
    torch.testing.assert_close(seen[1][real], found.of(LayerUnits(1, (2, 30)))[real])


@families
def test_activations_are_the_inputs_of_the_down_projections(model_type):
    model, units = tiny_model(model_type), UnitSet((Unit(0, 5), Unit(1, 0), Unit(1, 39)))
    _, clean = outputs_of(model, [])
    for size in (None, 2):
        found = hooked.activations(model, prompts_of(model), units, batch_size=size)
        real = found.batch.at("all")
        for layer, indices in ((0, (5,)), (1, (0, 39)), (1, (39,))):
            read = found.of(LayerUnits(layer, indices))
            torch.testing.assert_close(read[real], clean[layer][0][..., list(indices)][real])


def test_activations_of_what_was_not_read_are_refused():
    model = tiny_model("gpt2")
    of_units = hooked.activations(model, prompts_of(model), UnitSet((Unit(0, 5),)))
    with pytest.raises(InputError, match=r"^these activations are not of unit L1U5; read them "):
        hooked.last_logits(model, prompts_of(model), [patch([Unit(0, 5), Unit(1, 5)], of_units)])
    with pytest.raises(InputError, match=r"^these activations are of units, expected those of he"):
        hooked.last_logits(model, prompts_of(model), [mean(Head(0, 1), of_units)])
    of_heads = hooked.activations(model, prompts_of(model))
    with pytest.raises(InputError, match=r"^these activations are not of unit L0U1; "):
        hooked.last_logits(model, prompts_of(model), [mean(Unit(0, 1), of_heads)])


@given(units=st.lists(st.sampled_from(UNITS), min_size=1, unique=True), draw=st.randoms())
@settings(max_examples=15)
def test_the_order_of_units_and_a_second_time_change_nothing(units, draw):
    model = tiny_model("gpt_neox")
    prompts = prompts_of(model)
    expected = hooked.last_logits(model, prompts, [zero(units)])
    shuffled = draw.sample(units, len(units))
    for same in ([zero(shuffled)], [scale(units, 0)], [zero(units), zero(shuffled)]):
        assert torch.equal(hooked.last_logits(model, prompts, same), expected)
    apart = [zero(unit) for unit in shuffled]
    assert torch.equal(hooked.last_logits(model, prompts, apart), expected)


def test_edits_that_share_a_unit_apply_in_the_order_given():
    model, units = tiny_model("gpt2"), [Unit(1, 2), Unit(1, 5)]
    prompts = prompts_of(model)
    one, double = edit(units, torch.ones_like), scale(Unit(1, 5), 2)
    both = hooked.last_logits(model, prompts, [one, double])
    places = edit(units, lambda a: torch.tensor([1.0, 2.0]).expand_as(a))
    assert torch.equal(both, hooked.last_logits(model, prompts, [places]))
    other = hooked.last_logits(model, prompts, [double, one])
    assert torch.equal(other, hooked.last_logits(model, prompts, [one]))
    assert not torch.allclose(other, both)


@families
def test_heads_and_units_are_edited_side_by_side(model_type):
    model = tiny_model(model_type, torch.float64)
    prompts, head, unit = model.encode(TEXTS), Head(0, 1), Unit(1, 3)
    both = hooked.last_logits(model, prompts, [zero(unit), zero(head)], position="all")
    rows = model.w_o(head), model.w_out(1)[3]
    with edited(model, rows):
        for row in rows:
            row.zero_()
        expected = hooked.last_logits(model, prompts)
    torch.testing.assert_close(both, expected, **CLOSE)


@crossed(model_type=sorted(CONFIGS), size=[None, 2])
def test_draws_on_shared_prefixes_are_the_draws_one_by_one(model_type, size):
    model, units = tiny_model(model_type), UnitSet((Unit(0, 1), Unit(1, 4)))
    # Up to ties in the draw, three prompts have two donors each.
    prompts, source = prompts_of(model), hooked.activations(model, prompts_of(model), units)
    drawn = scale(units, 20), resample(units, source, draws=3, seed=1)
    logits = hooked.last_logits(model, prompts, drawn, batch_size=size)
    (batch,) = prompts.batches(8, model.pad, model.device)
    for draw in range(3):
        with torch.no_grad(), hooked.intervened(model, drawn, batch, "last", draw):
            serial = hooked.forward(model, batch).logits[:, -1]
        torch.testing.assert_close(logits[draw], serial, rtol=0, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], rtol=0, atol=1e-6)


@families
@pytest.mark.parametrize(("position", "stands_for"), [("last", "slot"), ("all", "all")])
def test_generated_tokens_are_edited_under_all_alone(model_type, position, stands_for):
    """The cache and the edit together give what running the whole text anew gives."""
    model = tiny_model(model_type)
    prompts, edits = model.encode(TEXTS), [scale(all_units(model)[5:60], -1)]
    made = hooked.generate(model, prompts, edits, max_new_tokens=3, position=position)
    for row, ids in enumerate(made.ids):
        grown = prompts.ids[row]
        slot, gaps = (len(grown) - 1, len(grown)), []
        for token in ids:
            whole = Prompts(("",), (grown,), (slot,))
            logits = hooked.last_logits(model, whole, edits, position=stands_for)
            best = logits[0, 0].topk(2)
            assert int(best.indices[0]) == token
            gaps.append(float(best.values[0] - best.values[1]))
            grown = (*grown, token)
        assert made.margins[row] == pytest.approx(min(gaps), abs=1e-4)


@pytest.mark.parametrize("unit", [Unit(2, 0), Unit(0, 40)], ids=str)
def test_a_unit_the_model_lacks_is_refused(unit):
    model = tiny_model("gpt2")
    message = (
        f"zero(L0U0+{unit}): {unit} does not exist, tiny-gpt2 has 2 layers of 40 MLP units, "
        "counted from 0"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        hooked.last_logits(model, prompts_of(model), [zero([Unit(0, 0), unit])])


@pytest.mark.parametrize("returned", [lambda a: a[:, :1], lambda a: a[..., 0], lambda a: None])
def test_an_edit_of_another_shape_is_refused(returned):
    model = tiny_model("gpt2")
    expected = (
        r"^edit\(L0U1\+L0U3\): the edit of L0U1\+L0U3 must return z of the shape it got, "
        r"\[3, 9, 2\] \[batch, seq, units\], got"
    )
    with pytest.raises(RuntimeError, match=expected):
        edits = [edit([Unit(0, 1), Unit(0, 3)], returned)]
        hooked.last_logits(model, prompts_of(model), edits)
    assert hook_count(model.hf) == 0


def test_a_site_of_units_has_no_head():
    model, named = tiny_model("gpt2"), []

    def look(z, site):
        named.append(site.target)
        return z * 0 + site.head.index

    wrong = zero(Unit(1, 3))
    with pytest.raises(
        TypeError, match=r"^site.head: the edit is of L1U3, no head; read site.targ"
    ):
        hooked.last_logits(model, prompts_of(model), [type(wrong)("look", wrong.targets, look)])
    assert named == [LayerUnits(1, (3,))]


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
def test_ablations_of_a_study_take_units(kind):
    study = study_of("gpt2", position="all")
    units = UnitSet((Unit(0, 3), Unit(1, 5)))
    ablation = study.ablation(kind)(units)
    assert (ablation.kind, ablation.targets) == (kind, units)
    effect = study.run(ablation).logit_diff - study.run().logit_diff
    assert abs(effect).max() > 1e-4
    assert study.reference_of(units) is study.reference_of(units)
    assert study.reference_of([Head(0, 0)]) is study.reference


def test_mean_is_over_the_reference_of_both_sides():
    study, unit = study_of("gpt2"), Unit(1, 5)
    part = LayerUnits(1, (5,))
    values = [study.activations(side, unit).of(part)[:, -1] for side in ("emotion", "neutral")]
    made = hooked.last_logits(study.model, study.prompts(), [study.ablation("mean")(unit)])
    placed = edit(unit, lambda a: torch.cat(values).mean().expand_as(a))
    expected = hooked.last_logits(study.model, study.prompts(), [placed])
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "gemma2"])
def test_patching_every_unit_everywhere_gives_the_pair_s_mlp_output(model_type):
    study = Study(tiny_model(model_type, torch.float64), tiny_emotion(), profile(position="all"))
    model, units = study.model, all_units(study.model)[:40]
    source = study.activations("emotion", units)
    found = {}
    for side, edits in (("neutral", [patch(units, source)]), ("emotion", [])):
        (batch,) = study.prompts(side).batches(99, model.pad, model.device)
        path = model.mlp_out(0)
        with (
            torch.no_grad(),
            hooked.intervened(model, edits, batch, "all"),
            OwnTraceDict(model.hf, [path], clone=True) as traces,
        ):
            hooked.forward(model, batch)
        found[side] = hooked.by_prompt(traces[path].output, batch)
    real = source.batch.at("all")
    torch.testing.assert_close(found["neutral"][real], found["emotion"][real])


def test_patched_takes_units_and_positions():
    study, unit = study_of("gpt2"), Unit(1, 5)
    everywhere = list(patched(study, unit))
    assert [case.position for case in everywhere[:4]] == list(POSITIONS)
    chosen = list(patched(study, unit, ["slot"]))
    assert [(case.direction, case.position) for case in chosen] == [
        ("denoise", "slot"), ("noise", "slot"),
    ]  # fmt: skip
    same = next(case for case in everywhere if case.position == "slot")
    assert chosen[0].run.logit_diff == pytest.approx(same.run.logit_diff)


def test_a_prompt_of_one_token_has_units_too():
    model = tiny_model("opt")
    prompts = model.encode([text(5), text(6)])
    moved = hooked.last_logits(model, prompts, [scale(all_units(model), 0)])
    assert not torch.allclose(moved, hooked.last_logits(model, prompts))
