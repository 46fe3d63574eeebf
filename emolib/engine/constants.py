"""A metric and its gradient at constants put in for z of some heads or units, others running on.

Unlike `emolib.engine.gradients`, which holds all heads at once at given points, a run here replaces
those of one set alone: what comes after them answers, as it does under an ablation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emolib.engine.batch_sizes import columns_of, gradients_at_once
from emolib.engine.clean_runs import CleanRun
from emolib.engine.edits import columns_in, weight_of
from emolib.engine.gradients import Objective, some_of
from emolib.engine.layers import Edits
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.slices import rows_of, slices
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position
from emolib.inputs.targets import Part, TargetSet, parts
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel


@dataclass(frozen=True)
class Constant:
    """What stands in for z of a set, prompt by prompt.

    Attributes:
        targets: The heads or units.
        values: Per prompt of the side what stands there, one part of the set after the other,
            ``[n, D]``.
    """

    targets: TargetSet
    values: Tensor

    def of(self, model: LanguageModel, prompts: Sequence[int]) -> dict[Part, Tensor]:
        """Return what stands in for each part on some prompts, ``[b, d]``, ready for a gradient."""
        every = list(parts(self.targets))
        widths = [len(weight_of(model, part)) for part in every]
        values = self.values[list(prompts)].to(model.device, model.hf.dtype)
        cut = torch.split(values, widths, dim=1)
        return {
            part: value.clone().requires_grad_() for part, value in zip(every, cut, strict=True)
        }


Slopes = tuple[Tensor, Tensor]
"""The metric, ``[b]``, and its gradient at the constant, ``[b, D]``."""


def replaced_by(
    z: Tensor, values: Mapping[Part, Tensor], mask: Tensor, model: LanguageModel
) -> Tensor:
    """Return z with constants in the place of some parts, where the mask is true.

    Args:
        z: What goes into a projection, ``[b, seq, in]``: the last columns.
        values: By part of it the constant, ``[b, d]``.
        mask: Where they stand, ``[b, columns]``, of as many of the last columns or more.
        model: The model.
    """
    there, z = mask[:, -z.shape[1] :, None].to(z.device), z.clone()
    for part, value in values.items():
        columns = columns_in(part, z.shape[-1], model.n_heads)
        constant = value.to(z)[:, None]
        z[..., columns] = torch.where(there, constant, z[..., columns].clone())
    return z


def constant_slopes(
    model: LayerwiseModel,
    clean: CleanRun,
    position: Position,
    objective: Objective,
    runs: Sequence[Constant],
) -> list[Slopes]:
    """Return the metric of each run on the prompts of a clean run, and its gradient.

    Args:
        model: The model.
        clean: The clean run, from which they are resumed.
        position: Where the constants stand.
        objective: The metric.
        runs: The runs.
    """
    tokens, prompts = columns_of(clean.batch, (), position), len(clean.batch.rows)
    gpu = model.model.device.type == "cuda"
    most = gradients_at_once(model.shape, tokens, clean.batch.width, gpu=gpu)
    order = sorted(range(len(runs)), key=lambda run: _first(runs[run]))
    found: dict[int, Slopes] = {}
    for some in slices(len(runs), max(1, most // prompts)):
        numbers = order[some]
        chosen = [runs[number] for number in numbers]
        blocks = [
            _block(model, clean, rows, position, objective, chosen)
            for rows in slices(prompts, most)
        ]
        for number, of_run in zip(numbers, zip(*blocks, strict=True), strict=True):
            values, slopes = zip(*of_run, strict=True)
            found[number] = torch.cat(values), torch.cat(slopes)
    return [found[number] for number in range(len(runs))]


def _first(run: Constant) -> int:
    return min(part.layer for part in parts(run.targets))


def _block(
    model: LayerwiseModel,
    clean: CleanRun,
    rows: slice,
    position: Position,
    objective: Objective,
    runs: Sequence[Constant],
) -> list[Slopes]:
    """Return the same of some of the prompts, all runs side by side."""
    batch, numbers = clean.batch, list(rows_of(rows))
    tokens, first = columns_of(batch, (), position), min(map(_first, runs))
    mask = batch.at(position)[rows]
    columns = slice(batch.width - tokens, batch.width)
    leaves = [run.of(model.model, [batch.rows[row] for row in numbers]) for run in runs]
    state, final = clean.state(first, tokens), len(model.layers) - 1
    resid = state.resid[rows, None].expand(-1, len(runs), -1, -1)
    with torch.enable_grad():
        for index in range(first, len(model.layers)):
            known = state.z[rows, None].expand(-1, len(runs), -1, -1) if index == first else None
            resid, _ = model.layers[index].step(
                resid,
                clean.inputs[index].of(numbers),
                columns,
                some_of(clean.shared(index, columns.start), rows),
                z=known,
                crop=index == final,
                edits=_edits(model.model, index, leaves, mask),
            )
        metric = objective.of(model.logits(resid[:, :, -1], objective.tokens))
        every = [leaf for run in leaves for leaf in run.values()]
        slopes = iter(torch.autograd.grad(metric.sum(), every))
    return [
        (metric[:, place].detach(), torch.cat([next(slopes) for _ in run], dim=1))
        for place, run in enumerate(leaves)
    ]


def _edits(
    model: LanguageModel, layer: int, runs: Sequence[Mapping[Part, Tensor]], mask: Tensor
) -> Edits:
    """Return what is done in one layer: constants put in for z of heads, or for units."""

    def edit(values: Tensor, chosen: Sequence[Mapping[Part, Tensor]]) -> Tensor:
        rows = [
            replaced_by(values[:, row], of_run, mask, model) if of_run else values[:, row]
            for row, of_run in enumerate(chosen)
        ]
        return torch.stack(rows, dim=1)

    def chosen(heads: bool) -> list[dict[Part, Tensor]]:
        return [
            {
                part: leaf
                for part, leaf in run.items()
                if part.layer == layer and isinstance(part, Head) == heads
            }
            for run in runs
        ]

    of_heads, of_units = chosen(True), chosen(False)
    return Edits(
        z=(lambda z: edit(z, of_heads)) if any(of_heads) else None,
        units=(lambda units: edit(units, of_units)) if any(of_units) else None,
    )


def joined(batches: Iterator[tuple[Batch, list[Slopes]]], runs: int) -> list[Slopes]:
    """Return the metric and the gradient of each run on all prompts, in their order, in float64."""
    order: list[int] = []
    found: list[list[Slopes]] = [[] for _ in range(runs)]
    for batch, of_batch in batches:
        order += batch.rows
        for made, slopes in zip(found, of_batch, strict=True):
            made.append(slopes)
    back = torch.tensor(order).argsort()
    return [
        (
            torch.cat([values for values, _ in made]).double().cpu()[back],
            torch.cat([slopes for _, slopes in made]).double().cpu()[back],
        )
        for made in found
    ]
