"""Random tiny models of each architecture, with random prompts and what to edit: for hypothesis."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from hypothesis import strategies as st
from tiny import CONFIGS, WORDS, build
from torch.overrides import TorchFunctionMode

from emolib.engine import hooked
from emolib.inputs.heads import Head, all_heads
from emolib.inputs.prompts import Position
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import Activations, Intervention, mean, patch, resample, scale, zero
from emolib.models.encoding import Prompts
from emolib.models.language_model import LanguageModel

Target = Head | Unit

# What a family's configs on the Hub differ in, where attention or MLP are concerned. A new row
# of the table needs none, and no sizes in `_config` either where its config is as llama's.
_OTHER_WAYS: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{}, {"scale_attn_by_inverse_layer_idx": True}, {"scale_attn_weights": False}],
    "gpt_neo": [{"kinds": ["global", "local"]}, {"kinds": ["local"]}, {"kinds": ["global"]}],
    "bloom": [{}, {"apply_residual_connection_post_layernorm": True}],
    "falcon": [
        {"new_decoder_architecture": True, "bias": True},
        {"new_decoder_architecture": True, "bias": False, "num_ln_in_parallel_attn": 1},
        {"multi_query": True, "bias": False},
        {"multi_query": False, "bias": True, "alibi": True, "parallel_attn": False},
    ],
    "gpt_neox": [
        {"use_parallel_residual": True},
        {"use_parallel_residual": False},
        {"attention_bias": False, "rotary_pct": 1.0},
    ],
    "opt": [{}, {"enable_bias": False}],
    "llama": [{"attention_bias": True, "mlp_bias": True}, {}],
    "mistral": [{"sliding_window": 3}, {"sliding_window": None}],
    "phi3": [{}, {"sliding_window": 3}],
    "qwen2": [{}, {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}],
    "qwen3": [{"attention_bias": True}, {}],
    "olmo2": [{"attention_bias": True}, {}],
    "gemma2": [{"sliding_window": 3, "attention_bias": True}, {"sliding_window": 3}],
    "gemma3_text": [{"sliding_window": 3, "attention_bias": True}, {"sliding_window": 3}],
}
# Width is heads times d_head in these, and it can be odd only without rotary embeddings.
_ONE_WIDTH = ("gpt2", "gpt_neo", "gptj", "bloom", "falcon", "gpt_neox", "opt")
_NO_ROTARY = ("gpt2", "gpt_neo", "bloom", "opt")


@dataclass(frozen=True)
class Shape:
    """A random model: its architecture, sizes and the seed of its weights.

    Attributes:
        way: Which of the family's other ways it is built in.
    """

    model_type: str
    layers: int
    heads: int
    kv_heads: int
    d_head: int
    width: int
    hidden: int
    way: int
    seed: int

    @property
    def units(self) -> int:
        return 4 * self.width if self.model_type == "bloom" else self.hidden

    def model(self, dtype: torch.dtype = torch.float64) -> LanguageModel:
        return _model(self, dtype)


def _ways(model_type: str) -> list[dict[str, Any]]:
    return _OTHER_WAYS.get(model_type, [{}])


@lru_cache(maxsize=4)
def _model(shape: Shape, dtype: torch.dtype) -> LanguageModel:
    return build(shape.model_type, _config(shape), dtype, shape.seed)


def _config(shape: Shape) -> dict[str, Any]:
    own = dict(_ways(shape.model_type)[shape.way])
    counts = {"hidden_size": shape.width, "num_attention_heads": shape.heads}
    layers = {"num_hidden_layers": shape.layers}
    context = {"max_position_embeddings": 32}
    inner = {"intermediate_size": shape.hidden}
    match shape.model_type:
        case "gpt2" | "gptj":
            sizes = {"n_embd": shape.width, "n_layer": shape.layers, "n_head": shape.heads}
            sizes |= {"n_positions": 32, "n_inner": shape.hidden}
            return own | sizes | {"rotary_dim": 2 * (shape.d_head // 3) or 2}
        case "gpt_neo":
            kinds = own.pop("kinds")
            cycle = [kinds[i % len(kinds)] for i in range(shape.layers)]
            types = {"attention_types": [[cycle, 1]], "window_size": 3}
            sizes = {"num_layers": shape.layers, "num_heads": shape.heads}
            return own | counts | sizes | inner | context | types
        case "bloom":
            return own | counts | {"n_layer": shape.layers, "n_head": shape.heads}
        case "falcon":
            falcon = {"ffn_hidden_size": shape.hidden}
            if own.get("new_decoder_architecture"):
                falcon["num_kv_heads"] = shape.kv_heads
            return own | counts | layers | context | falcon
        case "opt":
            opt = {"word_embed_proj_dim": shape.width, "ffn_dim": shape.hidden}
            return own | counts | layers | context | opt
        case "gpt_neox":
            return {"rotary_pct": 0.5} | own | counts | layers | inner | context
    if shape.model_type == "phi3":
        own |= {"pad_token_id": 0}
    if shape.model_type.startswith("gemma"):
        kinds = ["sliding_attention", "full_attention", "sliding_attention"]
        own |= {"layer_types": kinds[: shape.layers], "query_pre_attn_scalar": shape.d_head}
    grouped = {"num_key_value_heads": shape.kv_heads, "head_dim": shape.d_head}
    return own | counts | layers | inner | context | grouped


def pick(model_type: str, options: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Draw one of some options, whose order differs from architecture to architecture.

    A derandomized test draws the same places in that order for each of them.
    """
    turn = sorted(CONFIGS).index(model_type) % len(options)
    return st.sampled_from([*options[turn:], *options[:turn]])


