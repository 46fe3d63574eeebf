"""A model taken apart: a stem, layers and an unembedding.

transformers computes what stands before the layers (embeddings, masks, positions); the layers are
those of `emolib.engine.layers`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from emolib.engine import kernels
from emolib.engine.forwards import run_columns
from emolib.engine.layers import Layer, LayerInputs, normed
from emolib.engine.module_layers import ModuleInputs, ModuleLayer
from emolib.engine.shapes import Shape, shape_of
from emolib.engine.slices import rows_at_once, slices
from emolib.models.language_model import LanguageModel
from emolib.tracing import StopForward

_STREAM = "hidden_states"
"""What transformers calls the residual stream that a layer is given."""


@dataclass(frozen=True)
class Stem:
    """What transformers made of tokens before the first layer.

    Attributes:
        hidden: The residual stream, ``[B, W, d_model]``.
        inputs: Per layer what it is given beside that.
    """

    hidden: Tensor
    inputs: tuple[Any, ...]


class LayerwiseModel:
    """A model as a stem, layers and an unembedding.

    Attributes:
        model: The model.
        apart: Whether its layers are taken apart, or are transformers' own modules.
        layers: Its layers.
        shape: Its sizes.
    """

    def __init__(self, model: LanguageModel, *, apart: bool = True) -> None:
        """Take the model apart.

        Args:
            model: The model.
            apart: Whether its layers are to be taken apart too.

        Raises:
            ValueError: When its row does not say how layers are put together.
        """
        self.model, self.apart = model, apart
        row, count = model.arch.block, range(model.n_layers)
        if apart and row is None:
            raise ValueError(f"{model.arch.model_type}: its layers cannot be taken apart")
        self.layers: list[Any] = (
            [ModuleLayer(model, index) for index in count]
            if row is None or not apart
            else [Layer(model, index, row) for index in count]
        )
        self._final_norm: Any = model.module(model.arch.final_norm)
        self._scale, self._cap = model.logit_scale, model.logit_cap
        self.shape = shape_of_model(model)

    def stem(self, ids: Tensor, mask: Tensor, position_ids: Tensor) -> Stem:
        """Return what the layers are given of tokens.

        Args:
            ids: Token ids, ``[B, W]``.
            mask: 1 at tokens and 0 at padding, ``[B, W]``.
            position_ids: Positions, ``[B, W]``.
        """
        seen: list[dict[str, Any]] = []
        with _bypassed([layer.root for layer in self.layers], seen):
            run_columns(self.model, ids, mask, position_ids)
        hidden: Tensor = seen[0][_STREAM]
        plain = _is_plain(mask)
        inputs = tuple(
            self._inputs(layer, given, plain, position_ids)
            for layer, given in zip(self.layers, seen, strict=True)
        )
        return Stem(hidden, inputs)

    def _inputs(
        self, layer: Any, given: dict[str, Any], plain: bool, position_ids: Tensor
    ) -> LayerInputs | ModuleInputs:
        if not self.apart:
            rest = {name: value for name, value in given.items() if name not in ("self", _STREAM)}
            return ModuleInputs(rest, *position_ids.shape)
        attention, kind = layer.attention, self.model.arch.model_type
        bias: Tensor | None = given["attention_mask"]
        if (alibi := given.get("alibi")) is not None:
            assert bias is not None
            # Falcon's is scaled with the scores, Bloom's is not.
            factor = layer.scale if kind == "falcon" else 1.0
            bias = bias + factor * alibi.view(len(position_ids), self.model.n_heads, 1, -1)
        elif kind == "gpt_neo":
            assert bias is not None
            width = bias.shape[-1]
            allowed = attention.bias[:, :, :width, :width]
            # Added as there: padding looks at the padding before it, and at nothing after.
            bias = bias + torch.zeros_like(bias[:1]).masked_fill(
                ~allowed, torch.finfo(bias.dtype).min
            )
        # Falcon with alibi is given both, and uses alibi.
        rotary = given.get("position_embeddings") if alibi is None else None
        if kind == "gptj":
            table = attention.embed_positions.to(position_ids.device)[position_ids]
            sin, cos = table.to(self.model.hf.dtype).chunk(2, dim=-1)
            rotary = cos, sin
        if plain and bias is not None and _is_causal(bias):
            bias = None
        return LayerInputs(bias, rotary)

    def embed(self, ids: Tensor, position_ids: Tensor) -> Tensor:
        """Return the residual stream of single tokens before the first layer, ``[n, d_model]``."""
        seen: list[dict[str, Any]] = []
        with _bypassed([self.layers[0].root], seen):
            run_columns(
                self.model, ids[:, None], torch.ones_like(ids[:, None]), position_ids[:, None]
            )
        hidden: Tensor = seen[0][_STREAM]
        return hidden[:, 0]

    def logits(self, resid: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Return the logits of a residual stream after the last layer, ``[…, vocab]``.

        Args:
            resid: The stream, ``[…, d_model]``.
            tokens: Ids of the tokens whose logits are wanted, ``[k]``; None for all.
        """
        unembed: Any = self.model.hf.get_output_embeddings()
        weight, bias = unembed.weight, unembed.bias
        if tokens is not None:
            weight, bias = weight[tokens], None if bias is None else bias[tokens]
        logits = kernels.linear(normed(self._final_norm, resid), weight, bias)
        logits = logits if self._scale == 1 else logits * self._scale
        return logits if self._cap is None else self._capped(logits / self._cap) * self._cap

    def _capped(self, logits: Tensor) -> Tensor:
        return torch.tanh(logits)

    def logits_in_slices(self, resid: Tensor) -> Iterator[Tensor]:
        """Yield the logits of a stream ``[n, d_model]``, so many rows at a time as have room."""
        for rows in slices(len(resid), rows_at_once(self.shape.vocab, resid.element_size())):
            yield self.logits(resid[rows])


