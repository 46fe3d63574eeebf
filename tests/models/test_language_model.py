from __future__ import annotations

import re

import pytest
import torch
import transformers
from tiny import CONFIGS, D_MODEL, N_HEADS, text, tiny_model, tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Lexicon
from emolib.models.language_model import LanguageModel


def bpe(pre_tokenizer, space):
    """Give a tokenizer with a token for "glad", after a space or not, and for " fine"."""
    merges = [("g", "l"), ("gl", "a"), ("gla", "d"), (space, "glad")]
    merges += [(space, "f"), (f"{space}f", "i"), (f"{space}fi", "n"), (f"{space}fin", "e")]
    vocab = ["<unk>", space, *"gladfine", *("".join(merge) for merge in merges)]
    ids = {token: i for i, token in enumerate(dict.fromkeys(vocab))}
    built = Tokenizer(models.BPE(ids, merges, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizer
    return transformers.PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>")


BYTES = bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), "Ġ")
PIECES = bpe(pre_tokenizers.Metaspace(), "▁")


def model_with(tokenizer):
    return LanguageModel(tiny_model("gpt2").hf, tokenizer, "tiny")


@pytest.mark.parametrize(("tokenizer", "space"), [(BYTES, "Ġ"), (PIECES, "▁")])
def test_a_word_s_token_is_the_one_it_has_in_mid_sentence(tokenizer, space):
    ids = model_with(tokenizer).word_ids(("glad", "fine"))
    expected = [f"{space}glad", f"{space}fine"]
    assert set(tokenizer.convert_ids_to_tokens(ids.tolist())) == set(expected)


def test_word_ids_work_where_no_token_marks_the_space():
    assert model_with(tokenizer()).word_ids(("w7", "w3", "w7")).tolist() == [3, 7]


def test_words_of_several_tokens_or_of_none_are_left_out():
    model = model_with(BYTES)
    assert torch.equal(model.word_ids(("glad", "lad", "fined")), model.word_ids(("glad",)))
    # A word the tokenizer does not know is <end>, which is no word.
    assert model_with(tokenizer()).word_ids(("w7", "nothing")).tolist() == [7]


def test_no_word_of_one_token_is_an_error():
    message = (
        "none of the targets of joy (nothing, never) is a single token under the tokenizer of "
        "tiny; add some that are"
    )
    joy, fine = Lexicon("joy", 1, (), ("nothing", "never")), Lexicon("neutral", 1, (), ("w1",))
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        model_with(tokenizer()).target_ids(joy, fine)
    with pytest.raises(InputError, match=r"^none of the targets of neutral "):
        model_with(tokenizer()).target_ids(fine, joy)


def test_target_ids_are_those_of_the_two_lexicons(embedded):
    joy = Lexicon("joy", 1, (), ("thank", "grateful"))
    neutral = Lexicon("neutral", 1, (), ("ready",))
    for ids, lexicon in zip(embedded.target_ids(joy, neutral), (joy, neutral), strict=True):
        words = [embedded.tokenizer.decode([token]) for token in ids]
        assert sorted(words) == sorted(f" {word}" for word in lexicon.targets)


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_w_o_is_what_a_head_s_z_is_multiplied_by(model_type):
    model = tiny_model(model_type, torch.float64)
    projection = model.module(model.attn_out(1))
    d_head = CONFIGS[model_type].get("head_dim", D_MODEL // N_HEADS)
    head = Head(1, 2)
    assert model.w_o(head).shape == (d_head, D_MODEL)
    z = torch.zeros(1, 1, N_HEADS * d_head, dtype=torch.float64)
    z[..., 2 * d_head : 3 * d_head] = torch.arange(1, d_head + 1)
    zero = projection(torch.zeros_like(z))
    written = z[0, 0, 2 * d_head : 3 * d_head] @ model.w_o(head)
    torch.testing.assert_close((projection(z) - zero)[0, 0], written)


def test_the_tiny_models_cover_conv1d_grouped_queries_and_a_d_head_of_its_own():
    kinds = {type(tiny_model(t).module(tiny_model(t).attn_out(0))).__name__ for t in CONFIGS}
    assert kinds >= {"Conv1D", "Linear"}
    llama = tiny_model("llama")
    assert llama.hf.config.num_key_value_heads < llama.n_heads
    assert llama.w_o(Head(0, 0)).shape[0] != D_MODEL // llama.n_heads


def test_a_prompt_must_leave_room_for_the_continuation():
    model = tiny_model("gpt2")
    assert model.context == 64
    assert len(model.encode([text(*range(1, 41))], new_tokens=24)) == 1
    with pytest.raises(InputError, match=r"has 40 tokens, expected at most 39 "):
        model.encode([text(*range(1, 41))], new_tokens=25)
    # Bloom counts distances, not places: it has no limit of its own.
    assert tiny_model("bloom").context is None
    assert len(tiny_model("bloom").encode([text(*[1] * 500)], new_tokens=500)) == 1


def test_a_model_is_frozen_and_in_eval_mode(embedded):
    assert not embedded.hf.training
    assert not any(parameter.requires_grad for parameter in embedded.hf.parameters())
    assert embedded.hf.config._attn_implementation == "eager"
    assert (embedded.n_layers, embedded.n_heads) == (4, 4)
    assert embedded.device == torch.device("cpu")


def test_a_pad_is_found_even_where_the_tokenizer_has_none(embedded):
    assert embedded.pad == embedded.tokenizer.pad_token_id
    assert tiny_model("gpt2").tokenizer.pad_token_id is None
    assert tiny_model("gpt2").pad == 0
