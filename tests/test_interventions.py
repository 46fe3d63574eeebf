from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import profile, text, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.targets import Stream
from emolib.interventions import (
    Site,
    edit,
    mean,
    patch,
    resample,
    scale,
    shift,
    steer,
    zero,
)
from emolib.methods.study import Study
from emolib.models.encoding import Prompts
from emolib.tracing import OwnTrace

HEAD, OTHER = Head(1, 1), Head(0, 3)
MODEL = tiny_model("llama")


def free(*lengths, first=5):
    texts = [text(*range(first + i, first + i + n)) for i, n in enumerate(lengths)]
    return MODEL.encode(texts)


def with_slots(prompts, *slots):
    return Prompts(prompts.texts, prompts.ids, slots)


def edited(intervention, prompts, position="last", draw=0, generated=False, size=99):
    """Give what an edit makes of a z of ones, by batches."""
    parts = []
    for batch in prompts.batches(size, 0, "cpu"):
        site = Site(HEAD, batch, position, draw, generated)
        z = torch.ones(len(batch.rows), 1 if generated else prompts.width, 12)
        parts.append(intervention.edit(z, site))
        assert torch.equal(z, torch.ones_like(z)), "an edit is pure"
    return torch.cat(parts)


def test_an_intervention_is_named_after_its_kind_and_heads():
    assert str(zero([OTHER, HEAD])) == "zero(L0H3+L1H1)"
    assert str(scale(HEAD, 0.5)) == "scale[0.5](L1H1)"
    assert str(edit(HeadSet((HEAD,)), torch.relu, kind="relu")) == "relu(L1H1)"


def test_zero_scale_and_edit_are_the_functions_they_name():
    prompts = free(3, 2)
    assert not edited(zero(HEAD), prompts).any()
    assert torch.equal(edited(scale(HEAD, 3), prompts), torch.full((2, 3, 12), 3.0))
    assert torch.equal(edited(scale(HEAD, 0), prompts), edited(zero(HEAD), prompts))
    assert torch.equal(edited(edit(HEAD, lambda z: -z), prompts), -torch.ones(2, 3, 12))


def test_mean_is_over_prompts_position_by_position_where_all_are_of_one_length():
    reference = hooked.activations(MODEL, free(4, 4, 4))
    z = reference.of(HEAD)
    by_position = edited(mean(HEAD, reference), free(4, 4, first=20), "all")
    torch.testing.assert_close(by_position, z.mean(0).expand(2, 4, 12))
    last = edited(mean(HEAD, reference), free(4, 4, first=20))
    torch.testing.assert_close(last, z[:, -1].mean(0).expand(2, 4, 12))


def test_mean_is_over_all_positions_where_they_do_not_align():
    reference = hooked.activations(MODEL, free(4, 4, 4))
    average = reference.of(HEAD).mean((0, 1))
    for prompts in (free(5, 5), free(4, 3)):
        made = edited(mean(HEAD, reference), prompts, "all")
        torch.testing.assert_close(made, average.expand_as(made))
    generated = edited(mean(HEAD, reference), free(4, 4), "all", generated=True)
    torch.testing.assert_close(generated, average.expand(2, 1, 12))


def test_mean_counts_no_padding():
    reference = hooked.activations(MODEL, free(4, 2))
    z = reference.of(HEAD)
    expected = torch.cat([z[0], z[1, 2:]]).mean(0)
    torch.testing.assert_close(reference.mean(HEAD, "all"), expected)


def test_mean_at_the_slot_is_over_the_slot_s_tokens():
    prompts = with_slots(free(4, 3), (0, 2), (1, 2))
    reference = hooked.activations(MODEL, prompts)
    z = reference.of(HEAD)
    # The second row has one column of padding on its left.
    expected = torch.stack([z[0, 0], z[0, 1], z[1, 2]]).mean(0)
    torch.testing.assert_close(reference.mean(HEAD, "slot"), expected)


def test_resample_takes_the_last_token_s_z_of_any_reference_prompt():
    reference = hooked.activations(MODEL, free(4, 2, 7))
    donors = reference.of(HEAD)[:, -1]
    seen = set()
    for draw in range(30):
        made = edited(resample(HEAD, reference), free(3, 5), draw=draw)
        for row in made[:, -1]:
            (match,) = [i for i, donor in enumerate(donors) if torch.equal(donor, row)]
            seen.add(match)
    assert seen == {0, 1, 2}


