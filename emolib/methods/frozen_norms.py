"""Norms with their scale frozen: the linear maps between what a part writes and the unembedding.

Direct effects are read through them (docs/science.md, "Frozen norms"), as in Wang et
al. (2211.00593).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from torch import Tensor

from emolib.models.language_model import LanguageModel


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


def frozen_norm(model: LanguageModel, path: str, full: Tensor) -> FrozenNorm:
    """Return a norm of the model as the linear map that it is with its scale frozen, no bias.

    Args:
        model: The model.
        path: Path of one of its norms.
        full: What went into the norm, shape ``[n, d_model]``, whose scale stays.
    """
    norm: Any = model.module(path)
    eps = getattr(norm, "variance_epsilon", None) or norm.eps
    gain: Tensor = norm.weight.to(full.device).double()
    full, centred = full.double(), False
    match model.arch.norm:
        case "layer":
            centred = True
        case "rms":
            pass
        case "rms_plus_one":
            gain = 1 + gain
        case _:
            assert_never(model.arch.norm)
    if centred:
        full = full - full.mean(-1, keepdim=True)
    return FrozenNorm(gain / (full.square().mean(-1, keepdim=True) + eps).sqrt(), centred)


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
