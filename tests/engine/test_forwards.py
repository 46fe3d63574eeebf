"""Forwards: a token more, or several after a prefix that runs share, are runs from the start."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, HEADS, N_HEADS, TEXTS, crossed, study_of, tiny_model
from transformers import masking_utils

from emolib.engine import hooked
from emolib.engine.forwards import Prefix, forward, next_token, run_columns
from emolib.engine.hooked import may_share
from emolib.inputs.heads import Head
from emolib.interventions import edit, mean, patch, resample, scale, zero
from emolib.models.encoding import Prompts

every_row = pytest.mark.parametrize("kind", CONFIGS)

SIZES = (1, 4, None)


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def prompts_of(model):
    return model.encode(TEXTS)


def batch_of(model, texts=TEXTS):
    (batch,) = model.encode(texts).batches(99, model.pad, model.device)
    return batch


def grown(prompts, ids):
    """Give prompts that go on with some tokens."""
    rows = tuple((*row, *more) for row, more in zip(prompts.ids, ids, strict=True))
    return Prompts(prompts.texts, rows)


@crossed(model_type=CONFIGS, kind=["clean", "zero", "mean", "resample", "patch", "joint"])
def test_logits_texts_and_log_probs_are_those_from_the_start(model_type, kind):
    study = study_of(model_type)
    model, prompts = study.model, study.prompts()
    other = study.activations("neutral")
    edits = {
        "clean": [],
        "zero": [zero(HEADS[1])],
        "mean": [mean(HEADS[2], study.reference)],
        "resample": [resample(HEADS[5], study.reference)],
        "patch": [patch(HEADS, other, every_step=True)],
        "joint": [zero(HEADS[:N_HEADS]), scale(HEADS[-1], 2.5)],
    }[kind]
    assert may_share(prompts, edits, "last")
    # Of one kind at every size: that batches do not matter is the same of all.
    for size in SIZES if kind == "joint" else (None,):
        prefix = Prefix(model, prompts, size)
        whole = hooked.last_logits(model, prompts, edits, batch_size=size)
        close(hooked.last_logits(model, prompts, edits, batch_size=size, prefix=prefix), whole)
        options = {"max_new_tokens": 5, "batch_size": size}
        made = hooked.generate(model, prompts, edits, **options)
        again = hooked.generate(model, prompts, edits, **options, prefix=prefix)
        assert again.ids == made.ids and again.margins == pytest.approx(made.margins, abs=1e-5)
        plain = hooked.log_probs(model, prompts, made.ids, batch_size=size)
        after = hooked.log_probs(model, prompts, made.ids, batch_size=size, prefix=prefix)
        assert after == pytest.approx(plain, abs=1e-5)


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(1, 47), min_size=1, max_size=6), min_size=6, max_size=6))
def test_continuations_of_any_length_have_their_log_probs(continuations):
    model, prompts = tiny_model("gpt_neo", torch.float64), study_of("gpt_neo").prompts()
    shared = hooked.log_probs(model, prompts, continuations, prefix=Prefix(model, prompts))
    assert shared == pytest.approx(hooked.log_probs(model, prompts, continuations), abs=1e-5)


def test_a_prefix_is_not_used_up():
    study = study_of("llama")
    prefix = Prefix(study.model, study.prompts())
    (batch,) = study.prompts().batches(99, study.model.pad, "cpu")
    with torch.no_grad():
        first, second = (prefix.last(batch).logits for _ in range(2))
    assert torch.equal(first, second)


@every_row
@pytest.mark.parametrize("keep", [1, 3])
@torch.no_grad()
def test_a_padded_forward_ends_with_each_prompt_s_own_logits(kind, keep):
    model = tiny_model(kind, torch.float64)
    found = forward(model, batch_of(model), keep=keep).logits[:, -keep:]
    for row, ids in enumerate(model.encode(TEXTS).ids):
        own = model.hf(input_ids=torch.tensor([ids])).logits[0, -keep:]
        torch.testing.assert_close(found[row], own, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_logits_that_nobody_reads_are_not_made_and_no_cache_unasked():
    model = tiny_model("llama")
    batch = batch_of(model)
    out = forward(model, batch, keep=2)
    assert out.logits.shape[:2] == (3, 2) and out.past_key_values is None
    assert forward(model, batch, use_cache=True).past_key_values is not None
    columns = batch.input_ids, batch.attention_mask, batch.position_ids
    alone = run_columns(model, *columns)
    assert alone.past_key_values is None
    close(alone.logits, out.logits[:, -1:])


@every_row
@torch.no_grad()
def test_one_more_token_on_a_cache_is_the_longer_prompt(kind):
    model = tiny_model(kind, torch.float64)
    prompts, batch = model.encode(TEXTS), batch_of(model)
    out = forward(model, batch, use_cache=True)
    mask, positions, more = batch.attention_mask, batch.position_ids[:, -1:], [[], [], []]
    for tokens in ([7, 8, 9], [3, 3, 4]):
        more = [[*row, token] for row, token in zip(more, tokens, strict=True)]
        mask = torch.cat([mask, mask.new_ones(3, 1)], dim=1)
        positions = positions + 1
        out = next_token(model, torch.tensor(tokens), mask, positions, out.past_key_values)
        close(out.logits[None, :, -1], hooked.last_logits(model, grown(prompts, more)))


@every_row
@torch.no_grad()
def test_tokens_after_a_prefix_stand_in_for_the_last_one_and_what_follows(kind):
    model = tiny_model(kind, torch.float64)
    prompts, batch = model.encode(TEXTS), batch_of(model)
    prefix = Prefix(model, prompts)
    ids = torch.tensor([[ids[-1], 7, 8] for ids in prompts.ids])
    found = prefix.after(batch, ids, keep=3).logits[:, -3:]
    for column in range(3):
        longer = grown(prompts, [[7, 8][:column]] * 3)
        close(found[None, :, column], hooked.last_logits(model, longer))
    other = ids.clone()
    other[:, 0] = 5
    assert not torch.allclose(prefix.after(batch, other).logits[:, -1], found[:, -1])


def test_float64_reads_padded_prompts_and_gives_the_masks_back():
    before = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["eager"]
    model = tiny_model("llama", torch.float64)
    prompts = prompts_of(model)
    wide = hooked.last_logits(model, prompts)
    assert wide.isfinite().all()
    torch.testing.assert_close(
        wide.float(), hooked.last_logits(tiny_model("llama"), prompts), rtol=0, atol=1e-4
    )
    with pytest.raises(ZeroDivisionError):
        hooked.last_logits(model, prompts, [edit(Head(0, 0), lambda z: 1 // 0)])
    assert masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["eager"] is before
