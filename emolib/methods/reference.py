"""What `mean` and `resample` draw from: clean z of as many emotion as neutral prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emolib.interventions import Activations, ByLayer
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel


def reference(model: LanguageModel, sides: Sequence[Activations]) -> Activations:
    """Return the activations of two sides as those of one set of prompts.

    Args:
        model: The model.
        sides: Those of each side; of the side that has more prompts the first ones count.
    """
    count = min(len(side.prompts) for side in sides)
    joined = _joined(sides[0].prompts, sides[1].prompts, count)
    batch = Batch(joined, range(len(joined)), model.pad, model.device)

    def both(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([_widened(part[:count], joined.width) for part in parts])

    return Activations(
        joined,
        batch,
        _joined_z([side.z for side in sides], both, joined.width),
        {unit: both([side.units[unit] for side in sides]) for unit in sides[0].units},
    )


def _joined_z(
    sides: Sequence[ByLayer], both: Callable[[Sequence[Tensor]], Tensor], width: int
) -> ByLayer:
    """Return z of both sides, one after the other."""

    def read(layer: int, columns: int) -> Tensor:
        return both([side.last(layer, columns) for side in sides])[:, -columns:]

    return ByLayer(len(sides[0]), width, read)


def _widened(z: Tensor, width: int) -> Tensor:
    """Return the last columns of z, ``[n, seq, …]``, padded on the left where it has fewer."""
    z = z[:, -width:]
    return torch.cat([z.new_zeros(len(z), width - z.shape[1], *z.shape[2:]), z], dim=1)


def _joined(left: Prompts, right: Prompts, count: int) -> Prompts:
    def both(a: Sequence[object] | None, b: Sequence[object] | None) -> tuple[object, ...] | None:
        return None if a is None or b is None else (*a[:count], *b[:count])

    return Prompts(
        (*left.texts[:count], *right.texts[:count]),
        (*left.ids[:count], *right.ids[:count]),
        both(left.slots, right.slots),  # type: ignore[arg-type]
        both(left.clusters, right.clusters),  # type: ignore[arg-type]
    )
