"""The architectures of transformers as data: one row a ``config.model_type``.

A row says where the parts are that experiments edit, and how a layer is put together, for the
passes that compute no more of a model than they need. The head outputs z of a layer are the
*input* of its attention output projection, cut into ``n_heads`` equal slices; the *output* of the
attention block has no heads in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Norm = Literal["layer", "rms", "rms_plus_one"]
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


@dataclass(frozen=True)
class Architecture:
    """One row of the table. Paths are dotted module names, as in ``named_modules()``.

    Attributes:
        model_type: ``config.model_type``.
        layers: Path of the list of layers, from the model.
        attn_out: Path of the attention output projection, from a layer.
        mlp_out: Path of the MLP down-projection, from a layer.
        final_norm: Path of the norm before the unembedding, from the model.
        norm: Its kind: LayerNorm, RMSNorm, or RMSNorm that multiplies by 1 + weight.
        post_attn_norm: Path, from a layer, of a norm on the attention output before it is added
            to the residual stream; None where there is none.
        post_mlp_norm: The same of the MLP output.
        n_layers_key: Field of the config with the number of layers.
        n_heads_key: Field of the config with the number of query heads.
        n_units_key: Field of the config with the number of MLP units; where it is empty or not
            there, units are four times the width of the residual stream.
        block: How its layers are put together; None where that is not known, so that every run
            goes through the whole model.
    """

    model_type: str
    layers: str
    attn_out: str
    mlp_out: str
    final_norm: str
    norm: Norm
    post_attn_norm: str | None = None
    post_mlp_norm: str | None = None
    n_layers_key: str = "num_hidden_layers"
    n_heads_key: str = "num_attention_heads"
    n_units_key: str = "intermediate_size"
    block: Block | None = None

    def attn_out_path(self, layer: int) -> str:
        """Return the path of a layer's attention output projection, from the model."""
        return f"{self.layers}.{layer}.{self.attn_out}"

    def attn_path(self, layer: int) -> str:
        """Return the path of a layer's attention, which puts out (output, pattern)."""
        return self.attn_out_path(layer).rpartition(".")[0]

    def mlp_out_path(self, layer: int) -> str:
        """Return the path of a layer's MLP down-projection, from the model."""
        return f"{self.layers}.{layer}.{self.mlp_out}"

    def post_attn_norm_path(self, layer: int) -> str | None:
        """Return the path of the norm on a layer's attention output, None without one."""
        return self.post_attn_norm and f"{self.layers}.{layer}.{self.post_attn_norm}"

    def post_mlp_norm_path(self, layer: int) -> str | None:
        """Return the path of the norm on a layer's MLP output, None without one."""
        return self.post_mlp_norm and f"{self.layers}.{layer}.{self.post_mlp_norm}"


def _split(attention: str) -> tuple[str, ...]:
    return tuple(f"{attention}.{name}" for name in ("q_proj", "k_proj", "v_proj"))


def _gpt(
    model_type: str, attn_out: str, mlp_out: str, keys: tuple[str, str, str], block: Block
) -> Architecture:
    n_layers, n_heads, n_units = keys
    return Architecture(
        model_type,
        layers="transformer.h",
        attn_out=attn_out,
        mlp_out=mlp_out,
        final_norm="transformer.ln_f",
        norm="layer",
        n_layers_key=n_layers,
        n_heads_key=n_heads,
        n_units_key=n_units,
        block=block,
    )


def _llama(
    model_type: str,
    norm: Norm = "rms",
    *,
    post_norms: bool = False,
    attn_norm: tuple[str, ...] = ("input_layernorm",),
    mlp_norm: tuple[str, ...] = ("post_attention_layernorm",),
    qk_norm: Literal["head", "whole"] | None = None,
    qkv: tuple[str, ...] = _split("self_attn"),
    up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj"),
    act: str = "mlp.act_fn",
) -> Architecture:
    return Architecture(
        model_type,
        layers="model.layers",
        attn_out="self_attn.o_proj",
        mlp_out="mlp.down_proj",
        final_norm="model.norm",
        norm=norm,
        post_attn_norm="post_attention_layernorm" if post_norms else None,
        post_mlp_norm="post_feedforward_layernorm" if post_norms else None,
        block=Block(
            qkv, up, attn_norm, mlp_norm, act, gated=True, rotary="halves", qk_norm=qk_norm
        ),
    )