@st.composite
def shapes(draw: st.DrawFn, model_type: str) -> Shape:
    def one(options: Sequence[Any]) -> Any:
        return draw(pick(model_type, options))

    layers, heads = one([2, 3, 2, 3, 1]), one([4, 3, 6, 2, 4, 1])
    kv_heads = one([n for n in (1, 2, 3, 6) if heads % n == 0])
    d_head = one([5, 3, 1, 8] if model_type in _NO_ROTARY else [4, 8, 12])
    width = heads * (d_head if model_type in _ONE_WIDTH else one([5, 3, 8]))
    hidden, way = one([13, 6, 20, 1]), one(range(len(_ways(model_type))))
    return Shape(model_type, layers, heads, kv_heads, d_head, width, hidden, way, one(range(99)))


@dataclass(frozen=True)
class World:
    """A random model, prompts of it, where they are edited and how many run at a time."""

    shape: Shape
    ids: tuple[tuple[int, ...], ...]
    slots: tuple[tuple[int, int], ...]
    position: Position
    batch_size: int

    @property
    def prompts(self) -> Prompts:
        return self.of(range(len(self.ids)))

    @property
    def others(self) -> Prompts:
        """Prompts of the same lengths and slots, each with other words."""
        return self.of(range(len(self.ids)), other=True)

    def of(self, rows: Sequence[int], *, other: bool = False) -> Prompts:
        ids = [self.ids[row] for row in rows]
        if other:
            ids = [tuple(word % (WORDS - 1) + 1 for word in row) for row in ids]
        texts = tuple(" ".join(f"w{word}" for word in row) for row in ids)
        return Prompts(texts, tuple(ids), tuple(self.slots[row] for row in rows))


@st.composite
def worlds(draw: st.DrawFn, model_type: str) -> World:
    def one(options: Sequence[Any]) -> Any:
        return draw(pick(model_type, options))

    shape = draw(shapes(model_type))
    position: Position = one(["all", "last", "slot", "after_slot"])
    after = position == "after_slot"
    words = random.Random(shape.seed)
    lengths = [max(1 + after, one([5, 2, 7, 1])) for _ in range(one([3, 4, 2, 3, 1]))]
    ids = tuple(tuple(words.choices(range(1, WORDS), k=length)) for length in lengths)
    ends = [words.randint(1, length - after) for length in lengths]
    slots = tuple((words.randrange(end), end) for end in ends)
    return World(shape, ids, slots, position, one(range(1, len(ids) + 1)))


def some(shape: Shape, of: type[Target] | None = None) -> st.SearchStrategy[list[Target]]:
    """Draw a set of a model's heads, or of its units."""
    heads = all_heads(shape.layers, shape.heads)
    units = [Unit(layer, i) for layer in range(shape.layers) for i in range(shape.units)]
    sets = {
        Head: st.lists(st.sampled_from(heads), min_size=1, unique=True),
        Unit: st.lists(st.sampled_from(units), min_size=1, max_size=8, unique=True),
    }
    return sets[of] if of else pick(shape.model_type, [Head, Unit]).flatmap(sets.get)


def read(
    model: LanguageModel, prompts: Prompts, targets: Sequence[Target], size: int | None = None
) -> Activations:
    """Give the activations that edits of heads or units need."""
    units = [target for target in targets if isinstance(target, Unit)]
    return hooked.activations(model, prompts, UnitSet(tuple(units)) if units else None,
                              batch_size=size)  # fmt: skip


Ablation = Callable[[Sequence[Target], Activations], Intervention]
# All but the last give z a value that does not depend on what it was: once is twice.
KINDS: Mapping[str, Ablation] = {
    "zero": lambda targets, _: zero(targets),
    "mean": mean,
    "resample": lambda targets, source: resample(targets, source, draws=2, seed=3),
    "patch": patch,
    "scale": lambda targets, _: scale(targets, -1.5),
}


class Exact(TorchFunctionMode):
    """Computes in float64 what architectures compute in float32 whatever their type.

    Norms, softmax and rotary embeddings are; with them in float64 too, equal means equal to 1e-8.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        named = {key: _double(value) for key, value in (kwargs or {}).items()}
        return func(*map(_double, args), **named)


def _double(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
