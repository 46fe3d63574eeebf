"""How a layer of each architecture is put together: one row a ``config.model_type``.

`emolib.architectures` says where the parts are that experiments edit; this says how they are
joined, for the passes that compute no more of a model than they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal["parts", "per_head", "grouped"]


@dataclass(frozen=True)
class Block:
    """How a layer of an architecture is put together. Paths are from a layer.

    Attributes:
        qkv: The projections of queries, keys and values: three, or one that makes all.
        up: The projections that the MLP units come from: one, or gate and up; or one for both.
        attn_norm: The norm before attention, None without one; the first path that is there.
        mlp_norm: The norm before the MLP, likewise.
        act: The activation of the MLP.
        layout: How one projection holds all: queries, then keys, then values; the three of a head
            side by side; or groups of queries with their key and value.
        gated: Whether units are ``act(gate) * up``.
        rotary: How positions turn queries and keys, None where they do not.
        qk_norm: Whether queries and keys are normed, head by head or as a whole.
        scale: Attribute of the attention with the factor of the scores; None for 1.
    """

    qkv: tuple[str, ...]
    up: tuple[str, ...]
    attn_norm: tuple[str, ...]
    mlp_norm: tuple[str, ...]
    act: str
    layout: Layout = "parts"
    gated: bool = False
    rotary: Literal["halves", "pairs"] | None = None
    qk_norm: Literal["head", "whole"] | None = None
    scale: str | None = "scaling"


def _split(attention: str) -> tuple[str, ...]:
    return tuple(f"{attention}.{name}" for name in ("q_proj", "k_proj", "v_proj"))


def _llama(
    attn_norm: tuple[str, ...] = ("input_layernorm",),
    mlp_norm: tuple[str, ...] = ("post_attention_layernorm",),
    qk_norm: Literal["head", "whole"] | None = None,
    qkv: tuple[str, ...] = _split("self_attn"),
    up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj"),
    act: str = "mlp.act_fn",
) -> Block:
    return Block(qkv, up, attn_norm, mlp_norm, act, gated=True, rotary="halves", qk_norm=qk_norm)


_GEMMA = ("pre_feedforward_layernorm",)
BLOCKS = {
    "gpt2": Block(("attn.c_attn",), ("mlp.c_fc",), ("ln_1",), ("ln_2",), "mlp.act"),
    "gpt_neo": Block(
        _split("attn.attention"),
        ("mlp.c_fc",),
        ("ln_1",),
        ("ln_2",),
        "mlp.act",
        scale=None,
    ),
    "gptj": Block(
        _split("attn"),
        ("mlp.fc_in",),
        ("ln_1",),
        (),
        "mlp.act",
        rotary="pairs",
        scale="scale_attn",
    ),
    "bloom": Block(
        ("self_attention.query_key_value",),
        ("mlp.dense_h_to_4h",),
        ("input_layernorm",),
        ("post_attention_layernorm",),
        "mlp.gelu_impl",
        "per_head",
        scale="inv_norm_factor",
    ),
    "falcon": Block(
        ("self_attention.query_key_value",),
        ("mlp.dense_h_to_4h",),
        ("ln_attn", "input_layernorm"),
        ("ln_mlp", "post_attention_layernorm"),
        "mlp.act",
        "grouped",
        rotary="halves",
        scale="inv_norm_factor",
    ),
    "gpt_neox": Block(
        ("attention.query_key_value",),
        ("mlp.dense_h_to_4h",),
        ("input_layernorm",),
        ("post_attention_layernorm",),
        "mlp.act",
        "per_head",
        rotary="halves",
    ),
    "opt": Block(
        _split("self_attn"),
        ("fc1",),
        ("self_attn_layer_norm",),
        ("final_layer_norm",),
        "activation_fn",
    ),
    "llama": _llama(),
    "mistral": _llama(),
    "phi3": _llama(qkv=("self_attn.qkv_proj",), up=("mlp.gate_up_proj",), act="mlp.activation_fn"),
    "qwen2": _llama(),
    "qwen3": _llama(qk_norm="head"),
    "olmo2": _llama((), (), qk_norm="whole"),
    "gemma2": _llama(mlp_norm=_GEMMA),
    "gemma3_text": _llama(mlp_norm=_GEMMA, qk_norm="head"),
}
