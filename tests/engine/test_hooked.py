"""The whole model under hooks: edits, greedy generation, log-probabilities, padding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, N_HEADS, N_LAYERS, TEXTS, build, crossed, text, tiny_model, tokenizer
from tokenizers.processors import TemplateProcessing

from emolib.engine import hooked
from emolib.inputs.heads import Head, all_heads
from emolib.interventions import edit, patch, resample, scale, zero
from emolib.models.encoding import Prompts
from emolib.models.language_model import LanguageModel
from emolib.tracing import OwnTrace, OwnTraceDict, hook_count

HEADS = all_heads(N_LAYERS, N_HEADS)
POSITIONS = ("last", "slot", "after_slot", "all")
FAMILIES = ("gpt2", "gpt_neo", "gpt_neox", "gemma2")
SLOTS = ((1, 3), (0, 1), (2, 3))

families = pytest.mark.parametrize("model_type", FAMILIES)


def prompts_of(model, *, slots=False):
    free = model.encode(TEXTS)
    return Prompts(free.texts, free.ids, SLOTS) if slots else free


def one_batch(model, prompts):
    (batch,) = prompts.batches(99, model.pad, model.device)
    return batch


@families
@pytest.mark.parametrize("position", POSITIONS)
def test_neutral_edits_change_no_bit(model_type, position):
    model = tiny_model(model_type)
    prompts = prompts_of(model, slots=True)
    itself = patch(HEADS, hooked.activations(model, prompts))
    clean = hooked.last_logits(model, prompts)
    for neutral in (scale(HEADS, 1), edit(HEADS, lambda z: z), itself):
        logits = hooked.last_logits(model, prompts, [neutral], position=position)
        assert torch.equal(logits, clean), neutral


@crossed(model_type=CONFIGS, size=[None, 2])
def test_draws_on_shared_prefixes_are_the_draws_one_by_one(model_type, size):
    model = tiny_model(model_type)
    prompts = prompts_of(model, slots=True)
    drawn = resample(HEADS, hooked.activations(model, prompts), draws=3, seed=1)
    # A second intervention joins: every kind of edit has to do with the last token alone.
    also = patch(HEADS[:1], hooked.activations(model, prompts))
    logits = hooked.last_logits(model, prompts, [drawn, also], batch_size=size)
    batch = one_batch(model, prompts)
    for draw in range(3):
        with hooked.intervened(model, [drawn, also], batch, "last", draw):
            serial = hooked.forward(model, batch).logits[:, -1]
        torch.testing.assert_close(logits[draw], serial, rtol=0, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], rtol=0, atol=1e-3)


@given(heads=st.lists(st.sampled_from(HEADS), min_size=1, unique=True), seed=st.randoms())
@settings(max_examples=15)
def test_the_order_of_heads_and_a_second_time_change_nothing(heads, seed):
    model = tiny_model("gpt_neox")
    prompts = prompts_of(model)
    expected = hooked.last_logits(model, prompts, [zero(heads)])
    shuffled = seed.sample(heads, len(heads))
    assert torch.equal(hooked.last_logits(model, prompts, [zero(shuffled)]), expected)
    assert torch.equal(hooked.last_logits(model, prompts, [zero(heads), zero(shuffled)]), expected)
    apart = [zero(head) for head in heads]
    assert torch.equal(hooked.last_logits(model, prompts, apart), expected)


@families
@pytest.mark.parametrize("position", POSITIONS)
def test_an_edit_reaches_its_positions_and_no_others(model_type, position):
    model = tiny_model(model_type)
    prompts = prompts_of(model, slots=True)
    batch = one_batch(model, prompts)
    outputs = []
    for interventions in ([], [edit(Head(1, 1), lambda z: z + 1)]):
        with (
            torch.no_grad(),
            hooked.intervened(model, interventions, batch, position),
            OwnTrace(model.hf, model.attn_out(1)) as trace,
        ):
            hooked.forward(model, batch)
        outputs.append(trace.output)
    changed = (outputs[0] != outputs[1]).any(-1)
    assert torch.equal(changed, batch.at(position))


def test_what_may_not_share():
    prompts, head = prompts_of(tiny_model("gpt2")), HEADS[0]
    may_share = hooked.may_share
    assert may_share(prompts, [], "all")
    assert may_share(prompts, [zero(head), scale(HEADS[5], 2)], "last")
    for position in POSITIONS[1:]:
        assert not may_share(prompts, [zero(head)], position)
    assert not may_share(prompts, [zero(head), edit(head, lambda z: z)], "last")
    short = dataclasses.replace(prompts, ids=((1,), (1, 2)))
    assert not may_share(short, [], "last")


def test_an_edit_that_never_ran_is_an_error():
    model = tiny_model("gpt2")
    batch = one_batch(model, prompts_of(model))
    with (
        pytest.raises(
            RuntimeError, match=r"^zero\(L1H0\): transformer\.h\.1\.attn\.c_proj of tiny-gpt2 never"
        ),
        hooked.intervened(model, [zero(Head(1, 0))], batch, "last"),
    ):
        pass
    assert hook_count(model.hf) == 0


@pytest.mark.parametrize("model_type", ["olmo2", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_norm_finds_no_rounding_where_all_heads_are_zeroed(model_type, dtype):
    """Without a bias nothing is left, and a norm would bring what rounding left to its size."""
    plain = CONFIGS[model_type] | {"attention_bias": False}
    model, without = build(model_type, plain, dtype), build(model_type, plain, dtype)
    prompts, first = prompts_of(model), HEADS[:N_HEADS]
    without.module(without.attn_out(0)).weight.zero_()
    zeroed = hooked.last_logits(model, prompts, [zero(first)], position="all")
    assert torch.equal(zeroed, hooked.last_logits(without, prompts))
    # What another trace adds in front of the norm is still there.
    spread = torch.linspace(-1, 1, 32, dtype=dtype)
    without.module(without.attn_out(0)).bias = torch.nn.Parameter(spread)
    with OwnTrace(model.hf, model.attn_out(0), edit_output=lambda output: output + spread):
        kept = hooked.last_logits(model, prompts, [zero(first)], position="all")
    close = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 0.2}
    torch.testing.assert_close(kept, hooked.last_logits(without, prompts), **close)


@families
def test_hooks_are_gone_whatever_happens(model_type):
    model = tiny_model(model_type)
    prompts = prompts_of(model)

    def fails(z):
        raise ZeroDivisionError

    for run in (hooked.last_logits, lambda *given: hooked.generate(*given, max_new_tokens=2)):
        run(model, prompts, [zero(HEADS)])
        assert hook_count(model.hf) == 0
        with pytest.raises(ZeroDivisionError):
            run(model, prompts, [zero(Head(0, 0)), edit(Head(1, 0), fails)])
        assert hook_count(model.hf) == 0
    hooked.activations(model, prompts)
    assert hook_count(model.hf) == 0


def test_a_user_s_trace_on_the_same_module_keeps_its_edit():
    model = tiny_model("gpt2")
    prompts, path = prompts_of(model), model.attn_out(1)
    # Not the same in all dimensions: LayerNorm would erase that.
    bias = torch.linspace(-1, 1, 32)
    with OwnTrace(model.hf, path, edit_output=lambda output: output + bias):
        before = hooked.last_logits(model, prompts, [zero(Head(1, 0))])
    batch = one_batch(model, prompts)
    with (
        torch.no_grad(),
        hooked.intervened(model, [zero(Head(1, 0))], batch, "last"),
        OwnTrace(model.hf, path, edit_output=lambda output: output + bias),
    ):
        after = hooked.forward(model, batch).logits[None, :, -1]
    torch.testing.assert_close(before, after)
    assert not torch.allclose(before, hooked.last_logits(model, prompts, [zero(Head(1, 0))]))


@families
@pytest.mark.parametrize("size", [1, 2])
def test_the_batch_size_changes_no_number(model_type, size):
    model = tiny_model(model_type)
    prompts = prompts_of(model, slots=True)
    source = hooked.activations(model, prompts)
    again = hooked.activations(model, prompts, batch_size=size)
    for whole, part in zip(source.z, again.z, strict=True):
        torch.testing.assert_close(whole[source.batch.at("all")], part[source.batch.at("all")])
    torch.testing.assert_close(
        hooked.last_logits(model, prompts, [zero(HEADS[1])], position="slot"),
        hooked.last_logits(model, prompts, [zero(HEADS[1])], position="slot", batch_size=size),
        rtol=0,
        atol=1e-4,
    )
    together = hooked.generate(model, prompts, [zero(HEADS[1])], max_new_tokens=4)
    apart = hooked.generate(model, prompts, [zero(HEADS[1])], max_new_tokens=4, batch_size=size)
    assert together.ids == apart.ids
    scores = hooked.log_probs(model, prompts, together.ids)
    parts = hooked.log_probs(model, prompts, together.ids, batch_size=size)
    assert scores == pytest.approx(parts, abs=1e-4)


def test_last_logits_are_the_model_s_own(embedded):
    texts = ["She thanked him and", "The train was late again, so we"]
    prompts = embedded.encode(texts)
    logits = hooked.last_logits(embedded, prompts)
    assert logits.shape == (1, 2, embedded.hf.config.vocab_size)
    for row, ids in enumerate(prompts.ids):
        with torch.no_grad():
            own = embedded.hf(input_ids=torch.tensor([ids])).logits[0, -1]
        torch.testing.assert_close(logits[0, row], own, rtol=0, atol=1e-4)


def test_activations_are_the_inputs_of_the_projections(embedded):
    prompts = embedded.encode(["She thanked him and", "The train was late again, so we"])
    found = hooked.activations(embedded, prompts)
    for row, ids in enumerate(prompts.ids):
        path = embedded.attn_out(2)
        with torch.no_grad(), OwnTrace(embedded.hf, path, retain_input=True) as trace:
            embedded.hf(input_ids=torch.tensor([ids]))
        width = trace.input.shape[-1] // 4
        for head in (Head(2, 0), Head(2, 3)):
            expected = trace.input[0, :, head.index * width : (head.index + 1) * width]
            torch.testing.assert_close(
                found.of(head)[row, -len(ids) :], expected, rtol=0, atol=1e-4
            )


@pytest.mark.parametrize("count", [1, 6])
def test_greedy_generation_is_transformers_own(embedded, gratitude, count):
    """One prompt alone, and several of different lengths, padded."""
    prompts = embedded.encode([pair.text("emotion") for pair in gratitude.pairs[:count]])
    assert len({len(ids) for ids in prompts.ids}) > 1 or count == 1
    batch = one_batch(embedded, prompts)
    ours = hooked.generate(embedded, prompts, max_new_tokens=8)
    with torch.no_grad():
        theirs = embedded.hf.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=embedded.pad,
            output_logits=True,
            return_dict_in_generate=True,
        )
    width = prompts.width
    for row, ids in enumerate(ours.ids):
        new = theirs.sequences[row, width : width + len(ids)]
        assert list(ids) == new.tolist()
        assert ours.texts[row] == embedded.tokenizer.decode(new, skip_special_tokens=True)
        steps = torch.stack([logits[row] for logits in theirs.logits[: len(ids)]])
        best = steps.topk(2).values
        gap = float((best[:, 0] - best[:, 1]).min())
        assert ours.margins[row] == pytest.approx(gap, abs=1e-4)


@families
@pytest.mark.parametrize(("position", "stands_for"), [("last", "slot"), ("all", "all")])
def test_generated_tokens_are_edited_under_all_alone(model_type, position, stands_for):
    """The cache and the edit together give what running the whole text anew gives."""
    model = tiny_model(model_type)
    prompts, edits = model.encode(TEXTS), [scale(HEADS[2:5], -1)]
    made = hooked.generate(model, prompts, edits, max_new_tokens=4, position=position)
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
    clean = hooked.generate(model, prompts, max_new_tokens=4)
    assert made.margins != pytest.approx(clean.margins, abs=1e-2)


@families
def test_log_probs_are_read_at_the_continuation_s_own_tokens(model_type):
    model = tiny_model(model_type)
    prompts, continuations = model.encode(TEXTS), ((7, 8, 9), (11,), (4, 5))
    scores = hooked.log_probs(model, prompts, continuations)
    for row, more in enumerate(continuations):
        ids = (*prompts.ids[row], *more)
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        start = len(prompts.ids[row]) - 1
        picked = [float(logits[start + i, token]) for i, token in enumerate(more)]
        assert scores[row] == pytest.approx(sum(picked) / len(picked), abs=1e-4)


def test_an_empty_continuation_has_no_log_prob():
    model = tiny_model("gpt2")
    with pytest.raises(ValueError, match="at least one token, got an empty one"):
        hooked.log_probs(model, model.encode(TEXTS), ((1,), (), (2,)))


@families
def test_greedy_text_is_the_likeliest_under_the_model_at_one_token(model_type):
    model = tiny_model(model_type)
    prompts = model.encode(TEXTS)
    best = hooked.log_probs(model, prompts, hooked.generate(model, prompts, max_new_tokens=1).ids)
    for token in (3, 17, 40):
        other = hooked.log_probs(model, prompts, ((token,),) * 3)
        assert all(a >= b for a, b in zip(best, other, strict=True))


START, END = 47, 0
# What a tokenizer puts around a text by itself.
AROUND = {"nothing": "$A", "a start": "<s> $A", "an end": "$A <e>", "both": "<s> $A <e>",
          "an end at both sides": "<e> $A <e>"}  # fmt: skip


def model_around(model_type, around, **special):
    """Give a tiny model whose tokenizer adds a start, an end or both."""
    made = tokenizer()
    names = AROUND[around].replace("<s>", f"w{START}").replace("<e>", "<end>")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=names, special_tokens=[(f"w{START}", START), ("<end>", END)]
    )
    made.bos_token = f"w{START}"
    made.add_special_tokens(special)
    return LanguageModel(tiny_model(model_type).hf, made, "tiny")


def patterns(model, prompts):
    """Give each layer's attention, shape ``[batch, heads, seq, seq]``."""
    paths = [model.arch.attn_path(layer) for layer in range(model.n_layers)]
    with torch.no_grad(), OwnTraceDict(model.hf, paths) as traced:
        hooked.forward(model, one_batch(model, prompts))
    return [traced[path].output[1] for path in paths]