_GPT2_KEYS = ("n_layer", "n_head", "n_inner")
_GEMMA = ("pre_feedforward_layernorm",)
_ROWS = (
    _gpt(
        "gpt2",
        "attn.c_proj",
        "mlp.c_proj",
        _GPT2_KEYS,
        Block(("attn.c_attn",), ("mlp.c_fc",), ("ln_1",), ("ln_2",), "mlp.act"),
    ),
    _gpt(
        "gpt_neo",
        "attn.attention.out_proj",
        "mlp.c_proj",
        ("num_layers", "num_heads", "intermediate_size"),
        Block(_split("attn.attention"), ("mlp.c_fc",), ("ln_1",), ("ln_2",), "mlp.act", scale=None),
    ),
    _gpt(
        "gptj",
        "attn.out_proj",
        "mlp.fc_out",
        _GPT2_KEYS,
        Block(
            _split("attn"),
            ("mlp.fc_in",),
            ("ln_1",),
            (),
            "mlp.act",
            rotary="pairs",
            scale="scale_attn",
        ),
    ),
    # Bloom has no field for its units: always four times the width.
    _gpt(
        "bloom",
        "self_attention.dense",
        "mlp.dense_4h_to_h",
        _GPT2_KEYS,
        Block(
            ("self_attention.query_key_value",),
            ("mlp.dense_h_to_4h",),
            ("input_layernorm",),
            ("post_attention_layernorm",),
            "mlp.gelu_impl",
            "per_head",
            scale="inv_norm_factor",
        ),
    ),
    _gpt(
        "falcon",
        "self_attention.dense",
        "mlp.dense_4h_to_h",
        ("num_hidden_layers", "num_attention_heads", "ffn_hidden_size"),
        Block(
            ("self_attention.query_key_value",),
            ("mlp.dense_h_to_4h",),
            ("ln_attn", "input_layernorm"),
            ("ln_mlp", "post_attention_layernorm"),
            "mlp.act",
            "grouped",
            rotary="halves",
            scale="inv_norm_factor",
        ),
    ),
    Architecture(
        "gpt_neox",
        layers="gpt_neox.layers",
        attn_out="attention.dense",
        mlp_out="mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
        norm="layer",
        block=Block(
            ("attention.query_key_value",),
            ("mlp.dense_h_to_4h",),
            ("input_layernorm",),
            ("post_attention_layernorm",),
            "mlp.act",
            "per_head",
            rotary="halves",
        ),
    ),
    Architecture(
        "opt",
        layers="model.decoder.layers",
        attn_out="self_attn.out_proj",
        mlp_out="fc2",
        final_norm="model.decoder.final_layer_norm",
        norm="layer",
        n_units_key="ffn_dim",
        block=Block(
            _split("self_attn"),
            ("fc1",),
            ("self_attn_layer_norm",),
            ("final_layer_norm",),
            "activation_fn",
        ),
    ),
    _llama("llama"),
    _llama("mistral"),
    _llama("phi3", qkv=("self_attn.qkv_proj",), up=("mlp.gate_up_proj",), act="mlp.activation_fn"),
    _llama("qwen2"),
    _llama("qwen3", qk_norm="head"),
    _llama("olmo2", post_norms=True, attn_norm=(), mlp_norm=(), qk_norm="whole"),
    _llama("gemma2", "rms_plus_one", post_norms=True, mlp_norm=_GEMMA),
    _llama("gemma3_text", "rms_plus_one", post_norms=True, mlp_norm=_GEMMA, qk_norm="head"),
)
ARCHITECTURES = {row.model_type: row for row in _ROWS}

# Configs on the Hub use either spelling for some architectures.
_OTHER_SPELLING = {
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
}


_WIDTHS = ("n_embd", "n_embed", "hidden_size")


class UnknownArchitecture(ValueError):
    """A ``config.model_type`` without a row in the table."""

    def __init__(self, model_type: str) -> None:
        """Say which ones there are and where to add one."""
        super().__init__(
            f"unknown architecture {model_type!r}; expected one of "
            f"{', '.join(sorted(ARCHITECTURES))}: to add it, write a row in "
            "emolib/models/architectures.py and a config in tests/tiny.py"
        )


def architecture(model_type: str) -> Architecture:
    """Return the row of an architecture.

    Raises:
        UnknownArchitecture: When it has none.
    """
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        raise UnknownArchitecture(model_type) from None


def shape_from_config(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return (layers, query heads per layer) from the content of a ``config.json``.

    Raises:
        UnknownArchitecture: When its ``model_type`` has no row.
        ValueError: When it does not give one of the two, or asks for parts that lie elsewhere.
    """
    row = architecture(config["model_type"])
    if config["model_type"] == "opt":
        _check_opt(config)
    return _count(config, row.n_layers_key), _count(config, row.n_heads_key)


def units_from_config(config: Mapping[str, Any]) -> int:
    """Return the MLP units per layer from the content of a ``config.json``.

    Raises:
        UnknownArchitecture: When its ``model_type`` has no row.
        ValueError: When it gives neither them nor the width of the residual stream.
    """
    key = architecture(config["model_type"]).n_units_key
    if config.get(key) is not None:
        return _count(config, key)
    widths = [name for name in _WIDTHS if config.get(name) is not None]
    if not widths:
        names = " or ".join((key, *_WIDTHS))
        raise ValueError(f"config.json: expected {names}, got none of them")
    return 4 * _count(config, widths[0])


def _check_opt(config: Mapping[str, Any]) -> None:
    # opt-350m alone is built so: no final norm, and a projection between it and the unembedding.
    width = config.get("word_embed_proj_dim")
    if not config.get("do_layer_norm_before", True):
        raise ValueError(
            "config.json: do_layer_norm_before is false: this OPT (opt-350m) has no final norm, "
            "which direct effects need; take another size (opt-125m, opt-1.3b)"
        )
    if width not in (None, config.get("hidden_size", width)):
        raise ValueError(
            f"config.json: word_embed_proj_dim is {width}, hidden_size {config['hidden_size']}: "
            "this OPT projects the stream before the unembedding, which direct effects leave out; "
            "take another size (opt-125m, opt-1.3b)"
        )


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key, config.get(_OTHER_SPELLING.get(key, key)))
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config.json: {key}: expected a whole number from 1, got {value!r}")
    return value
