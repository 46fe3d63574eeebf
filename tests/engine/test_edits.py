"""The edits of a run: which parts of which layer, where, at which step, and of what shape."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import POSITIONS
from tiny import HEADS, N_HEADS, N_LAYERS, TEXTS, study_of, tiny_model

from emolib.engine import hooked
from emolib.engine.edits import (
    LayerEdits,
    RunEdits,
    apart,
    branches,
    edits_of,
    is_normed,
    is_tokenwise,
    path_of,
    weight_of,
)
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.units import LayerUnits, Unit
from emolib.interventions import Intervention, alone, edit, patch, resample, scale, steer, zero
from emolib.models.encoding import Prompts
from emolib.tracing import TraceDict, hook_count

SLOTS = ((1, 3), (0, 1), (2, 3))
D_HEAD = 8


def prompts_of(model):
    free = model.encode(TEXTS)
    return Prompts(free.texts, free.ids, SLOTS)


def one_batch(model):
    (batch,) = prompts_of(model).batches(99, model.pad, model.device)
    return batch


def made(*interventions, position="last", draw=0):
    """Give the edits of a run on three prompts of up to nine tokens, and z to be edited."""
    model = tiny_model("gpt2")
    batch = one_batch(model)
    stage = RunEdits(model, interventions, batch, position, draw)
    return stage, torch.randn(3, 9, N_HEADS * D_HEAD), model.attn_out(0)


def test_edits_of_one_head_apply_in_the_order_given():
    model = tiny_model("gpt2")
    prompts, head = prompts_of(model), Head(1, 2)
    one, double = edit(head, torch.ones_like), scale(head, 2)
    both = hooked.last_logits(model, prompts, [one, double])
    twos = hooked.last_logits(model, prompts, [edit(head, lambda z: 0 * z + 2)])
    torch.testing.assert_close(both, twos)
    other = hooked.last_logits(model, prompts, [double, one])
    assert torch.equal(other, hooked.last_logits(model, prompts, [one]))
    assert not torch.allclose(other, both)


@pytest.mark.parametrize("returned", [lambda z: z[:, :1], lambda z: z[..., :2], lambda z: None])
def test_an_edit_of_another_shape_is_refused(returned):
    model = tiny_model("gpt2")
    expected = r"^edit\(L0H1\): the edit of L0H1 must return z of the shape it got, \[3, 9, 8\] "
    with pytest.raises(RuntimeError, match=expected):
        hooked.last_logits(model, prompts_of(model), [edit(Head(0, 1), returned)])
    assert hook_count(model.hf) == 0


@pytest.mark.parametrize("head", [Head(2, 0), Head(0, 4)], ids=str)
def test_a_head_the_model_lacks_is_refused(head):
    model = tiny_model("gpt2")
    message = (
        f"zero(L0H0+{head}): {head} does not exist, tiny-gpt2 has 2 layers of 4 heads, counted "
        "from 0"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        hooked.last_logits(model, prompts_of(model), [zero([Head(0, 0), head])])


def test_an_edit_gets_a_copy_so_a_change_in_place_stays_in_its_positions():
    model = tiny_model("gpt2")
    prompts, head = prompts_of(model), Head(0, 1)
    in_place = hooked.last_logits(model, prompts, [edit(head, lambda z: z.zero_())])
    assert torch.equal(in_place, hooked.last_logits(model, prompts, [zero(head)]))


def test_an_edit_of_one_s_own_sees_the_whole_prompt():
    study, seen = study_of("gpt2"), []
    study.run(edit(HEADS[0], lambda z: seen.append(z.shape[1]) or z)).logits.sum()
    assert seen == [study.prompts().width]


@pytest.mark.parametrize("position", ["last", "slot", "after_slot", "all"])
def test_z_is_edited_at_its_positions_in_its_columns_and_the_given_one_stays(position):
    stage, z, path = made(zero(HEADS[1]), position=position)
    before = z.clone()
    edited, seen = stage.edited(z, path)
    assert torch.equal(z, before) and seen == [HEADS[1]]
    changed = torch.zeros_like(z, dtype=torch.bool)
    changed[:, :, D_HEAD : 2 * D_HEAD] = one_batch(tiny_model("gpt2")).at(position)[..., None]
    assert torch.equal(edited != z, changed)
    assert stage.edit(z, path) == seen and torch.equal(z, edited)
    assert stage.ran == {path}


def test_the_last_columns_alone_are_edited_where_only_they_are_computed():
    stage, z, path = made(scale(HEADS[0], 3), position="after_slot")
    tail = z[:, -2:].clone()
    whole, _ = stage.edited(z, path)
    stage.edit(tail, path)
    assert torch.equal(tail, whole[:, -2:]) and not torch.equal(tail, z[:, -2:])


def test_a_generated_token_is_edited_under_all_and_by_edits_for_every_step():
    always = Intervention("always", zero(HEADS[2]).targets, zero(HEADS[2]).edit, every_step=True)
    for position, expected in (("last", [HEADS[2]]), ("slot", [HEADS[2]]), ("all", HEADS[1:3])):
        stage, z, path = made(zero(HEADS[1]), always, position=position)
        assert stage.edited(z, path)[1] == HEADS[1:3]
        stage.generated = True
        token = torch.randn(3, 1, N_HEADS * D_HEAD)
        edited, seen = stage.edited(token, path)
        assert seen == expected
        for head in HEADS[:N_HEADS]:
            columns = edited[..., head.index * D_HEAD : (head.index + 1) * D_HEAD]
            assert bool((columns == 0).all()) == (head in expected)


def test_an_edit_that_sees_whole_prompts_is_told_where_it_stands():
    stage, _, path = made(zero(HEADS[0]), edit(Head(1, 0), lambda z: z))
    model = tiny_model("gpt2")
    assert not stage.whole(path) and stage.whole(model.attn_out(1))
    assert not stage.whole(model.mlp_out(0))


@pytest.mark.parametrize("returned", [lambda a: a[:, :1], lambda a: a.mean(), lambda a: "no"])
@pytest.mark.parametrize(
    ("targets", "shape"),
    [(HEADS[1], "[2, 9, 8] [batch, seq, d_head]"), (Unit(0, 3), "[2, 9, 1] [batch, seq, units]")],
    ids=str,
)
def test_a_row_of_a_chunk_says_which_edit_returned_another_shape(returned, targets, shape):
    """The rows of prompts side by side: z is ``[B, k, S, …]``."""
    model = tiny_model("gpt2")
    batch = prompts_of(model)
    (batch, _) = batch.batches(2, model.pad, model.device)
    chunk = branches(model, [[scale(targets, 2)], [edit(targets, returned)]], all_draws=True)
    of_layer = LayerEdits(model, 0, edits_of(model, chunk, batch, "last"))
    message = re.escape(f"must return z of the shape it got, {shape}, got")
    with pytest.raises(RuntimeError, match=rf"^edit\({targets}\): the edit of {targets} {message}"):
        if isinstance(targets, Unit):
            of_layer.edits.units(torch.randn(2, 2, 9, model.n_units))
        else:
            of_layer.edits.z(torch.randn(2, 2, 9, N_HEADS * D_HEAD))


def test_the_rows_of_a_layer_are_edited_each_by_its_own_run():
    model = tiny_model("gpt2")
    batch, units = one_batch(model), [Unit(0, 2), Unit(0, 5), Unit(1, 1)]
    runs = [[zero(HEADS[0])], [zero(HEADS[5])], [scale(units, 2), zero(HEADS[1])], []]
    stages = [RunEdits(model, run, batch, "all", 0) for run in runs]
    first, second = (LayerEdits(model, layer, stages) for layer in range(N_LAYERS))
    mask = batch.at("all")
    z, a = torch.randn(3, 4, 9, N_HEADS * D_HEAD), torch.randn(3, 4, 9, model.n_units)
    heads, acts = z.clone(), a.clone()
    first.edits.z(heads), first.edits.units(acts)
    for row, columns in ((0, slice(0, D_HEAD)), (2, slice(D_HEAD, 2 * D_HEAD))):
        z[:, row, :, columns] = torch.where(mask[..., None], 0, z[:, row, :, columns])
    a[:, 2, :, [2, 5]] = torch.where(mask[..., None], 2, 1) * a[:, 2, :, [2, 5]]
    assert torch.equal(heads, z) and torch.equal(acts, a)
    acts = a.clone()
    second.edits.units(acts)
    assert (acts != a).any((0, 1, 2)).nonzero().flatten().tolist() == [1]
    assert not first.whole and not second.whole
    assert LayerEdits(model, 1, stages[:2]).edits.units is None
    seen = RunEdits(model, [edit(HEADS[5], lambda z: z)], batch, "all", 0)
    assert LayerEdits(model, 1, [seen]).whole and not LayerEdits(model, 0, [seen]).whole


@given(st.lists(st.sampled_from(HEADS)), st.lists(st.sets(st.integers(0, 9), min_size=1)))
def test_parts_come_apart_without_overlap(heads, units):
    edited = [*heads, *(LayerUnits(0, tuple(sorted(some))) for some in units)]
    for order in (edited, edited[::-1]):
        found = apart(order)
        joined = tuple(sorted(set().union(*units)))
        assert found == [*sorted(set(heads)), *([LayerUnits(0, joined)] if units else [])]


def test_branches_are_by_the_first_layer_edited_and_one_for_each_draw():
    study = study_of("gpt2")
    model, z = study.model, study.activations("neutral")
    drawn = resample(HEADS[6], z, draws=3)
    runs = [[drawn, zero(HEADS[7])], [], [zero(HEADS[7]), zero(HEADS[0])], [zero(Unit(1, 0))]]
    found = [(b.run, b.draw, b.first) for b in branches(model, runs, all_draws=True)]
    assert found == [(2, 0, 0), (0, 0, 1), (0, 1, 1), (0, 2, 1), (3, 0, 1), (1, 0, N_LAYERS)]
    assert [(b.run, b.draw) for b in branches(model, runs, all_draws=False)] == [
        (2, 0), (0, 0), (3, 0), (1, 0),
    ]  # fmt: skip
    of_draw = edits_of(model, branches(model, runs, all_draws=True), one_batch(model), "last")
    assert [stage.draw for stage in of_draw] == [0, 0, 1, 2, 0, 0]


def test_one_edit_of_whole_prompts_makes_all_runs_wait_for_them():
    study = study_of("gpt2")
    model, z = study.model, study.activations("neutral")
    runs = [[zero(HEADS[0])], [patch(HEADS[1], z), resample(HEADS[2], z)], []]
    assert is_tokenwise(branches(model, runs, all_draws=True))
    whole = [*runs, [zero(HEADS[0]), edit(HEADS[1], lambda z: z)]]
    assert not is_tokenwise(branches(model, whole, all_draws=True))
    assert is_tokenwise([])


@pytest.mark.parametrize(("kind", "normed"), [("gpt2", False), ("llama", False), ("gemma2", True)])
def test_a_part_writes_by_its_rows_of_a_projection(kind, normed):
    model, units = tiny_model(kind), LayerUnits(1, (2, 30))
    for part, path in ((HEADS[6], model.attn_out(1)), (units, model.mlp_out(1))):
        assert path_of(model, part) == path
        assert is_normed(model, part) == normed
    projection = model.module(model.mlp_out(1))
    a = torch.zeros(1, model.n_units)
    a[:, [2, 30]] = torch.tensor([[2.0, -3.0]])
    expected = projection(a) - projection(0 * a)
    torch.testing.assert_close(a[:, [2, 30]] @ weight_of(model, units), expected)
    assert torch.equal(weight_of(model, HEADS[6]), model.w_o(HEADS[6]))


def test_a_unit_the_model_lacks_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"^zero\(L1U40\): L1U40 does not exist, tiny-gpt2 has 2 "):
        made(zero(Unit(1, 40)))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "olmo2"])
def test_every_other_head_is_held_at_its_clean_z(kind, position):
    """All heads of the run are as in the clean one, but for the one that is edited."""
    study = study_of(kind, position=position)
    model, head, clean = study.model, HEADS[1], study.activations("emotion")
    (batch,) = study.prompts().batches(99, model.pad, model.device)
    paths = {layer: model.attn_out(layer) for layer in range(N_LAYERS)}
    edits = [alone(scale(head, 3), clean)]
    # What goes on after the edits is what the projection puts out.
    with TraceDict(model.hf, list(paths.values())) as before:
        hooked.forward(model, batch)
    with (
        hooked.intervened(model, edits, batch, position),
        TraceDict(model.hf, list(paths.values())) as after,
    ):
        hooked.forward(model, batch)
    mask = batch.at(position)
    step = 2 * clean.of(head) @ model.w_o(head)
    step = torch.where(mask[..., None], step, torch.zeros_like(step))
    real = batch.attention_mask.bool()
    for layer, path in paths.items():
        change = after[path].output - before[path].output
        expected = step if layer == head.layer else torch.zeros_like(step)
        torch.testing.assert_close(change[real], expected[real], atol=1e-5, rtol=1e-4)
    assert position == "slot" or bool(step[:, -1].any())


def test_heads_are_held_at_z_of_the_prompts_that_run():
    study = study_of("gpt2")
    other = alone(zero(HEADS[0]), study.activations("neutral"))
    with pytest.raises(InputError, match=r"^alone\[zero\]\(L0H0\): .* is of other prompts; give"):
        study.run(other).logit_diff.sum()


def test_a_layer_that_the_model_lacks_is_refused():
    study = study_of("gpt2")
    with pytest.raises(InputError, match=r"^steer\[1\]\(resid:2\): layer 2 does not exist, tiny-"):
        study.run(steer(2, torch.ones(32))).logit_diff.sum()