@crossed(model_type=CONFIGS, around=AROUND)
def test_a_padded_batch_gives_what_each_prompt_gives_alone(model_type, around):
    """Logits, z, attention, generated tokens and their log-probabilities, to 1e-4."""
    model = model_around(model_type, around)
    assert model.tokenizer.pad_token_id is None
    # Nothing but a start is a prompt as well.
    texts = [*TEXTS, "", text(8)] if AROUND[around].split()[0] != "$A" else [*TEXTS, text(8)]
    close = {"rtol": 0, "atol": 1e-4}
    edits = [zero(HEADS[1]), scale(HEADS[6], 3)]
    together = model.encode(texts)
    assert len({len(ids) for ids in together.ids}) >= 4
    logits = [hooked.last_logits(model, together, chosen, position="all") for chosen in ([], edits)]
    z, attention = hooked.activations(model, together).z, patterns(model, together)
    made = hooked.generate(model, together, edits, max_new_tokens=4, position="all")
    scores = hooked.log_probs(model, together, made.ids)
    for row, own in enumerate(texts):
        alone = model.encode([own])
        size = len(alone.ids[0])
        for chosen, batched in zip(([], edits), logits, strict=True):
            single = hooked.last_logits(model, alone, chosen, position="all")
            torch.testing.assert_close(batched[:, row], single[:, 0], **close)
        for batched, single in zip(z, hooked.activations(model, alone).z, strict=True):
            torch.testing.assert_close(batched[row, -size:], single[0], **close)
        for batched, single in zip(attention, patterns(model, alone), strict=True):
            torch.testing.assert_close(batched[row, :, -size:, -size:], single[0], **close)
            assert not batched[row, :, -size:, :-size].any()
        again = hooked.generate(model, alone, edits, max_new_tokens=4, position="all")
        assert again.ids[0] == made.ids[row]
        assert again.margins[0] == pytest.approx(made.margins[row], abs=1e-4)
        assert hooked.log_probs(model, alone, again.ids)[0] == pytest.approx(scores[row], abs=1e-4)


def test_a_pad_token_beyond_the_embedding_is_not_used():
    model = model_around("gpt2", "a start", pad_token="<pad>")
    assert model.tokenizer.pad_token_id >= model.hf.get_input_embeddings().num_embeddings
    expected = hooked.last_logits(model_around("gpt2", "a start"), model.encode(TEXTS))
    assert torch.equal(hooked.last_logits(model, model.encode(TEXTS)), expected)
