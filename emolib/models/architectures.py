"""The architectures of transformers as data: one row a ``config.model_type``.

A row says where the parts are that experiments edit, and how a layer is put together, for the
passes that compute no more of a model than they need. The head outputs z of a layer are the
*input* of its attention output projection, cut into ``n_heads`` equal slices; the *output* of the
attention block has no heads in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from emolib.errors import InputError

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
        attn_out: Path of the attention output projection, from a layer. Layers in which it is not
            there, as those of hybrids that mix tokens another way, have no heads.
        mlp_out: Path of the MLP down-projection, from a layer. Layers in which it is not there,
            as mixtures of experts, have no units; None where no layer has any.
        final_norm: Path of the norm before the unembedding, from the model.
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
    mlp_out: str | None
    final_norm: str
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

    def mlp_out_path(self, layer: int) -> str | None:
        """Return the path of a layer's MLP down-projection, from the model, None without one."""
        return self.mlp_out and f"{self.layers}.{layer}.{self.mlp_out}"

    def post_attn_norm_path(self, layer: int) -> str | None:
        """Return the path of the norm on a layer's attention output, None without one."""
        return self.post_attn_norm and f"{self.layers}.{layer}.{self.post_attn_norm}"

    def post_mlp_norm_path(self, layer: int) -> str | None:
        """Return the path of the norm on a layer's MLP output, None without one."""
        return self.post_mlp_norm and f"{self.layers}.{layer}.{self.post_mlp_norm}"


def _split(attention: str) -> tuple[str, ...]:
    return tuple(f"{attention}.{name}" for name in ("q_proj", "k_proj", "v_proj"))


def _gpt(
    model_type: str,
    attn_out: str,
    mlp_out: str,
    keys: tuple[str, str, str],
    block: Block | None,
) -> Architecture:
    n_layers, n_heads, n_units = keys
    return Architecture(
        model_type,
        layers="transformer.h",
        attn_out=attn_out,
        mlp_out=mlp_out,
        final_norm="transformer.ln_f",
        n_layers_key=n_layers,
        n_heads_key=n_heads,
        n_units_key=n_units,
        block=block,
    )


def _llama(
    model_type: str,
    *,
    post_norms: bool = False,
    attn_norm: tuple[str, ...] = ("input_layernorm",),
    mlp_norm: tuple[str, ...] = ("post_attention_layernorm",),
    qk_norm: Literal["head", "whole"] | None = None,
    qkv: tuple[str, ...] = _split("self_attn"),
    up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj"),
    act: str = "mlp.act_fn",
    gated: bool = True,
    mlp_out: str = "mlp.down_proj",
) -> Architecture:
    return Architecture(
        model_type,
        layers="model.layers",
        attn_out="self_attn.o_proj",
        mlp_out=mlp_out,
        final_norm="model.norm",
        post_attn_norm="post_attention_layernorm" if post_norms else None,
        post_mlp_norm="post_feedforward_layernorm" if post_norms else None,
        block=Block(
            qkv, up, attn_norm, mlp_norm, act, gated=gated, rotary="halves", qk_norm=qk_norm
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
        n_units_key="ffn_dim",
        block=Block(
            _split("self_attn"),
            ("fc1",),
            ("self_attn_layer_norm",),
            ("final_layer_norm",),
            "activation_fn",
        ),
    ),
    # Its projection of queries, keys and values is cut for the parts of a cluster.
    _gpt("codegen", "attn.out_proj", "mlp.fc_out", _GPT2_KEYS, None),
    # Its MLPs add the stream themselves. They have no field: always four times the width.
    Architecture(
        "mpt",
        layers="transformer.blocks",
        attn_out="attn.out_proj",
        mlp_out="ffn.down_proj",
        final_norm="transformer.norm_f",
        n_layers_key="n_layers",
        n_heads_key="n_heads",
        n_units_key="",
    ),
    _llama("llama"),
    _llama("gemma"),
    _llama("ministral"),
    _llama("seed_oss"),
    _llama("olmo3", post_norms=True, attn_norm=(), mlp_norm=(), qk_norm="whole"),
    _llama("starcoder2", mlp_out="mlp.c_proj", up=("mlp.c_fc",), act="mlp.act", gated=False),
    _llama("nemotron", up=("mlp.up_proj",), gated=False),
    _llama("mistral"),
    _llama("phi3", qkv=("self_attn.qkv_proj",), up=("mlp.gate_up_proj",), act="mlp.activation_fn"),
    _llama("qwen2"),
    _llama("qwen3", qk_norm="head"),
    _llama("olmo2", post_norms=True, attn_norm=(), mlp_norm=(), qk_norm="whole"),
    _llama("gemma2", post_norms=True, mlp_norm=_GEMMA),
    _llama("gemma3_text", post_norms=True, mlp_norm=_GEMMA, qk_norm="head"),
)
ARCHITECTURES = {row.model_type: row for row in _ROWS}

