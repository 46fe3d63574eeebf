"""A tiny GGUF file of each architecture, written from a model as llama.cpp's converter would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch
import transformers

from emolib.models.language_model import LanguageModel

LAYERS, HEADS, WORDS = 2, 4, 40
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "vocab_size": WORDS,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
_GEMMA = _SIZES | {"head_dim": 256, "sliding_window": 4, "tie_word_embeddings": True}
# What GGUF can say of a model, by architecture as GGUF calls it; each with a rope of its own.
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": WORDS},
    "llama": _SIZES | {"rope_theta": 500.0},
    "phi3": _SIZES | {"rope_theta": 500.0},
    "qwen2": _SIZES | {"rope_theta": 500.0},
    "qwen3": _SIZES | {"head_dim": 128, "rope_theta": 500.0},
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
}


def words() -> list[str]:
    """Give a byte-level vocabulary: an end, letters, the space, and a few words of them."""
    letters = ["<end>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
    joined = ["Ġa", "Ġb", "Ġc", "Ġd", "th", "Ġth", "Ġi"]
    return letters + joined + [f"<unused{i}>" for i in range(WORDS - len(letters) - len(joined))]


MERGES = ["Ġ a", "Ġ b", "Ġ c", "Ġ d", "t h", "Ġ th", "Ġ i"]


def model_of(architecture: str, model_type: str) -> Any:
    """Give a model with random weights, none of them the start value of its kind."""
    config = transformers.AutoConfig.for_model(
        model_type, bos_token_id=0, eos_token_id=0, **CONFIGS[architecture]
    )
    hf = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in hf.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / 4)
            else:
                parameter.add_(0.2 * noise)
    return hf


def write(path: Path, hf: Any, architecture: str, **changes: Any) -> None:
    """Write a model as a GGUF file.

    Args:
        path: Where to.
        hf: The model.
        architecture: Its name in GGUF.
        changes: Keys of the metadata to add, with ``__`` for a dot, before the others.
    """
    config = hf.config
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in changes.items():
        name = key.replace("__", ".")
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(name, value)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_embedding_length(32)
    writer.add_context_length(config.max_position_embeddings)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        writer.add_feed_forward_length(128)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(_theta(config))
        d_head = getattr(config, "head_dim", None) or 32 // HEADS
        writer.add_rope_dimension_count(d_head)
        writer.add_key_length(d_head)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    _add_tokenizer(writer)
    names = gguf.get_tensor_name_map(_enum(architecture), LAYERS)
    for name, weight in hf.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        base, _, kind = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(base)}.{kind}", _as_gguf(architecture, name, weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _theta(config: Any) -> float:
    rope = config.rope_parameters
    return float(rope.get("full_attention", rope)["rope_theta"])


def _enum(architecture: str) -> Any:
    return next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)


def _add_tokenizer(writer: Any) -> None:
    tokens = words()
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    control = gguf.TokenType.CONTROL
    writer.add_token_types([control] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)


def _as_gguf(architecture: str, name: str, weight: torch.Tensor) -> Any:
    weight = weight.detach().clone()
    if architecture == "gpt2" and "h." in name and weight.ndim == 2:
        weight = weight.T  # transformers' Conv1D stores [in, out].
    if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = HEADS if "q_proj" in name else 2
        # Rope turns neighbours in GGUF, halves in transformers.
        halves = weight.reshape(heads, 2, -1, weight.shape[1])
        weight = halves.transpose(1, 2).reshape(weight.shape)
    if architecture.startswith("gemma") and "norm" in name:
        weight = weight + 1
    return weight.contiguous().numpy()


def wrapped(hf: Any, tokenizer: Any) -> LanguageModel:
    return LanguageModel(hf, tokenizer, "twin")
