"""A model taken apart: transformers' own numbers, for every row of the table and its variants."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import CONFIGS, WORDS, build, text, tiny_model

from emolib.engine import hooked
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.support import disagreement, why_not
from emolib.models.encoding import Batch

every_row = pytest.mark.parametrize("kind", CONFIGS)

FALCON = CONFIGS["falcon"] | {"new_decoder_architecture": False}
MANY = FALCON | {"multi_query": False, "num_kv_heads": 4}
VARIANTS = {
    "falcon of one key head": ("falcon", FALCON | {"multi_query": True}),
    "falcon of many": ("falcon", MANY | {"parallel_attn": False}),
    "falcon with alibi": ("falcon", FALCON | {"alibi": True, "multi_query": True}),
    "falcon of one norm": ("falcon", CONFIGS["falcon"] | {"num_ln_in_parallel_attn": 1}),
    "neox in sequence": ("gpt_neox", CONFIGS["gpt_neox"] | {"use_parallel_residual": False}),
    "gptj turned whole": ("gptj", CONFIGS["gptj"] | {"rotary_dim": 8}),
    "gpt2 scaled by layer": ("gpt2", CONFIGS["gpt2"] | {"scale_attn_by_inverse_layer_idx": True}),
    "gpt2 of relu": ("gpt2", CONFIGS["gpt2"] | {"activation_function": "relu"}),
    "gpt2 of an own act": ("gpt2", CONFIGS["gpt2"] | {"activation_function": "relu2"}),
    "llama of an own act": ("llama", CONFIGS["llama"] | {"hidden_act": "relu2"}),
    "llama of three key heads": (
        "llama",
        {
            "hidden_size": 36,
            "num_hidden_layers": 3,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 8,
            "intermediate_size": 40,
            "max_position_embeddings": 64,
        },
    ),
    "gemma2 without caps": (
        "gemma2",
        CONFIGS["gemma2"] | {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
}


def columns(model, *texts):
    batch = Batch(model.encode(texts), range(len(texts)), model.pad, model.device)
    return batch.input_ids, batch.attention_mask, batch.position_ids


def apart(model):
    """Give the disagreement on prompts of one length, and on padded ones."""
    alike = columns(model, text(5, 6, 7, 8, 9, 10, 11), text(9, 8, 7, 6, 5, 4, 3))
    padded = columns(model, text(5, 6, 7, 8, 9, 10, 11), text(9, 8), text(3, 4, 5, 6))
    return max(disagreement(model, *alike), disagreement(model, *padded))


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_layers_give_the_model_s_own_logits(kind):
    assert why_not(tiny_model(kind)) is None
    assert apart(tiny_model(kind)) < 2e-6


@pytest.mark.parametrize("name", VARIANTS)
def test_so_do_the_variants_of_an_architecture(name):
    model = build(*VARIANTS[name], torch.float32)
    assert why_not(model) is None
    assert apart(model) < 2e-6


@pytest.mark.parametrize("kind", CONFIGS)
def test_half_precision_stays_near(kind):
    assert apart(build(kind, CONFIGS[kind], torch.bfloat16)) < 0.1


def test_the_stem_leaves_the_model_as_it_was():
    model = tiny_model("gpt2")
    given = columns(model, text(5, 6))
    before = model.hf(input_ids=given[0]).logits
    LayerwiseModel(model).stem(*given)
    with pytest.raises(IndexError):
        LayerwiseModel(model).stem(given[0] + 1000, *given[1:])
    assert not any("forward" in module.__dict__ for module in model.hf.modules())
    assert torch.equal(model.hf(input_ids=given[0]).logits, before)


@every_row
def test_a_token_alone_is_embedded_as_in_its_prompt(kind):
    """The columns of a stem, each by itself at its own position; the model stays as it was."""
    model = tiny_model(kind)
    layerwise = LayerwiseModel(model)
    ids, mask, positions = columns(model, text(5, 6, 7, 8), text(9, 8, 7, 6))
    hidden = layerwise.stem(ids, mask, positions).hidden
    alone = layerwise.embed(ids.flatten(), positions.flatten())
    torch.testing.assert_close(alone.view_as(hidden), hidden)
    assert not torch.allclose(hidden[0], hidden[1])
    assert not any("forward" in module.__dict__ for module in model.hf.modules())


@every_row
def test_the_unembedding_is_the_model_s_own(kind):
    """From what went into the final norm, in whatever shape, soft caps included."""
    model = tiny_model(kind)
    layerwise, prompts = LayerwiseModel(model), model.encode([text(5, 6, 7), text(9, 8)])
    [(_, into)] = hooked.read(model, prompts, [model.arch.final_norm])
    resid = into[model.arch.final_norm][:, -1]
    expected = hooked.last_logits(model, prompts)[0]
    torch.testing.assert_close(layerwise.logits(resid), expected, atol=1e-5, rtol=1e-5)
    again = layerwise.logits(resid[:, None, None])[:, 0, 0]
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)


def test_attention_has_no_bias_where_it_is_plain_and_causal():
    """Padding and windows that are narrower than the prompt are more than that."""
    alike, padded = (text(5, 6, 7, 8, 9, 10), text(9, 8, 7, 6, 5, 4)), (text(5, 6, 7), text(9, 8))

    def biased(kind, texts):
        model = tiny_model(kind)
        stem = LayerwiseModel(model).stem(*columns(model, *texts))
        return [inputs.bias is not None for inputs in stem.inputs]

    assert biased("gpt2", alike) == biased("llama", alike) == [False, False]
    assert biased("gpt2", padded) == biased("llama", padded) == [True, True]
    # The second of GPT-Neo's layers looks at four tokens; of Gemma's the first at six, all there.
    assert biased("gpt_neo", alike) == [False, True]
    assert biased("gemma2", alike) == [False, False]
    assert biased("gemma2", tuple(f"{one} w3" for one in alike)) == [True, False]
    # Its distances are a bias of each head's own.
    assert biased("bloom", alike) == [True, True]


def test_layers_and_sizes_are_those_of_the_model():
    model = build("llama", CONFIGS["llama"], torch.bfloat16)
    layerwise = LayerwiseModel(model)
    assert [layer.root for layer in layerwise.layers] == list(model.hf.model.layers)
    shape = layerwise.shape
    assert (shape.n_layers, shape.n_units, shape.vocab, shape.size) == (2, 40, WORDS, 2)
    # Some models' embedding has more rows than their config says.
    model.hf.resize_token_embeddings(WORDS + 16)
    model.hf.config.vocab_size = WORDS
    assert LayerwiseModel(model).shape.vocab == WORDS + 16


def test_without_a_block_a_model_is_not_taken_apart(monkeypatch):
    model = tiny_model("gpt2")
    monkeypatch.setattr(model, "arch", dataclasses.replace(model.arch, block=None))
    with pytest.raises(ValueError, match=r"^gpt2: its layers cannot be taken apart$"):
        LayerwiseModel(model)