def shape_of_model(model: LanguageModel) -> Shape:
    """Return the sizes of a model that is in memory."""
    every = len(model.unit_layers) == model.n_layers
    # What experts hold is about as much as the units of one.
    units = model.n_units if every else 4 * model.w_o(model.heads[0]).shape[1]
    dtype = str(model.hf.dtype).removeprefix("torch.")
    d_head = int(model.w_o(model.heads[0]).shape[0])
    shape = shape_of(model.hf.config, units, dtype)
    return replace(shape, vocab=model.d_vocab, d_head=d_head, n_layers=model.n_layers)


def _is_plain(mask: Tensor) -> bool:
    return bool(mask.all())


def _is_causal(bias: Tensor) -> bool:
    """Tell whether a mask lets every token look at all before it and at nothing else."""
    if bias.shape[1] > 1:
        return False
    allowed = bias[0, 0] >= 0
    return bool((allowed == torch.ones_like(allowed).tril()).all()) and bool(
        (bias == bias[:1]).all()
    )


@contextmanager
def _bypassed(layers: list[nn.Module], seen: list[dict[str, Any]]) -> Iterator[None]:
    """Let layers note what they are given in place of running; the last one ends the forward."""

    def stub(layer: nn.Module, last: bool) -> Callable[..., Any]:
        signature = inspect.signature(type(layer).forward)

        def note(*args: Any, **options: Any) -> Any:
            seen.append(dict(signature.bind(layer, *args, **options).arguments))
            seen[-1] |= seen[-1].pop("kwargs", {})
            if last:
                raise StopForward
            # Both those who take the first of several and those who pass on all find a value.
            return seen[0][_STREAM], None

        return note

    own = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.__dict__["forward"] = stub(layer, layer is layers[-1])
    try:
        with torch.no_grad():
            yield
    except StopForward:
        pass
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.__dict__["forward"]
            if forward is not None:
                layer.__dict__["forward"] = forward
