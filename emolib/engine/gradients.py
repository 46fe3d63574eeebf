"""∂LD/∂z of every head at once, at the clean run and at points between two clean runs.

Only the columns that the position setting points at, and those after them, are run and
differentiated: the prompt before them is the clean run's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emolib.engine.batch_sizes import TOKENS, columns_of
from emolib.engine.clean_runs import Clean
from emolib.engine.layers import Blocks
from emolib.inputs.prompts import Position
from emolib.methods import metrics


def gradients(
    blocks: Blocks,
    clean: Clean,
    position: Position,
    targets: tuple[Tensor, Tensor],
    values: Sequence[Sequence[Tensor] | None],
) -> list[list[Tensor]]:
    """Return the gradient of ``logit_diff``, summed over prompts, at z of every head.

    Args:
        blocks: The model.
        clean: The clean run of the prompts.
        position: Where z stands at `values`.
        targets: Token ids T_emo and T_neu.
        values: Per pass, per layer the z to stand there, ``[B, S, H * d_head]`` of the last S
            columns; None for the clean run. The value is replaced, the gradient still flows
            through what the model computed, so that indirect paths count.

    Returns:
        Per pass, per layer the gradient, ``[B, S, H * d_head]``.
    """
    tokens = columns_of(clean.batch, (), position)
    most = max(1, TOKENS[blocks.model.device.type == "cuda"] // (tokens * len(clean.batch.rows)))
    found: list[list[Tensor]] = []
    for start in range(0, len(values), most):
        found += _pass(blocks, clean, position, targets, values[start : start + most])
    return found


def _pass(
    blocks: Blocks,
    clean: Clean,
    position: Position,
    targets: tuple[Tensor, Tensor],
    values: Sequence[Sequence[Tensor] | None],
) -> list[list[Tensor]]:
    batch, layers = clean.batch, blocks.layers
    tokens = columns_of(batch, (), position)
    before, columns = batch.width - tokens, slice(batch.width - tokens, batch.width)
    mask = batch.at(position)[:, columns, None]
    leaves = []
    resid = clean.state(0, tokens).resid[:, None].expand(-1, len(values), -1, -1)
    with torch.enable_grad():
        for index, layer in enumerate(layers):
            frame = clean.frames[index]
            query, key, value = layer.qkv(layer.normed(resid), frame.turns_of(columns))
            shared = clean.shared(index, before)
            bias = frame.bias_of(columns, batch.width)
            z = layer.attend(query, (key, value), shared, bias)
            there = [None if given is None else given[index] for given in values]
            moved = [_moved(z[:, row], value, mask) for row, value in enumerate(there)]
            z = torch.stack(moved, dim=1)
            leaves.append(torch.zeros_like(z, requires_grad=True))
            z = z + leaves[-1]
            if index == len(layers) - 1:
                resid, z = resid[:, :, -1:], z[:, :, -1:]
            resid = layer.finish(resid, z)
        diff = metrics.logit_diff(blocks.logits(resid[:, :, -1]), *targets).sum()
        by_layer = torch.autograd.grad(diff, leaves)
    return [[gradient[:, row] for gradient in by_layer] for row in range(len(values))]


def _moved(z: Tensor, value: Tensor | None, mask: Tensor) -> Tensor:
    if value is None:
        return z
    step = value - z.detach()
    return z + torch.where(mask, step, torch.zeros_like(step))
