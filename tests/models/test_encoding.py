from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import text, tokenizer
from tokenizers.processors import TemplateProcessing

from emolib.errors import InputError
from emolib.inputs.prompts import Pair
from emolib.models.encoding import Batch, Prompts, align, encode

TOKENIZER = tokenizer()


def batch_of(*lengths, slots=None):
    ids = tuple(tuple(range(1, length + 1)) for length in lengths)
    prompts = Prompts(tuple(map(str, ids)), ids, slots)
    return Batch(prompts, range(len(ids)), 0, "cpu")


def pair(prompt, emotion, neutral, name="p"):
    return Pair(name, "t", prompt, emotion, neutral)


def test_a_batch_is_padded_on_the_left_and_positions_count_from_the_first_token():
    batch = batch_of(2, 4)
    assert batch.input_ids.tolist() == [[0, 0, 1, 2], [1, 2, 3, 4]]
    assert batch.attention_mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch.position_ids.tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert batch.pads.tolist() == [2, 0]


def test_positions_point_where_they_say():
    batch = batch_of(3, 5, slots=((0, 1), (1, 3)))
    assert batch.at("last").long().tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    assert batch.at("all").long().tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert batch.at("slot").long().tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 0, 0]]
    assert batch.at("after_slot").long().tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("position", ["slot", "after_slot"])
def test_positions_that_need_a_slot_refuse_free_prompts(position):
    message = (
        "positions slot and after_slot need aligned pairs, got free prompts; "
        "use --position last or all, or a pairs file"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        batch_of(3).at(position)


@pytest.mark.parametrize("position", [("last",), "first", None])
def test_a_position_that_is_none_is_never_taken_for_another(position):
    with pytest.raises(AssertionError, match="unreachable"):
        batch_of(3, 2, slots=((0, 1), (0, 1))).at(position)


def test_after_slot_refuses_a_prompt_that_ends_with_its_slot():
    batch = batch_of(3, 4, slots=((0, 1), (2, 4)))
    message = (
        "prompt '(1, 2, 3, 4)' ends with its slot, so nothing is after_slot; use --position last, "
        "or let the prompt go on"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        batch.at("after_slot")
    assert batch.at("slot").sum() == 3


@given(st.data())
@settings(max_examples=50)
def test_batches_cut_the_prompts_in_order_and_never_change_a_row(data):
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=9))
    starts = [data.draw(st.integers(0, n - 1)) for n in lengths]
    slots = tuple((s, data.draw(st.integers(s + 1, n))) for s, n in zip(starts, lengths))  # noqa: B905
    whole = batch_of(*lengths, slots=slots)
    size = data.draw(st.integers(1, 10))
    parts = list(whole.prompts.batches(size, 0, "cpu"))
    assert [row for part in parts for row in part.rows] == list(range(len(lengths)))
    assert all(len(part.rows) <= size for part in parts)
    for name in ("input_ids", "attention_mask", "position_ids"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name))
    for position in ("last", "slot", "all"):
        mask = whole.at(position)
        assert torch.equal(torch.cat([part.at(position) for part in parts]), mask)
        assert not (mask & ~whole.attention_mask.bool()).any()
    # The tokens under the slot's mask are the slot's tokens.
    for row, (start, end) in enumerate(slots):
        kept = whole.input_ids[row][whole.at("slot")[row]].tolist()
        assert kept == list(whole.prompts.ids[row][start:end])


def test_prompts_become_the_tokenizer_s_ids():
    prompts = encode(TOKENIZER, [text(5, 6), text(7)])
    assert prompts.ids == ((5, 6), (7,))
    assert (len(prompts), prompts.width) == (2, 2)
    assert prompts.slots is prompts.clusters is None


def test_a_prompt_without_a_token_is_refused():
    with pytest.raises(InputError, match=r"^prompt '  ' has no token under this tokenizer$"):
        encode(TOKENIZER, ["w1", "  "])


