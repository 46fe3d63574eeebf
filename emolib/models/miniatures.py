"""Every decoder of transformers built tiny, from its config alone: what structure is tried on.

The weights are drawn so that nothing hides: each part matters, no bias is 0 and no gain is 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from emolib.errors import InputError
from emolib.models.language_model import LanguageModel

WORDS, WIDTH, HEADS = 48, 32, 4
_MOST = 30_000_000
"""Weights that a model may have to be called tiny."""

# By field of a config, whatever the type calls its own; only those that a type has are given.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"), 40),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), HEADS),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "mamba_n_groups"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_d_state"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_d_conv", "mamba_dt_rank"), 4),
    **dict.fromkeys(("linear_num_value_heads", "rotary_dim"), 4),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), WORDS),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
    "num_experts_per_tok": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "v_head_dim": 12,
    "linear_num_key_heads": 2,
    "mamba_d_head": 16,
    "mamba_expand": 2,
    "mamba_d_ssm": 64,
    "sliding_window": 6,
    "hidden_size_per_layer_input": 8,
    "image_token_id": 1,
}
_MAY_BE_NONE = (
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "num_key_value_heads",
    "num_experts_per_tok",
    "head_dim",
)
_GRANITE = {"residual_multiplier": 0.22, "logits_scaling": 8.0, "embedding_multiplier": 12.0}
_MULTIPLIERS = {"attention_out_multiplier": 0.7, "ssm_out_multiplier": 1.3}
_MIXED = ["linear_attention", "full_attention"]
_NEMOTRON = {
    "num_hidden_layers": 4,
    "layers_block_type": ["mamba", "attention", "mlp", "moe"],
}
_LATENT = {"num_key_value_heads": HEADS, "head_dim": 8}
_GEMMA4 = {"layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 0}
# What a type needs besides, or what its models on the Hub have and its own config has not.
_OWN: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"layer_types": _MIXED},
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"n_embd": 64, "n_head": 8, "n_inner": 40},
    "falcon_h1": {"lm_head_multiplier": 0.5, "mlp_multipliers": [0.8, 0.6], **_MULTIPLIERS},
    "gemma3n_text": {"layer_types": ["sliding_attention", "full_attention"],
                     "num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0]},
    "gemma4_text": _GEMMA4,
    "gemma4_unified_text": _GEMMA4,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "granite": _GRANITE,
    "granite_swa": _GRANITE,
    "granitemoe": _GRANITE,
    "granitemoe_swa": _GRANITE,
    "granitemoeshared": _GRANITE,
    "granitemoehybrid": _GRANITE | {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "nemotron_h": _NEMOTRON,
    "olmo_hybrid": {"layer_types": _MIXED},
    "qwen3_5_moe_text": {"layer_types": _MIXED},
    "qwen3_5_text": {"layer_types": _MIXED},
    "qwen3_next": {"layer_types": _MIXED},
    "recurrent_gemma": {"num_hidden_layers": 3},
}  # fmt: skip


class NotTiny(ValueError):
    """A type that is not built tiny here, with the reason."""


def model_types() -> list[str]:
    """Return every type of which transformers has a causal language model."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tokenizer() -> Any:
    """Return a tokenizer of whole words, the first ``<end>`` and ``w1``."""
    words = {"<end>": 0} | {f"w{i}": i for i in range(1, WORDS)}
    built: Any = Tokenizer(WordLevel(words, unk_token="<end>"))
    built.pre_tokenizer = WhitespaceSplit()
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(tokenizer_object=built, eos_token="<end>")


def miniature(model_type: str, dtype: torch.dtype = torch.float32, **sizes: Any) -> LanguageModel:
    """Return a type built tiny, the same weights every time.

    Args:
        model_type: ``config.model_type``.
        dtype: The type of the weights.
        **sizes: Fields of its config to give another value.

    Raises:
        NotTiny: When it cannot be built so.
        InputError: When no structure is found in it.
    """
    try:
        with quiet():
            return _built(model_type, dtype, sizes)
    except (NotTiny, InputError):
        raise
    except Exception as error:  # Configs fail in every way there is.
        first = (str(error).splitlines() or [""])[0]
        raise NotTiny(f"{model_type}: {type(error).__name__}: {first}") from None


def _built(model_type: str, dtype: torch.dtype, sizes: dict[str, Any]) -> LanguageModel:
    own = _OWN.get(model_type, {}) | sizes
    config = _config(transformers.CONFIG_MAPPING[model_type](), own)
    with torch.device("meta"):
        empty = _from_config(config)
    count = sum(parameter.numel() for parameter in empty.parameters())
    if count > _MOST:
        raise NotTiny(f"{model_type}: {count:,} weights at its smallest here")
    hf = _from_config(config)
    _draw(hf)
    with torch.no_grad():
        hf.eval()(input_ids=torch.tensor([[3, 4, 5, 6]]), use_cache=False)
    return LanguageModel(hf.to(dtype), tokenizer(), f"tiny-{model_type}")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what transformers says of odd sizes and kernels that are not there to itself."""
    logging: Any = transformers.logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def _from_config(config: Any) -> Any:
    build: Any = transformers.AutoModelForCausalLM.from_config
    return build(config, attn_implementation="eager")


def _config(default: Any, own: dict[str, Any]) -> Any:
    """Return a config of the same class, tiny, and so its parts."""
    sizes = {}
    for name, size in _SIZES.items():
        if isinstance(getattr(type(default), name, None), property):
            continue
        try:
            value = getattr(default, name)
        except AttributeError:
            continue
        except Exception:  # A field that layers have each for themselves.
            value = size
        if value is not None or name in _MAY_BE_NONE:
            sizes[name] = size
    if "kv_lora_rank" in sizes:
        sizes |= _LATENT
    for name, part in list(vars(default).items()):
        if isinstance(part, transformers.PretrainedConfig):
            sizes[name] = _config(part, _OWN.get(part.model_type, {}))
    return type(default)(**(sizes | own))


@torch.no_grad()
def _draw(hf: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = hf.get_input_embeddings().weight
    for name, parameter in hf.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter is embedding:
            parameter.copy_(noise)
        elif parameter.ndim > 1:
            parameter.copy_(noise * 1.5 / WIDTH**0.5)
        elif name.endswith("bias"):
            parameter.copy_(0.2 * noise)
        else:
            parameter.add_(0.2 * noise)
