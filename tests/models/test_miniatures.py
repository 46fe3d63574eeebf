"""Types of transformers built tiny."""

from __future__ import annotations

import pytest
import torch

from emolib.models.miniatures import NotTiny, miniature, model_types


def test_every_causal_language_model_of_transformers_is_named():
    assert {"gpt2", "mixtral", "qwen3_next", "gemma3n_text"} <= set(model_types())


@pytest.mark.parametrize("kind", ["llama", "mixtral", "bamba"])
def test_weights_hide_nothing_and_are_the_same_every_time(kind):
    first, again = miniature(kind).hf, miniature(kind).hf
    for (name, one), (_, other) in zip(
        first.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(one, other)
        assert one.float().std() > 0.05, name


def test_keys_are_shared_between_heads():
    config = miniature("llama").config
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)


def test_a_size_can_be_given():
    assert miniature("llama", num_hidden_layers=3).n_layers == 3


def test_what_cannot_be_built_tiny_is_told_why():
    with pytest.raises(NotTiny, match=r"^blt: [\d,]+ weights at its smallest here$"):
        miniature("blt")
    with pytest.raises(NotTiny, match=r"^llama: .*Error: "):
        miniature("llama", num_attention_heads="many")