def test_a_prompt_over_the_limit_is_refused():
    assert len(encode(TOKENIZER, [text(1, 2, 3)], 3)) == 1
    message = (
        "prompt 'w1 w2 w3' has 3 tokens, expected at most 2 (the model's context less "
        "--max-new-tokens); shorten the prompt or the continuation"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        encode(TOKENIZER, [text(1, 2, 3)], 2)


def test_pairs_that_do_not_align_are_left_out_with_the_reason():
    pairs = [
        pair("w9 {slot} w8", "w1", "w2", "good"),
        pair("w9 {slot} w8", "w1 w2", "w3", "longer"),
        pair("w9 {slot} w8", "w1", " w1", "same"),
        pair("{slot} w8", "w1 w5 w2", "w3 w5 w4", "wide"),
    ]
    aligned = align(TOKENIZER, pairs)
    assert [kept.id for kept in aligned.pairs] == ["good", "wide"]
    assert aligned.left_out == (
        ("longer", "4 and 3 tokens"),
        ("same", "the two sides are the same tokens"),
    )
    assert aligned.emotion.slots == aligned.neutral.slots == ((1, 2), (0, 3))
    assert aligned.emotion.ids == ((9, 1, 8), (1, 5, 2, 8))
    assert aligned.neutral.texts == ("w9 w2 w8", "w3 w5 w4 w8")
    assert aligned.emotion.clusters == ("t", "t")
    assert len(aligned) == 2


def test_no_pair_that_aligns_is_an_error():
    message = (
        "none of the 1 pairs aligns under this tokenizer (p: 2 and 1 tokens); "
        "write fillers of equal token length"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        align(TOKENIZER, [pair("{slot}", "w1 w2", "w3")])


@pytest.mark.parametrize(
    ("around", "prompt", "ids"),
    [
        ("$A", "w5 w6", (5, 6)),
        ("w47 $A", "w5 w6", (47, 5, 6)),
        ("$A <end>", "w5 w6", (5, 6)),
        ("w47 $A <end>", "w5 w6", (47, 5, 6)),
        ("<end> $A <end>", "w5 w6", (0, 5, 6)),
        ("w47 $A <end> <end>", "w5 w6", (47, 5, 6)),
        # What was written is the user's.
        ("$A", "w5 <end>", (5, 0)),
        ("$A <end>", "w5 <end>", (5, 0)),
        # A start alone is a prompt.
        ("w47 $A", "", (47,)),
        ("w47 $A <end>", "", (47,)),
        ("<end> $A", "", (0,)),
        ("<end> $A <end>", "", (0,)),
    ],
)
def test_a_prompt_has_the_start_a_tokenizer_adds_but_no_end(around, prompt, ids):
    made = tokenizer()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=around, special_tokens=[("w47", 47), ("<end>", 0)]
    )
    assert encode(made, [prompt]).ids == (ids,)
    made.eos_token = None
    assert encode(made, [prompt]).ids == (tuple(made(prompt)["input_ids"]),)


def test_pairs_align_whatever_a_tokenizer_adds():
    made = tokenizer()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="w47 $A <end>", special_tokens=[("w47", 47), ("<end>", 0)]
    )
    aligned = align(made, [pair("w9 {slot} w8", "w1", "w2"), pair("{slot}", "w1", "w2", "q")])
    assert aligned.emotion.ids == ((47, 9, 1, 8), (47, 1))
    assert aligned.emotion.slots == ((2, 3), (1, 2))


@pytest.mark.parametrize(
    ("around", "prompt", "ids"),
    [
        ("<end> $A", "w5 w6", (0, 5, 6)),
        ("<end> $A", "<end> w5", (0, 5)),
        ("<end> $A", "<end><end>w5", (0, 5)),
        ("$A", "<end><end><end>w5", (0, 5)),
        ("<end> $A", " <end>w5", (0, 5)),
        ("$A", "w5 w6", (5, 6)),
        # A word that the tokenizer does not know has the same id, and stays.
        ("<end> $A", "unknown w5", (0, 0, 5)),
        ("<end> $A", "<end> unknown w5", (0, 0, 5)),
        ("$A", "<end> unknown w5", (0, 0, 5)),
        # Of several tokens that are put in front, those that are there already.
        ("w47 <end> $A", "w47 <end> w5", (47, 0, 5)),
        ("w47 <end> $A", "<end> w5", (47, 0, 5)),
        ("w47 <end> $A", "w47 w5", (47, 0, 47, 5)),
        ("w47 <end> $A <end>", "<end> w5", (47, 0, 5)),
    ],
)
def test_there_is_one_bos_and_a_word_of_its_id_is_none(around, prompt, ids):
    made = tokenizer()
    made.bos_token = "<end>"
    made.backend_tokenizer.add_special_tokens(["<end>"])
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=around, special_tokens=[("w47", 47), ("<end>", 0)]
    )
    assert encode(made, [prompt]).ids == (ids,)