def test_resample_elsewhere_takes_only_prompts_of_the_same_length_and_slot():
    reference = hooked.activations(
        MODEL, with_slots(free(4, 4, 4, 6), (1, 2), (1, 2), (2, 3), (1, 2))
    )
    prompts = with_slots(free(4, 6, first=20), (1, 2), (1, 2))
    seen = set()
    for draw in range(20):
        made = edited(resample(HEAD, reference), prompts, "slot", draw=draw)
        donors = reference.of(HEAD)[:, -4:]
        (match,) = [i for i, donor in enumerate(donors) if torch.equal(donor, made[0, -4:])]
        seen.add(match)
        assert torch.equal(made[1], reference.of(HEAD)[3])
    assert seen == {0, 1}


def test_resample_without_a_donor_is_an_error():
    reference = hooked.activations(MODEL, free(4, 4))
    message = (
        "resample at 'all': there is no other reference prompt of its length and slot for prompt "
        "1; give more prompts, or use --position last"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        edited(resample(HEAD, reference), free(4, 5, first=20), "all")


@pytest.mark.parametrize("position", ["last", "all"])
def test_resample_never_draws_the_prompt_itself(position):
    prompts = free(4, 4, 4)
    reference = hooked.activations(MODEL, prompts)
    own = reference.of(HEAD)[:, -1]
    for draw in range(20):
        made = edited(resample(HEAD, reference), prompts, position, draw=draw)
        assert not any(torch.equal(row, mine) for row, mine in zip(made[:, -1], own, strict=True))
    alone = hooked.activations(MODEL, free(4))
    with pytest.raises(InputError, match="there is no other reference prompt"):
        edited(resample(HEAD, alone), free(4), position)


def test_resample_draws_the_same_whatever_the_batch_size_and_anew_with_another_seed():
    reference, prompts = hooked.activations(MODEL, free(*[4] * 9)), free(*[3] * 6, first=20)
    first = edited(resample(HEAD, reference, seed=3), prompts)
    for size in (1, 2, 4):
        assert torch.equal(edited(resample(HEAD, reference, seed=3), prompts, size=size), first)
    assert not torch.equal(edited(resample(HEAD, reference, seed=4), prompts), first)
    assert not torch.equal(edited(resample(HEAD, reference, seed=3), prompts, draw=1), first)


def test_a_date_will_do_as_a_seed():
    reference = hooked.activations(MODEL, free(4, 4))
    made = edited(resample(HEAD, reference, seed=20_260_131), free(3))
    assert made.shape == (1, 3, 12)


def test_resample_takes_all_heads_of_a_set_from_one_prompt():
    reference = hooked.activations(MODEL, free(*[4] * 9))
    joint, prompts = resample([HEAD, OTHER], reference), free(4, 4, first=20)
    (batch,) = prompts.batches(9, 0, "cpu")
    donors = []
    for head in (HEAD, OTHER):
        made = joint.edit(torch.ones(2, 4, 12), Site(head, batch, "last", 0, False))
        columns = reference.of(head)[:, -1]
        donors.append(
            [next(i for i, c in enumerate(columns) if torch.equal(c, m[-1])) for m in made]
        )
    assert donors[0] == donors[1]


def test_last_logits_hold_every_draw_and_one_without_draws():
    reference = hooked.activations(MODEL, free(4, 5, 6, first=20))
    prompts, drawn = free(4, 3), resample(HEAD, reference, draws=12)
    logits = hooked.last_logits(MODEL, prompts, [drawn])
    assert logits.shape[:2] == (12, 2)
    assert len({tuple(row.tolist()) for row in logits[:, 0]}) == 3
    assert torch.equal(logits, hooked.last_logits(MODEL, prompts, [drawn]))
    joint = hooked.last_logits(MODEL, prompts, [zero(OTHER), drawn])
    assert joint.shape[0] == 12
    assert hooked.last_logits(MODEL, prompts, [zero(OTHER)]).shape[0] == 1


def test_patch_gives_each_prompt_the_z_of_its_pair():
    source = hooked.activations(MODEL, free(4, 3, first=20))
    for size in (1, 2):
        made = edited(patch(HEAD, source), free(4, 3), "all", size=size)
        assert torch.equal(made, source.of(HEAD))


def test_patch_across_lengths_is_refused():
    source = hooked.activations(MODEL, free(4, 3))
    for prompts in (free(4, 4), free(4)):
        with pytest.raises(InputError, match=r"^patch: expected \d source prompts of the same "):
            edited(patch(HEAD, source), prompts)


@pytest.mark.parametrize("kind", [patch, resample])
def test_generated_tokens_have_no_counterpart_and_are_left_alone(kind):
    source = hooked.activations(MODEL, free(4, 3))
    made = edited(kind(HEAD, source), free(4, 3), "all", generated=True)
    assert torch.equal(made, torch.ones(2, 1, 12))


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "gemma2"])
def test_patching_every_head_everywhere_gives_the_pair_s_attention_output(model_type):
    study = Study(tiny_model(model_type, torch.float64), tiny_emotion(), profile(position="all"))
    model, heads = study.model, [Head(0, i) for i in range(4)]
    source = study.activations("emotion")
    batch = source.batch
    (neutral,) = study.prompts("neutral").batches(99, model.pad, model.device)
    with (
        torch.no_grad(),
        hooked.intervened(model, [patch(heads, source)], neutral, "all"),
        OwnTrace(model.hf, model.attn_out(0)) as patched,
    ):
        hooked.forward(model, neutral)
    with torch.no_grad(), OwnTrace(model.hf, model.attn_out(0)) as emotion:
        hooked.forward(model, batch)
    real = batch.at("all")
    # Some architectures compute the softmax in float32 whatever their type.
    near = {"atol": 1e-6, "rtol": 1e-4}
    torch.testing.assert_close(patched.output[real], emotion.output[real], **near)


