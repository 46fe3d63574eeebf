"""Every architecture of the table, built tiny from its config, with weights that hide nothing.

Random weights of a size that makes each part matter, non-zero biases, norms with gains of their
own, grouped-query attention and d_head != d_model / n_heads wherever the family allows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from emolib.engine.clean_runs import CleanRuns
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import all_heads
from emolib.inputs.profiles import Profile
from emolib.inputs.prompts import Lexicon, Pair
from emolib.methods.study import Study
from emolib.models.language_model import LanguageModel
from emolib.models.snapshot import Snapshot

N_LAYERS, N_HEADS, D_MODEL, WORDS = 2, 4, 32, 48
HEADS = all_heads(N_LAYERS, N_HEADS)
# One of each way in which architectures differ where scores are concerned.
FAMILIES = ("gpt2", "gpt_neo", "gpt_neox", "falcon", "llama", "olmo2", "gemma2")

_SIZES = {
    "hidden_size": D_MODEL,
    "intermediate_size": 40,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": N_HEADS,
    "max_position_embeddings": 64,
}
_GROUPED = _SIZES | {"num_key_value_heads": 2}
_OWN_D_HEAD = _GROUPED | {"head_dim": 12}
_GPT = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": 64}
_SLIDING = ["sliding_attention", "full_attention"]

CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": _GPT | {"n_inner": 40},
    "gpt_neo": {
        "hidden_size": D_MODEL,
        "num_layers": N_LAYERS,
        "num_heads": N_HEADS,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 64,
    },
    "gptj": _GPT | {"n_inner": 40, "rotary_dim": 4},
    "bloom": {"hidden_size": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS},
    "falcon": {
        "hidden_size": D_MODEL,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_kv_heads": 2,
        "new_decoder_architecture": True,
        "bias": True,
        "ffn_hidden_size": 40,
        "max_position_embeddings": 64,
    },
    "gpt_neox": _SIZES | {"use_parallel_residual": True, "tie_word_embeddings": False},
    "opt": {
        "hidden_size": D_MODEL,
        "word_embed_proj_dim": D_MODEL,
        "ffn_dim": 40,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "max_position_embeddings": 64,
    },
    "llama": _OWN_D_HEAD | {"attention_bias": True, "mlp_bias": True},
    "mistral": _OWN_D_HEAD | {"sliding_window": 6},
    "phi3": _OWN_D_HEAD | {"pad_token_id": 0},
    "qwen2": _OWN_D_HEAD,
    "qwen3": _OWN_D_HEAD | {"attention_bias": True},
    "olmo2": _OWN_D_HEAD | {"attention_bias": True},
    "gemma2": _OWN_D_HEAD | {"sliding_window": 6, "layer_types": _SLIDING},
    "gemma3_text": _OWN_D_HEAD | {"sliding_window": 6, "layer_types": _SLIDING},
}


def tokenizer() -> Any:
    """Give a tokenizer of whole words: <end>, w1, …"""
    words = {"<end>": 0} | {f"w{i}": i for i in range(1, WORDS)}
    built = Tokenizer(WordLevel(words, unk_token="<end>"))
    built.pre_tokenizer = WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=built, eos_token="<end>")


@cache
def tiny_model(model_type: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """Build one row of the table; the same weights every time, in either type."""
    return build(model_type, CONFIGS[model_type], dtype)


def build(
    model_type: str, sizes: dict[str, Any], dtype: torch.dtype, seed: int = 0
) -> LanguageModel:
    """Build an architecture of any size; the same weights of a seed in every type."""
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=WORDS, bos_token_id=None, eos_token_id=0, **sizes
    )
    hf = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    embedding = hf.get_input_embeddings().weight
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter is embedding:
                parameter.copy_(noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * 1.5 / config.hidden_size**0.5)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            else:
                parameter.add_(0.2 * noise)
    return LanguageModel(hf.to(dtype), tokenizer(), f"tiny-{model_type}")


def text(*words: int) -> str:
    return " ".join(f"w{word}" for word in words)


TEXTS = (text(5, 6, 7, 8, 9, 10, 11, 12, 13), text(20, 21, 22), text(30, 31, 32, 33, 34, 35))


def tiny_emotion(count: int = 6) -> Emotion:
    """Give pairs of different lengths whose slot is one word, then a few words more."""
    pairs = tuple(
        Pair(f"p{i}", f"t{i // 2}", f"{text(*range(10, 13 + i % 3))} {{slot}} {text(20 + i, 21)}",
             f"w{1 + i % 2}", f"w{3 + i % 3}")
        for i in range(count)
    )  # fmt: skip
    lexicon = Lexicon("joy", 1, ("w40", "w41"), ("w40", "w41"))
    neutral = Lexicon("neutral", 1, ("w42",), ("w42", "w43", "w44"))
    return Emotion("joy", lexicon, neutral, pairs, None, "tiny")


def profile(**fields: Any) -> Profile:
    """Give a profile, of which only what a study reads matters."""
    return Profile("tiny", Path(), ("tiny",), ("joy",), **({"max_new_tokens": 4} | fields))


def study_of(model_type: str, **fields: Any) -> Study:
    """Give a study of one architecture in float64."""
    return Study(tiny_model(model_type, torch.float64), tiny_emotion(), profile(**fields))


def clean_runs(model, prompts, size=None, more=0):
    """Give the clean runs of prompts that sweeps and decodes resume from."""
    return CleanRuns(LayerwiseModel(model), prompts, size, more)


def crossed(**axes: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrize by every combination; those that bring no value of an axis anew are slow.

    The longest axis is gone through once and the others beside it, over and over.
    """
    values = [list(axis) for axis in axes.values()]
    quick = {tuple(i % len(axis) for axis in values) for i in range(max(map(len, values)))}
    cases = []
    for places in product(*(range(len(axis)) for axis in values)):
        case = [axis[i] for axis, i in zip(values, places, strict=True)]
        cases.append(pytest.param(*case, marks=() if places in quick else pytest.mark.slow))
    return pytest.mark.parametrize(tuple(axes), cases)


@contextmanager
def edited(model, rows):
    """Put rows of weights back when the context closes, and take the model as it is then.

    These models are shared: left as edited, their later runs would be those of somebody's edit.
    """
    kept = [row.clone() for row in rows]
    try:
        yield
    finally:
        for row, before in zip(rows, kept, strict=True):
            row.copy_(before)
        model.as_loaded = Snapshot(model.hf)
