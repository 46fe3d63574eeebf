"""The layers of every architecture, taken apart: what resuming, sharing and batching work on.

transformers computes what stands before the layers (embeddings, masks, positions), and its
modules hold the weights; how a layer puts them together is written here once for all
architectures, from one table, and tested against transformers row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from torch import Tensor, nn

from emolib.engine import kernels
from emolib.engine.kernels import Activation
from emolib.models.architectures import Block
from emolib.models.language_model import LanguageModel


@dataclass(frozen=True)
class LayerInputs:
    """What a layer is given beside the residual stream, for W columns of B prompts.

    Attributes:
        bias: Added to the scores, ``[B, 1 or H, W, W]``; None where attention is plain causal.
        rotary: Cosines and sines of the positions, each ``[B or 1, W, …]``, or None.
    """

    bias: Tensor | None
    rotary: tuple[Tensor, Tensor] | None

    def bias_of(self, tokens: slice, columns: int) -> Tensor | None:
        """Return the bias of some tokens over the first columns."""
        return None if self.bias is None else self.bias[:, :, tokens, :columns]

    def of(self, rows: list[int]) -> LayerInputs:
        """Return what the layer is given of some of the prompts."""

        def some(part: Tensor) -> Tensor:
            return part if part.shape[0] == 1 else part[rows]

        rotary = self.rotary and (some(self.rotary[0]), some(self.rotary[1]))
        return LayerInputs(None if self.bias is None else some(self.bias), rotary)

    def rotary_of(self, tokens: slice) -> tuple[Tensor, Tensor] | None:
        """Return cosines and sines of some tokens."""
        if self.rotary is None:
            return None
        cos, sin = self.rotary
        return cos[:, tokens], sin[:, tokens]


KeysValues = tuple[Tensor, Tensor]
Input = Literal["all", "q", "k", "v"]
"""By which of its inputs a head reads another stream: queries, keys, values, or all three."""
Keep = Callable[[Tensor, Tensor], KeysValues]
"""From keys and values of tokens, ``[B, k, H_kv, S, d_head]``, to those that a row looks at."""


@dataclass(frozen=True)
class Edits:
    """What is done in one layer while it runs.

    Attributes:
        z: From z of all heads, ``[B, k, S, H * d_head]``, to the one that goes on.
        units: From the units' activations, ``[B, k, S, n_units]``, to those that go on.
        note: Sees what the projections put out, ``attn`` and ``mlp``, ``[B, k, S, d_model]``.
        stream: From the residual stream after the layer, ``[B, k, S, d_model]``, to the one that
            goes on; it may be changed in place.
    """

    z: Callable[[Tensor], Tensor] | None = None
    units: Callable[[Tensor], Tensor] | None = None
    note: Callable[[str, Tensor], None] | None = None
    stream: Callable[[Tensor], Tensor] | None = None


NOTHING = Edits()


class Layer:
    """One layer: its weights, and the steps between them as functions."""

    def __init__(self, model: LanguageModel, index: int, row: Block) -> None:
        """Find the modules."""
        arch = model.arch
        self.root = model.module(f"{arch.layers}.{index}")
        self._row = row
        self.attention: Any = model.module(arch.attn_path(index))
        self._attn_norm = kernels.fused_norm(self._first(row.attn_norm))
        self._mlp_norm = kernels.fused_norm(self._first(row.mlp_norm))
        self._qkv = [self.root.get_submodule(path) for path in row.qkv]
        self._up = [self.root.get_submodule(path) for path in row.up]
        self._out = model.module(model.attn_out(index))
        self._down = model.module(model.mlp_out(index))
        self._post_attn, self._post_mlp = (
            None if path is None else kernels.fused_norm(model.module(path))
            for path in (arch.post_attn_norm_path(index), arch.post_mlp_norm_path(index))
        )
        self._q_norm: Any = None
        self._k_norm: Any = None
        if row.qk_norm is not None:
            self._q_norm = kernels.fused_norm(self.attention.get_submodule("q_norm"))
            self._k_norm = kernels.fused_norm(self.attention.get_submodule("k_norm"))
        self._act = self.root.get_submodule(row.act)
        self._fused = kernels.activation_of(self._act)
        self.n_heads = model.n_heads
        self.d_head = _in_width(self._out) // model.n_heads
        self.scale = _scale(self.attention, row.scale)
        self.cap: float | None = getattr(self.attention, "attn_logit_softcapping", None)
        self.parallel = is_parallel(model.hf.config)

    def modules(self) -> list[nn.Module]:
        """Return the projections."""
        return [*self._qkv, *self._up, self._out, self._down]

    def _first(self, paths: tuple[str, ...]) -> nn.Module | None:
        for path in paths:
            if hasattr(self.root, path):
                return self.root.get_submodule(path)
        return None

    def step(
        self,
        resid: Tensor,
        inputs: LayerInputs,
        columns: slice,
        shared: KeysValues | None = None,
        *,
        z: Tensor | None = None,
        last: bool = False,
        crop: bool = False,
        keep: Keep | None = None,
        edits: Edits = NOTHING,
    ) -> tuple[Tensor, Tensor]:
        """Return the residual stream after the layer, and z as it went on.

        Args:
            resid: The residual stream before the layer, ``[B, k, S, d_model]``.
            inputs: What else the layer is given.
            columns: Which columns of the prompts the S tokens are.
            shared: Keys and values of the columns before them; see `z`.
            z: z of the heads where it is known.
            last: Whether the layer is wanted of the last token alone: S is 1 in what comes.
            crop: The same, but for z.
            keep: See `z`.
            edits: What is done on the way.
        """
        if z is None:
            z = self.z(resid, inputs, columns, shared, last=last, keep=keep)
        z = z if edits.z is None else edits.z(z)
        there = z[:, :, -1:] if crop else z
        resid = resid[:, :, -1:] if last or crop else resid
        after = self.finish(resid, there, edits)
        return after if edits.stream is None else edits.stream(after), z

    def pattern(
        self, resid: Tensor, inputs: LayerInputs, queries: slice, keys: Tensor | None
    ) -> Tensor:
        """Return how much some tokens attend to every column, ``[B, H, queries, columns]``.

        Args:
            resid: The residual stream before the layer, ``[B, S, d_model]``: of the tokens alone
                where keys are given, of all columns where not.
            inputs: What else the layer is given.
            queries: Which columns the tokens are.
            keys: Of all columns up to the last of them, ``[B, H_kv, columns, d_head]``.
        """
        resid = resid[:, None]
        if keys is None:
            whole = slice(0, resid.shape[2])
            _, key, _ = self.qkv(self._normed(resid), inputs.rotary_of(whole))
            keys, resid = key[:, 0, :, : queries.stop], resid[:, :, queries]
        query, _, _ = self.qkv(self._normed(resid), inputs.rotary_of(queries))
        bias = inputs.bias_of(queries, queries.stop)
        return kernels.pattern(query[:, 0], keys, bias, scale=self.scale, cap=self.cap)

    def z(
        self,
        resid: Tensor,
        inputs: LayerInputs,
        columns: slice,
        shared: KeysValues | None = None,
        *,
        last: bool = False,
        keep: Keep | None = None,
    ) -> Tensor:
        """Return z of all heads, ``[B, k, S, H * d_head]``, of k rows of each of B prompts.

        Args:
            resid: The residual stream before the layer, ``[B, k, S, d_model]``.
            inputs: What else the layer is given.
            columns: Which columns of the prompts the S tokens are.
            shared: Keys and values of the columns before them, which the rows of a prompt share,
                each ``[B, H_kv, P, d_head]``; None where there are none.
            last: z of the last of the tokens alone is wanted: S is 1 there.
            keep: From the keys and values of the tokens, ``[B, k, H_kv, S, d_head]``, to those of
                the row that they look at; None for these themselves.
        """
        rotary = inputs.rotary_of(columns)
        query, key, value = self.qkv(self._normed(resid), rotary, last=last)
        own = (key, value) if keep is None else keep(key, value)
        looking = slice(columns.stop - 1, columns.stop) if last else columns
        return self._attended(query, own, shared, inputs.bias_of(looking, columns.stop))

    def _attended(
        self, query: Tensor, own: KeysValues, shared: KeysValues | None, bias: Tensor | None
    ) -> Tensor:
        return kernels.attend(query, own, shared, bias, scale=self.scale, cap=self.cap)

    def reads(
        self,
        ours: Tensor,
        theirs: Tensor,
        inputs: LayerInputs,
        columns: slice,
        shared: KeysValues | None = None,
    ) -> dict[Input, Tensor]:
        """Return z of all heads, had they read another stream by one input or by all three.

        Args:
            ours: That stream, ``[B, k, S, d_model]``.
            theirs: The one that they read by their other inputs, ``[B, 1, S, d_model]``.
            inputs: What else the layer is given.
            columns: Which columns of the prompts the S tokens are.
            shared: As in `step`.

        Returns:
            By input z, ``[B, k, S, H * d_head]``.
        """
        rotary, rows = inputs.rotary_of(columns), ours.shape[1]
        query, key, value = self.qkv(self._normed(ours), rotary)
        others = self.qkv(self._normed(theirs), rotary)
        q, k, v = (part.expand(-1, rows, -1, -1, -1) for part in others)
        mixes: dict[Input, tuple[Tensor, KeysValues]] = {
            "all": (query, (key, value)),
            "q": (query, (k, v)),
            "k": (q, (key, v)),
            "v": (q, (k, value)),
        }
        bias = inputs.bias_of(columns, columns.stop)
        return {
            name: kernels.attend(asks, own, shared, bias, scale=self.scale, cap=self.cap)
            for name, (asks, own) in mixes.items()
        }

    def _normed(self, resid: Tensor) -> Tensor:
        return normed(self._attn_norm, resid)

    def qkv(
        self, normed: Tensor, rotary: tuple[Tensor, Tensor] | None, *, last: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries ``[B, k, S, H, d_head]``, keys and values ``[B, k, H_kv, S, d_head]``.

        Args:
            normed: Shape ``[B, k, S, d_model]``.
            rotary: Cosines and sines of the S positions.
            last: Whether the query of the last token alone is wanted: S is 1 there.
        """
        query, key, value = self._apart(self._made(normed, last=last))
        query = query[:, :, -1:] if last else query
        if self._row.qk_norm == "head":
            query, key = self._qk_normed(query, key)
        if rotary is not None and self._row.rotary is not None:
            halves = self._row.rotary == "halves"
            turn = kernels.rotate_halves if halves else kernels.rotate_pairs
            cos, sin = rotary
            key = turn(key, cos, sin)
            query = turn(query, cos[:, -1:], sin[:, -1:]) if last else turn(query, cos, sin)
        return query, key.transpose(2, 3), value.transpose(2, 3)

    def _made(self, normed: Tensor, *, last: bool) -> list[Tensor]:
        """Return what the projections of queries, keys and values put out."""
        if not last or (len(self._qkv) == 1 and self._row.layout != "parts"):
            return [project(part, normed) for part in self._qkv]
        if len(self._qkv) == 3:
            first, *rest = self._qkv
            return [project(first, normed[:, :, -1:]), *(project(o, normed) for o in rest)]
        weight, bias = _weights(self._qkv[0])
        queries = slice(self.n_heads * self.d_head)
        keys_values = slice(queries.stop, None)
        query = kernels.linear(normed[:, :, -1:], weight[queries], _some(bias, queries))
        others = kernels.linear(normed, weight[keys_values], _some(bias, keys_values))
        return [query, *others.chunk(2, dim=-1)]

    def _qk_normed(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return normed(self._q_norm, query), normed(self._k_norm, key)

    def _apart(self, made: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        if self._row.qk_norm == "whole":
            query, key, value = made
            made = [*self._qk_normed(query, key), value]
        heads, width = self.n_heads, self.d_head
        if len(made) == 3:
            query, key, value = (_cut(part, (-1, width)) for part in made)
            return query, key, value
        match self._row.layout:
            case "parts":
                cut = _cut(made[0], (-1, width))
                others = (cut.shape[-2] - heads) // 2
                query, key = cut[..., :heads, :], cut[..., heads:-others, :]
                return query, key, cut[..., -others:, :]
            case "per_head":
                query, key, value = _cut(made[0], (heads, 3, width)).unbind(-2)
                return query, key, value
            case "grouped":
                return self._ungroup(made[0])
            case _:
                assert_never(self._row.layout)

    def _ungroup(self, made: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take Falcon's groups of queries, with one key and one value each, apart."""
        attention = self.attention
        if attention.new_decoder_architecture:
            groups = attention.num_kv_heads
        else:
            groups = 1 if attention.multi_query else self.n_heads
        cut = _cut(made, (groups, -1, self.d_head))
        query = cut[..., :-2, :].flatten(-3, -2)
        return query, cut[..., -2, :], cut[..., -1, :]

    def finish(
        self,
        resid: Tensor,
        z: Tensor,
        edits: Edits = NOTHING,
    ) -> Tensor:
        """Return the residual stream after the layer.

        Args:
            resid: The residual stream before it, ``[…, d_model]``.
            z: What its heads put out, ``[…, H * d_head]``.
            edits: What is done on the way, but for z.
        """
        written = project(self._out, z)
        if edits.note is not None:
            edits.note("attn", written)
        written = normed(self._post_attn, written)
        # What was noted stays what it was.
        own = edits.note is None
        middle = resid if self.parallel else _added(written, resid, own=own)
        units = self._units(self._mlp_input(resid, middle))
        if edits.units is not None:
            units = edits.units(units)
        down = project(self._down, units)
        if edits.note is not None:
            edits.note("mlp", down)
        down = normed(self._post_mlp, down)
        if self.parallel:
            down = _added(down, written, own=own)
        return _added(down, middle, own=own or self.parallel)

    def _mlp_input(self, resid: Tensor, middle: Tensor) -> Tensor:
        if self._mlp_norm is None and self.parallel:
            return self._normed(resid)
        return normed(self._mlp_norm, middle)

    def _units(self, normed: Tensor) -> Tensor:
        """Return the activations of the MLP units, the input of the down-projection."""
        if not self._row.gated:
            return self._activated_of(self._up[0], normed)
        if len(self._up) == 1:
            gate, up = project(self._up[0], normed).chunk(2, dim=-1)
            return self._gated(self._activated(gate), up)
        up = project(self._up[1], normed)
        return self._gated(self._activated_of(self._up[0], normed), up)

    def _activated_of(self, module: Any, normed: Tensor) -> Tensor:
        """Return what comes out of a projection, activated, in one pass where there is a kernel."""
        if self._fused is not None:
            return project(module, normed, self._fused)
        return self._activated(project(module, normed))

    def _gated(self, gate: Tensor, up: Tensor) -> Tensor:
        return gate * up if gate.requires_grad or up.requires_grad else gate.mul_(up)

    def _activated(self, values: Tensor) -> Tensor:
        if self._fused is None:
            activated: Tensor = self._act(values)
            return activated
        return kernels.activate(values, self._fused)


def _cut(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return values with their last dim cut into several."""
    return values.reshape(*values.shape[:-1], *sizes)


def normed(norm: Any, values: Tensor) -> Tensor:
    """Return what comes out of a norm, or the values as they are where there is none."""
    if norm is None:
        return values
    normed: Tensor = norm(values)
    return normed


def _added(written: Tensor, resid: Tensor, *, own: bool) -> Tensor:
    """Return the stream with what was written to it; in its place, where nobody else holds it."""
    own = own and not written.requires_grad and written.dtype == resid.dtype
    return written.add_(resid) if own else written + resid


def _weights(module: Any) -> tuple[Tensor, Tensor | None]:
    """Return a projection's weight, ``[out, in]``, and bias."""
    # transformers' Conv1D stores [in, out], nn.Linear [out, in].
    turned = type(module).__name__ == "Conv1D"
    return module.weight.T if turned else module.weight, module.bias


def _some(bias: Tensor | None, rows: slice) -> Tensor | None:
    return None if bias is None else bias[rows]


def project(module: Any, values: Tensor, activation: Activation = kernels.PLAIN) -> Tensor:
    """Return what comes out of a projection, activated."""
    return kernels.linear(values, *_weights(module), activation)


def _in_width(module: Any) -> int:
    return int(module.weight.shape[0 if type(module).__name__ == "Conv1D" else 1])


def _scale(attention: Any, name: str | None) -> float:
    if name is None:
        return 1.0
    value = float(getattr(attention, name))
    return 1 / value if name == "scale_attn" else value


def is_parallel(config: Any) -> bool:
    """Tell whether the MLP reads the stream before attention wrote to it."""
    if config.model_type == "falcon":
        return bool(config.new_decoder_architecture or config.parallel_attn)
    return config.model_type == "gptj" or bool(getattr(config, "use_parallel_residual", False))
