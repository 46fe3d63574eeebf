"""∂M/∂z of every head at once, at the clean run and at points between two clean runs.

Only the columns that the position setting points at, and those after them, are run and
differentiated: the prompt before them is the clean run's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from emolib.engine.batch_sizes import columns_of, gradients_at_once
from emolib.engine.clean_runs import CleanRun, State
from emolib.engine.layers import Edits, KeysValues
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.slices import rows_of, slices
from emolib.inputs.prompts import Position
from emolib.models.encoding import Batch


@dataclass(frozen=True)
class Objective:
    """The metric M.

    Attributes:
        tokens: Ids of the tokens whose logits it is of, ``[t]``.
        of: From their logits at the last token, ``[…, t]``, to a number each, ``[…]``.
    """

    tokens: Tensor
    of: Callable[[Tensor], Tensor]


At = Callable[[int], Tensor]
"""From a layer to the z to stand at Q, ``[B, S, H * d_head]``."""
Values = Sequence[At | None]
"""Per pass the z to stand at Q; None for the clean run."""
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
    tokens, prompts = columns_of(clean.batch, (), position), len(clean.batch.rows)
    most = _at_once(model, clean, tokens)
    by_pass: list[list[Tensor]] = []
    for some in slices(len(values), max(1, most // prompts)):
        parts = [
            _pass(model, clean, rows, position, objective, values[some])
            for rows in slices(prompts, most)
        ]
        by_pass += [
            [torch.cat(layer) for layer in zip(*found, strict=True)]
            for found in zip(*parts, strict=True)
        ]
    return by_pass


class UnitSlopes(NamedTuple):
    """What a metric does with the MLP units of a layer, ``[B, S, n_units]`` each.

    Attributes:
        units: Their activations.
        gradient: Of the metric, summed over prompts.
        relevance: What LRP has in its place (`emolib.engine.relevance`); None where it cannot be
            had.
    """

    units: Tensor
    gradient: Tensor
    relevance: Tensor | None = None


def unit_gradients(
    model: LayerwiseModel,
    clean: CleanRun,
    position: Position,
    objective: Objective,
    relevance: LayerwiseModel | None = None,
) -> Iterator[tuple[Batch, list[UnitSlopes]]]:
    """Yield the activations of all MLP units and the gradient of the metric at them.

    Args:
        model: The model.
        clean: The clean run of the prompts.
        position: Which columns are wanted: the last ones, from the first that it points at.
        objective: The metric.
        relevance: The model whose way back carries relevance, for that beside the gradient.

    Yields:
        (Some of the prompts, what there is of each layer.)
    """
    batch, tokens = clean.batch, columns_of(clean.batch, (), position)
    start = clean.state(0, tokens).resid
    last = clean.state(len(model.layers) - 1, tokens) if tokens > 1 else None
    for rows in slices(len(batch.rows), _at_once(model, clean, tokens)):
        found = _unit_pass(model, clean, start, rows, tokens, objective)
        units, slopes = [units for units, _ in found], [slope for _, slope in found]
        ways = [slopes]
        if relevance is not None:
            passed = _unit_pass(relevance, clean, start, rows, tokens, objective)
            ways.append([slope for _, slope in passed])
        if last is not None:
            # Of the last layer the last column alone was made; nothing before it moves the metric.
            units[-1] = _last_units(model, clean, last, rows, tokens)
            for way in ways:
                way[-1] = torch.cat([torch.zeros_like(units[-1][:, :-1]), way[-1]], dim=1)
        yield batch.of(rows), [UnitSlopes(*parts) for parts in zip(units, *ways, strict=True)]


def _at_once(model: LayerwiseModel, clean: CleanRun, tokens: int) -> int:
    gpu = model.model.device.type == "cuda"
    return gradients_at_once(model.shape, tokens, clean.batch.width, gpu=gpu)


def _pass(
    model: LayerwiseModel,
    clean: CleanRun,
    rows: slice,
    position: Position,
    objective: Objective,
    values: Values,
) -> list[list[Tensor]]:
    """Return per pass and layer the gradient at z of some of the prompts."""
    tokens = columns_of(clean.batch, (), position)
    start = clean.state(0, tokens).resid
    mask = clean.batch.at(position)[rows, -tokens:, None]
    leaves: list[Tensor] = []

    def edits(index: int) -> Edits:
        def moved(z: Tensor) -> Tensor:
            there = [None if given is None else given(index)[rows] for given in values]
            z = torch.stack(
                [replaced(z[:, row], value, mask) for row, value in enumerate(there)], dim=1
            )
            leaves.append(torch.zeros_like(z, requires_grad=True))
            return z + leaves[-1]

        return Edits(z=moved)

    by_layer = _slopes(model, clean, start, rows, len(values), objective, edits, leaves)
    return [[gradient[:, row] for gradient in by_layer] for row in range(len(values))]


def _unit_pass(
    model: LayerwiseModel,
    clean: CleanRun,
    start: Tensor,
    rows: slice,
    tokens: int,
    objective: Objective,
) -> list[tuple[Tensor, Tensor]]:
    """Return per layer the units of some of the prompts and the gradient at them."""
    leaves: list[Tensor] = []
    seen: list[Tensor] = []

    def edits(index: int) -> Edits:
        def moved(units: Tensor) -> Tensor:
            seen.append(units.detach()[:, 0])
            leaves.append(torch.zeros_like(units, requires_grad=True))
            return units + leaves[-1]

        return Edits(units=moved)

    found = _slopes(model, clean, start, rows, 1, objective, edits, leaves)
    return [(units, slope[:, 0]) for units, slope in zip(seen, found, strict=True)]


@torch.no_grad()
def _last_units(
    model: LayerwiseModel, clean: CleanRun, state: State, rows: slice, tokens: int
) -> Tensor:
    """Return the units of the last layer in a clean run of some prompts, ``[B, S, n_units]``."""
    final, width = len(model.layers) - 1, clean.batch.width
    columns = slice(width - tokens, width)
    seen: list[Tensor] = []

    def see(units: Tensor) -> Tensor:
        seen.append(units[:, 0].clone())
        return units

    model.layers[final].step(
        state.resid[rows, None],
        clean.inputs[final].of(list(rows_of(rows))),
        columns,
        some_of(clean.shared(final, columns.start), rows),
        z=state.z[rows, None],
        edits=Edits(units=see),
    )
    return seen[0]


def some_of(shared: KeysValues | None, rows: slice) -> KeysValues | None:
    """Return the keys and values of some of the prompts."""
    return None if shared is None else (shared[0][rows], shared[1][rows])


def _slopes(
    model: LayerwiseModel,
    clean: CleanRun,
    start: Tensor,
    rows: slice,
    passes: int,
    objective: Objective,
    edits: Callable[[int], Edits],
    leaves: list[Tensor],
) -> Sequence[Tensor]:
    """Run the last columns of some prompts, in so many passes; return the slope at each leaf."""
    batch, numbers = clean.batch, list(rows_of(rows))
    columns = slice(batch.width - start.shape[1], batch.width)
    resid = start[rows, None].expand(-1, passes, -1, -1)
    with torch.enable_grad():
        for index, layer in enumerate(model.layers):
            resid, _ = layer.step(
                resid,
                clean.inputs[index].of(numbers),
                columns,
                some_of(clean.shared(index, columns.start), rows),
                crop=index == len(model.layers) - 1,
                edits=edits(index),
            )
        metric = objective.of(model.logits(resid[:, :, -1], objective.tokens))
        return torch.autograd.grad(metric.sum(), leaves)


def replaced(z: Tensor, value: Tensor | None, mask: Tensor) -> Tensor:
    """Return z with a value in its place where the mask is true, and the gradient of z."""
    if value is None:
        return z
    step = value - z.detach()
    return z + torch.where(mask, step, torch.zeros_like(step))
