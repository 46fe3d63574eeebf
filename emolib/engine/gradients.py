"""∂M/∂z of every head at once, at the clean run and at points between two clean runs.

Only the columns that the position setting points at, and those after them, are run and
differentiated: the prompt before them is the clean run's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emolib.engine.batch_sizes import columns_of, passes_at_once
from emolib.engine.clean_runs import CleanRun
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.inputs.prompts import Position
from emolib.models.encoding import Batch

Objective = Callable[[Tensor], Tensor]
"""The metric M, from logits at the last token, ``[…, vocab]``, to a number each, ``[…]``."""
Values = Sequence[Sequence[Tensor] | None]
"""Per pass, per layer the z to stand at Q, ``[B, S, H * d_head]``; None for the clean run."""
Points = Callable[[Batch, int], Values]
"""From a batch of prompts and S to the values of its passes, in the last S columns."""


def gradients(
    model: LayerwiseModel,
    clean: CleanRun,
    position: Position,
    objective: Objective,
    values: Values,
) -> list[list[Tensor]]:
    """Return the gradient of the metric, summed over prompts, at z of every head.

    Args:
        model: The model.
        clean: The clean run of the prompts.
        position: Where z stands at `values`.
        objective: The metric.
        values: What stands there, in the last S columns. The value is replaced, the gradient
            still flows through what the model computed, so that indirect paths count.

    Returns:
        Per pass, per layer the gradient, ``[B, S, H * d_head]``.
    """
    tokens = columns_of(clean.batch, (), position)
    gpu = model.model.device.type == "cuda"
    most = passes_at_once(tokens * len(clean.batch.rows), gpu=gpu)
    found: list[list[Tensor]] = []
    for start in range(0, len(values), most):
        found += _pass(model, clean, position, objective, values[start : start + most])
    return found


def _pass(
    model: LayerwiseModel,
    clean: CleanRun,
    position: Position,
    objective: Objective,
    values: Values,
) -> list[list[Tensor]]:
    batch, layers = clean.batch, model.layers
    tokens = columns_of(batch, (), position)
    columns = slice(batch.width - tokens, batch.width)
    mask = batch.at(position)[:, columns, None]
    leaves = []
    resid = clean.state(0, tokens).resid[:, None].expand(-1, len(values), -1, -1)
    with torch.enable_grad():
        for index, layer in enumerate(layers):
            shared = clean.shared(index, columns.start)
            z = layer.z(resid, clean.inputs[index], columns, shared)
            there = [None if given is None else given[index] for given in values]
            moved = [replaced(z[:, row], value, mask) for row, value in enumerate(there)]
            z = torch.stack(moved, dim=1)
            leaves.append(torch.zeros_like(z, requires_grad=True))
            z = z + leaves[-1]
            if index == len(layers) - 1:
                resid, z = resid[:, :, -1:], z[:, :, -1:]
            resid = layer.finish(resid, z)
        by_layer = torch.autograd.grad(objective(model.logits(resid[:, :, -1])).sum(), leaves)
    return [[gradient[:, row] for gradient in by_layer] for row in range(len(values))]


def replaced(z: Tensor, value: Tensor | None, mask: Tensor) -> Tensor:
    """Return z with a value in its place where the mask is true, and the gradient of z."""
    if value is None:
        return z
    step = value - z.detach()
    return z + torch.where(mask, step, torch.zeros_like(step))
