"""Layers whose backward pass carries relevance: LRP coefficients in place of gradients.

What they put out is what `emolib.engine.layers` puts out; the way back is another one. The scale of
a norm and the pattern of attention are constants, an activation f passes ``f(a) / a`` back, and of
a product of two paths each passes half (RelP, arXiv 2508.21258; the rules are those of layer-wise
relevance propagation, Bach et al. 2015, and of its form for transformers, Ali et al. 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emolib.engine.layers import KeysValues, Layer, project
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel

# Where an input is this small its quotient is the slope there, of a step that is not.
_SMALL, _STEP = 1e-6, 1e-3
# Inputs so large that eps decides nothing.
_LARGE = 1e3


class HeldNorm:
    """A norm whose scale is a constant on the way back: ``(x − c·mean(x)) · gain / scale + bias``.

    What it is made of is told by what it puts out: c by whether a shift of all dims changes that,
    the bias by 0, the gain by inputs that are large. The scale of an input is then the factor
    between ``(x − c·mean(x)) · gain`` and what comes out.
    """

    def __init__(self, norm: Any) -> None:
        """Hold the norm.

        Args:
            norm: A module or a kernel.
        """
        self._norm = norm
        self._made: tuple[bool, Tensor, Tensor] | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """Return what comes out of the norm, of values ``[…, width]``."""
        if not values.requires_grad:
            out: Tensor = self._norm(values)
            return out
        centred, gain, bias = self._parts(values)
        wide = _wide(values)
        scaled = (wide - wide.mean(-1, keepdim=True) if centred else wide) * gain
        with torch.no_grad():
            written = _wide(self._norm(values)) - bias
            square = scaled.square().sum(-1, keepdim=True)
            tiny = torch.finfo(square.dtype).tiny
            scale = (written * scaled).sum(-1, keepdim=True) / square.clamp(min=tiny)
        return (scaled * scale + bias).to(values.dtype)

    @torch.no_grad()
    def _parts(self, values: Tensor) -> tuple[bool, Tensor, Tensor]:
        """Return whether it centres, its gain and its bias, ``[width]`` each."""
        if self._made is None:
            width = values.shape[-1]
            signs = torch.ones(width, dtype=values.dtype, device=values.device)
            signs[1::2] = -1
            inputs = torch.stack([0 * signs, _LARGE * signs, _LARGE * (signs + 1)])
            bias, out, shifted = _wide(self._norm(inputs))
            out, shifted = out - bias, shifted - bias
            same = (shifted - out).abs().max() <= 1e-2 * out.abs().max()
            centred = bool(same)
            drawn = _wide(inputs[1])
            drawn = drawn - drawn.mean() if centred else drawn
            self._made = centred, out / drawn * drawn.square().mean().sqrt(), bias
        return self._made


class RelevanceLayer(Layer):
    """A layer whose way back carries relevance."""

    def __init__(self, model: LanguageModel, index: int) -> None:
        """Find the modules.

        Raises:
            ValueError: When the row of its architecture does not say how layers are put together.
        """
        if model.arch.block is None:
            raise ValueError(f"{model.arch.model_type}: its layers cannot be taken apart")
        super().__init__(model, index, model.arch.block)
        self._attn_norm, self._mlp_norm = _held(self._attn_norm), _held(self._mlp_norm)
        self._post_attn, self._post_mlp = _held(self._post_attn), _held(self._post_mlp)

    def _attended(
        self, query: Tensor, own: KeysValues, shared: KeysValues | None, bias: Tensor | None
    ) -> Tensor:
        # The pattern is a constant: what comes back goes to the values alone.
        return super()._attended(query.detach(), (own[0].detach(), own[1]), shared, bias)

    def _activated_of(self, module: Any, normed: Tensor) -> Tensor:
        return self._activated(project(module, normed))

    def _activated(self, values: Tensor) -> Tensor:
        return passed(super()._activated, values)

    def _gated(self, gate: Tensor, up: Tensor) -> Tensor:
        return (gate * up.detach() + gate.detach() * up) / 2


class RelevanceModel(LayerwiseModel):
    """A model whose way back from the logits carries relevance."""

    def __init__(self, model: LanguageModel) -> None:
        """Take the model apart.

        Args:
            model: The model.

        Raises:
            ValueError: When its row does not say how layers are put together.
        """
        super().__init__(model)
        self.layers = [RelevanceLayer(model, index) for index in range(model.n_layers)]
        self._final_norm = _held(self._final_norm)

    def _capped(self, logits: Tensor) -> Tensor:
        return passed(super()._capped, logits)


def deviation(relevance: RelevanceModel, model: LayerwiseModel, batch: Batch) -> float:
    """Return how far what relevance layers put out is from what they should, on some prompts.

    Returns:
        The largest difference of a logit at the last token, over the largest logit.
    """
    columns = slice(0, batch.width)
    stem = model.stem(batch.input_ids, batch.attention_mask, batch.position_ids)
    found = []
    for one in (relevance, model):
        # What requires a gradient goes the way that is to be checked.
        resid = stem.hidden[:, None].detach().requires_grad_(one is relevance)
        with torch.set_grad_enabled(one is relevance):
            for layer, inputs in zip(one.layers, stem.inputs, strict=True):
                resid, _ = layer.step(resid, inputs, columns)
            found.append(one.logits(resid[:, 0, -1]).detach().double())
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


def passed(activation: Any, values: Tensor) -> Tensor:
    """Return an activation of values that passes f(a) / a back, its slope where a is about 0.

    Args:
        activation: f, elementwise.
        values: a.
    """
    if not values.requires_grad:
        out: Tensor = activation(values)
        return out
    with torch.no_grad():
        made = activation(values.detach().clone())
        step = torch.full_like(values[..., :1], _STEP)
        slope = (activation(step.clone()) - activation(-step)) / (2 * _STEP)
        is_small = values.abs() <= _SMALL
        share = torch.where(is_small, slope, made / torch.where(is_small, 1.0, values))
    return values * share


def _held(norm: Any) -> HeldNorm | None:
    return None if norm is None else HeldNorm(norm)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