# Configs on the Hub use either spelling for some architectures.
_OTHER_SPELLING = {
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
}


_WIDTHS = ("n_embd", "n_embed", "hidden_size", "d_model")
# How configs of types without a row of their own call the two.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
_UNITS = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_EXPERTS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_routed_experts",
)
# Kinds of layers that mix tokens without heads, or do not mix them. Of a kind that is not here the
# loaded model shows whether it has any.
_NO_HEADS = ("linear", "mamba", "conv", "recurrent", "lightning", "mlp", "moe")
_GIVEN: dict[str, Architecture] = {}
BY_HAND = (
    "give its row by hand, as [architectures.TYPE] in a profile or with emolib.models.register"
)
"""What to do where a structure is not found, or not proven."""


def register(row: Architecture) -> None:
    """Add a row from outside, for a model type without one, or in place of the one it has.

    What it says is proven on the loaded model before anything is computed; see
    `emolib.engine.proofs`.

    >>> register(Architecture("my_type", "model.layers", "attn.o_proj", "mlp.down", "model.norm"))
    >>> architecture("my_type").attn_out_path(2)
    'model.layers.2.attn.o_proj'
    """
    _GIVEN[row.model_type] = row


def register_all(table: Mapping[str, Mapping[str, str]]) -> None:
    """Add rows by model type, each given as texts by field, as a profile has them.

    Raises:
        InputError: When a field is not one of a row, or one is missing.
    """
    known = {f.name: f for f in fields(Architecture) if f.name not in ("model_type", "block")}
    needed = [name for name, f in known.items() if f.default is MISSING and name != "mlp_out"]
    for kind, row in table.items():
        where = f"architectures.{kind}"
        if unknown := sorted(row.keys() - known.keys()):
            raise InputError(
                f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(known)}"
            )
        if missing := [name for name in needed if name not in row]:
            raise InputError(f"{where}: the key {missing[0]!r} is missing; expected a path")
        given: dict[str, Any] = {"mlp_out": None, **row}
        register(Architecture(kind, **given))


def is_proven(model_type: str) -> bool:
    """Tell whether the row of a type is the table's, which tests prove; others are, on the model.

    Args:
        model_type: ``config.model_type``.
    """
    return model_type in ARCHITECTURES and not is_given(model_type)


def is_given(model_type: str) -> bool:
    """Tell whether the row of a type was given by hand."""
    return model_type in _GIVEN


def known_row(model_type: str) -> Architecture | None:
    """Return the row of an architecture, by hand or of the table; None where it has none."""
    return _GIVEN.get(model_type) or ARCHITECTURES.get(model_type)


class UnknownArchitecture(ValueError):
    """A ``config.model_type`` without a row in the table."""

    def __init__(self, model_type: str) -> None:
        """Say which ones there are and where to add one."""
        super().__init__(
            f"unknown architecture {model_type!r}; expected one of "
            f"{', '.join(sorted(ARCHITECTURES))}, or another decoder of transformers; {BY_HAND}"
        )


def architecture(model_type: str) -> Architecture:
    """Return the row of an architecture.

    Raises:
        UnknownArchitecture: When it has none.
    """
    row = known_row(model_type)
    if row is None:
        raise UnknownArchitecture(model_type)
    return row


def of_text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a ``config.json`` that is about the text decoder."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


MOST = 4096
"""Layers of a model, and heads of a layer, beyond which a number is a mistake."""


