"""Norms with their scale frozen: the linear maps between what a part writes and the unembedding.

Direct effects are read through them (docs/science.md, "Frozen norms"), as in Wang et
al. (2211.00593).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from emolib.models.language_model import LanguageModel

_EPS = ("variance_epsilon", "eps", "epsilon", "norm_eps", "layer_norm_eps")
_USUAL_EPS = (1e-5, 1e-6, 1e-8, 1e-12, float(torch.finfo(torch.float32).eps), 0.0)
# Norms compute in float32 whatever their type, or round to it.
_NORM_CLOSE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}


class UnknownNorm(ValueError):
    """A norm that is none of those known here, so that its scale cannot be frozen."""


@dataclass(frozen=True)
class FrozenNorm:
    """One norm at the scales it had in some run, without its bias.

    Attributes:
        factor: Gain over scale, shape ``[n, d_model]``, per prompt.
        centred: Whether it takes the mean over dims away first (LayerNorm does, RMSNorm not).
    """

    factor: Tensor
    centred: bool

    def __call__(self, written: Tensor) -> Tensor:
        """Return what comes out of the norm of what went in, shape ``[n, d_model]``."""
        if self.centred:
            written = written - written.mean(-1, keepdim=True)
        return written * self.factor

    def back(self, direction: Tensor) -> Tensor:
        """Return the direction before the norm that one after it reads (the transpose)."""
        read = direction * self.factor
        return read - read.mean(-1, keepdim=True) if self.centred else read


@dataclass(frozen=True)
class FrozenNorms:
    """Norms one after the other, the final one last."""

    norms: tuple[FrozenNorm, ...]

    def __call__(self, written: Tensor) -> Tensor:
        """Return what reaches the unembedding of what a part writes, ``[n, d_model]``."""
        for norm in self.norms:
            written = norm(written)
        return written

    def back(self, direction: Tensor) -> Tensor:
        """Return the direction, ``[n, d_model]``, of writing that a direction after them reads."""
        for norm in reversed(self.norms):
            direction = norm.back(direction)
        return direction


@dataclass(frozen=True)
class NormKind:
    """What a norm does: ``(x − c·mean(x)) · gain / √(mean((x − c·mean(x))²) + eps) + bias``.

    Attributes:
        centred: Whether it takes the mean over dims away first, c.
        gain: Shape ``[d_model]``.
        eps: What keeps the scale from 0.
        bias: Shape ``[d_model]``, or 0.
    """

    centred: bool
    gain: Tensor
    eps: float
    bias: Tensor

    def scale(self, full: Tensor) -> Tensor:
        """Return the scale at an input ``[n, d_model]``, ``[n, 1]``."""
        if self.centred:
            full = full - full.mean(-1, keepdim=True)
        return (full.square().mean(-1, keepdim=True) + self.eps).sqrt()


def norm_kind(norm: Any, like: Tensor) -> NormKind:
    """Return what a norm does, told by what it puts out, not by its name.

    Args:
        norm: The module.
        like: A tensor of the width, type and device that it takes, ``[…, d_model]``.

    Raises:
        UnknownNorm: When it is no LayerNorm and no RMSNorm, with a gain of 1, w or 1 + w.
    """
    width = like.shape[-1]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, width, generator=generator, dtype=torch.float64) + 0.5
    # Small ones beside it, on which eps decides.
    inputs = torch.cat([drawn, 1e-3 * drawn]).to(device=like.device, dtype=like.dtype)
    with torch.no_grad():
        # Its forward: hooks of others are no part of what it is.
        found = norm.forward(inputs).double()
    wide = inputs.double()
    weight = getattr(norm, "weight", None)
    one = torch.ones(width, dtype=torch.float64, device=like.device)
    wide_weight = None if weight is None else weight.detach().double()
    gains = [one] if wide_weight is None else [wide_weight, 1 + wide_weight]
    bias = getattr(norm, "bias", None)
    added = torch.zeros_like(one) if bias is None else bias.detach().double()
    best = float("inf")
    for centred, gain, eps in product((False, True), gains, _eps_of(norm)):
        kind = NormKind(centred, gain, eps, added)
        off = FrozenNorm(gain / kind.scale(wide), centred)(wide) + added - found
        best = min(best, float(off.abs().max() / found.abs().max().clamp(min=1e-12)))
        if best <= _NORM_CLOSE[like.dtype]:
            return kind
    raise UnknownNorm(
        f"{type(norm).__name__} is neither LayerNorm nor RMSNorm ({best:.1g} off the nearest)"
    )


def _eps_of(norm: Any) -> Iterator[float]:
    """Yield what the eps of a norm may be, its own first."""
    for name in _EPS:
        if isinstance(value := getattr(norm, name, None), float):
            yield value
    yield from _USUAL_EPS


def kind_of(model: LanguageModel, path: str, full: Tensor) -> NormKind:
    """Return what a norm of a model does, with its numbers where a tensor is.

    Args:
        model: The model.
        path: Path of the norm.
        full: What it is for, shape ``[n, d_model]``.

    Raises:
        UnknownNorm: When it is none of those known here.
    """
    norm: Any = model.module(path)
    place = next(norm.parameters(), full).device
    like = torch.empty(0, full.shape[-1], dtype=model.hf.dtype, device=place)
    kind = norm_kind(norm, like)
    return replace(kind, gain=kind.gain.to(full.device), bias=kind.bias.to(full.device))


def frozen_norm(model: LanguageModel, path: str, full: Tensor) -> FrozenNorm:
    """Return a norm of the model as the linear map that it is with its scale frozen, no bias.

    Args:
        model: The model.
        path: Path of one of its norms.
        full: What went into the norm, shape ``[n, d_model]``, whose scale stays.

    Raises:
        UnknownNorm: When it is none of those known here.
    """
    kind = kind_of(model, path, full)
    return FrozenNorm(kind.gain / kind.scale(full.double()), kind.centred)


def norm_paths(model: LanguageModel, posts: Iterable[str | None]) -> list[str]:
    """Return the paths of the norms between parts and the unembedding, the final one last.

    Args:
        model: The model.
        posts: Per layer the path of a norm on the part's own output, None without one.
    """
    return [*filter(None, posts), model.arch.final_norm]


def frozen_norms(
    model: LanguageModel, posts: Sequence[str | None], into: Mapping[str, Tensor]
) -> list[FrozenNorms]:
    """Return per layer the map from what a part writes to what reaches the unembedding of it.

    Args:
        model: The model.
        posts: Per layer the path of a norm on the part's own output, None without one.
        into: What went into each of the norms of `norm_paths`, ``[n, d_model]``.
    """
    last = frozen_norm(model, model.arch.final_norm, into[model.arch.final_norm])
    return [
        FrozenNorms((last,) if path is None else (frozen_norm(model, path, into[path]), last))
        for path in posts
    ]