def test_steer_and_shift_add_their_vectors_whatever_the_token():
    prompts, vector = free(3, 2), torch.arange(12.0)
    one = shift(HEAD, {HEAD: vector}, 0.5)
    assert torch.equal(edited(one, prompts), 1 + 0.5 * vector.expand(2, 3, 12))
    assert torch.equal(edited(one, prompts, generated=True), 1 + 0.5 * vector.expand(2, 1, 12))
    none = shift(HEAD, {HEAD: vector}, 0)
    assert torch.equal(edited(none, prompts), torch.ones(2, 3, 12))
    assert str(one) == "shift[0.5](L1H1)" and one.every_step and one.tokenwise and one.draws == 1
    assert str(steer(2, vector, -1)) == "steer[-1](resid:2)"
    assert str(steer([Stream(2), Stream(0)], vector)) == "steer[1](resid:0+resid:2)"


def test_draws_of_a_vector_come_one_by_one_and_around_again():
    vectors = torch.stack([torch.zeros(12), torch.ones(12)])
    made = shift([HEAD, OTHER], {HEAD: vectors, OTHER: 2 * vectors}, 3)
    assert made.draws == 2
    values = [edited(made, free(2), draw=draw).unique().tolist() for draw in range(4)]
    assert values == [[1], [4], [1], [4]]


@given(alpha=st.floats(-4, 4), other=st.floats(-4, 4))
def test_doses_of_one_vector_add_up(alpha, other):
    vector, prompts = torch.linspace(-1, 1, 12), free(2)
    apart = edited(shift(HEAD, {HEAD: vector}, alpha), prompts) - 1
    apart = apart + edited(shift(HEAD, {HEAD: vector}, other), prompts) - 1
    both = edited(shift(HEAD, {HEAD: vector}, alpha + other), prompts) - 1
    torch.testing.assert_close(apart, both, rtol=0, atol=1e-5)


def test_of_other_heads_a_shift_is_not_made():
    """Vectors are of their heads: an item's companions have others."""
    one = shift(HEAD, {HEAD: torch.ones(12)}, 2)
    assert one.recipe is not None and not one.recipe.general
    again = shift(HEAD, {HEAD: torch.ones(12)}, 2)
    assert again.recipe != one.recipe, "another vector, for all that is known"


VECTOR = torch.ones(12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: steer(HEAD, VECTOR),
            "steer: expected layers, got L1H1; shift(heads, …) moves z of heads",
        ),
        (lambda: steer(-1, VECTOR), "resid:-1: layers are counted from 0"),
        (
            lambda: steer(1, [1.0, 2.0]),
            "steer: expected a tensor of finite numbers, [d] or [draws, d], got list",
        ),
        (
            lambda: steer(1, torch.ones(2, 3, 4)),
            "steer: expected a tensor of finite numbers, [d] or [draws, d], got shape [2, 3, 4]",
        ),
        (
            lambda: steer(1, torch.ones(0)),
            "steer: expected a tensor of finite numbers, [d] or [draws, d], got shape [0]",
        ),
        (
            lambda: steer(1, torch.tensor([1.0, float("nan")])),
            "steer: expected a tensor of finite numbers, [d] or [draws, d], got shape [2], some of "
            "it not finite",
        ),
        (
            lambda: shift(Stream(1), {}),
            "shift: expected heads, got resid:1; steer(layer, …) moves the stream",
        ),
        (
            lambda: shift([HEAD, OTHER], {HEAD: VECTOR}),
            "shift: head L0H3 has no vector; give one for each head",
        ),
        (
            lambda: shift(HEAD, {HEAD: 3.0}),
            "shift: L1H1: expected a tensor of finite numbers, [d] or [draws, d], got float",
        ),
        (
            lambda: shift([HEAD, OTHER], {HEAD: VECTOR, OTHER: torch.ones(2, 12)}),
            "shift: expected as many draws of each vector, got [1, 2]",
        ),
    ],
)
def test_what_is_no_vector_is_one_line(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message