def shape_from_config(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return (layers, query heads per layer) from the content of a ``config.json``.

    Raises:
        ValueError: When it does not give one of the two, one is beyond what any model has, or it
            asks for parts that lie elsewhere.
    """
    layers, heads = _shape(config)
    for count, what in ((layers, "layers"), (heads, "attention heads a layer")):
        if count > MOST:
            raise ValueError(f"config.json: {count:.3g} {what}; expected at most {MOST}")
    return layers, heads


def _shape(config: Mapping[str, Any]) -> tuple[int, int]:
    row = known_row(config["model_type"])
    if config["model_type"] == "opt":
        _check_opt(config)
    text = of_text(config)
    if row is not None and (row.n_layers_key in text or row.n_layers_key in _OTHER_SPELLING):
        return _count(text, row.n_layers_key), _count(text, row.n_heads_key)
    kinds = text.get("layers_block_type")
    if all(text.get(key) is None for key in _LAYERS) and isinstance(kinds, list):
        return len(kinds), _count(text, _named(text, _HEADS))
    for keys, what in ((_LAYERS, "layers"), (_HEADS, "attention heads")):
        if all(text.get(key) is None for key in keys):
            raise ValueError(
                f"config.json: expected a number of {what} ({keys[0]}), got none, so that a "
                f"{config['model_type']!r} has none, or calls it otherwise; {BY_HAND}"
            )
    return _count(text, _named(text, _LAYERS)), _count(text, _named(text, _HEADS))


def _named(config: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return the first of some fields that a config has, the first of all where it has none."""
    return next((key for key in keys if config.get(key) is not None), keys[0])


def head_layers_from_config(config: Mapping[str, Any], n_layers: int) -> tuple[int, ...]:
    """Return the layers that have attention heads, from the content of a ``config.json``.

    Args:
        config: The content.
        n_layers: Number of layers.
    """
    text, every = of_text(config), range(n_layers)
    for key in ("layer_types", "layers_block_type"):
        kinds = text.get(key)
        if isinstance(kinds, list) and len(kinds) == n_layers:
            return tuple(i for i in every if not str(kinds[i]).startswith(_NO_HEADS))
    for key in ("attn_layer_indices", "full_attn_idxs"):
        if isinstance(indices := text.get(key), list):
            return tuple(layer for layer in every if layer in indices)
    period, offset = text.get("attn_layer_period"), text.get("attn_layer_offset")
    if isinstance(period, int) and isinstance(offset, int):
        return tuple(layer for layer in every if layer % period == offset % period)
    return tuple(every)


def why_no_units(config: Mapping[str, Any]) -> str | None:
    """Return why a model has no MLP units from the content of a ``config.json``, None if it has."""
    text = of_text(config)
    for key in _EXPERTS:
        count = text.get(key)
        count = max(count, default=0) if isinstance(count, list) else count
        if isinstance(count, int) and not isinstance(count, bool) and count > 1:
            return f"its MLPs are mixtures of experts ({key} {count}), where units come and go"
    return None


def active_width(config: Mapping[str, Any]) -> int:
    """Return how many units of a mixture of experts a token goes through, about: for costs.

    Args:
        config: The content of a ``config.json``.
    """
    text = of_text(config)

    def number(*keys: str) -> int:
        return next((v for k in keys if isinstance(v := text.get(k), int) and v), 0)

    width = number("moe_intermediate_size", "intermediate_size", *_UNITS) or 4 * number(*_WIDTHS)
    return width * (number("num_experts_per_tok", "moe_k", "top_k_experts") or 1) + number(
        "shared_expert_intermediate_size"
    )


def units_from_config(config: Mapping[str, Any]) -> int:
    """Return the MLP units per layer from the content of a ``config.json``.

    Raises:
        ValueError: When it has none, or gives neither them nor the width of the residual stream.
    """
    row, text = known_row(config["model_type"]), of_text(config)
    if reason := why_no_units(config):
        raise ValueError(f"config.json: no MLP units: {reason}")
    key = row.n_units_key if row is not None else _named(text, _UNITS)
    if text.get(key) is not None:
        return _count(text, key)
    widths = [name for name in _WIDTHS if text.get(name) is not None]
    if not widths:
        names = " or ".join((key, *_WIDTHS))
        raise ValueError(f"config.json: expected {names}, got none of them")
    return 4 * _count(text, widths[0])


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
