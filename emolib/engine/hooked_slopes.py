"""Gradients through the whole model under hooks: at z of heads, at units, at constants.

The counterpart of `emolib.engine.gradients` and `emolib.engine.constants` for every model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emolib.engine.constants import Constant, Slopes, replaced_by
from emolib.engine.edits import path_of
from emolib.engine.forwards import forward
from emolib.engine.gradients import At, Objective, UnitSlopes, Values, replaced
from emolib.engine.hooked import by_prompt, on_prompts_device
from emolib.inputs.prompts import Position
from emolib.inputs.targets import Part
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel
from emolib.tracing import OwnTraceDict

Probe = Callable[[Tensor, str, tuple[Tensor, ...]], tuple[Tensor, Tensor]]
"""From a module's output, path and inputs to a leaf and the output made anew with the leaf in it.

Weights are frozen, so a zero that is added somewhere is the leaf that a gradient lands on.
"""


def slopes(
    model: LanguageModel,
    batch: Batch,
    objective: Objective,
    paths: Sequence[str],
    probe: Probe,
    also: Sequence[str] = (),
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the gradient of a metric, summed over prompts, at leaves put into the model.

    Args:
        model: The model.
        batch: What to run.
        objective: The metric, from logits at the last token.
        paths: The modules with a leaf.
        probe: Puts it there.
        also: Modules whose input is wanted too.

    Returns:
        (Per path the gradient at its leaf; per module of `also` what went in.)
    """
    leaves: dict[str, Tensor] = {}

    def edit_output(output: Tensor, layer: str, inputs: tuple[Tensor, ...]) -> Tensor:
        leaves[layer], output = probe(output, layer, inputs)
        return output

    traces = OwnTraceDict(
        model.hf,
        [*paths, *also],
        retain_output=False,
        retain_input=dict.fromkeys(also, True),
        edit_output=dict.fromkeys(paths, edit_output),
    )
    with torch.enable_grad(), traces as traced:
        logits = forward(model, batch).logits[:, -1]
        metric = objective.of(logits[:, objective.tokens.to(logits.device)])
        found = torch.autograd.grad(metric.sum(), [leaves[path] for path in paths])
    read_too = {path: on_prompts_device(model, traced[path].input.detach()) for path in also}
    return [on_prompts_device(model, gradient) for gradient in found], read_too


def unit_gradients(model: LanguageModel, batch: Batch, objective: Objective) -> list[UnitSlopes]:
    """Return the activations of all MLP units and the gradient of the metric at them.

    Returns:
        Per layer, each ``[B, seq, n_units]``.
    """
    paths = [model.mlp_out(layer) for layer in range(model.n_layers)]

    def probe(output: Tensor, path: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        leaf = torch.zeros_like(inputs[0], requires_grad=True)
        return leaf, model.module(path).forward(inputs[0] + leaf)

    found, units = slopes(model, batch, objective, paths, probe, paths)
    return [
        UnitSlopes(by_prompt(units[path], batch), by_prompt(slope, batch))
        for path, slope in zip(paths, found, strict=True)
    ]


def gradients(
    model: LanguageModel,
    batch: Batch,
    position: Position,
    objective: Objective,
    values: Values,
) -> list[list[Tensor]]:
    """Return the gradient of the metric, summed over prompts, at z of every head.

    Returns:
        Per pass, per layer the gradient, ``[B, seq, H * d_head]``, as those of
        `emolib.engine.gradients.gradients` of all columns; empty of a layer without heads.
    """
    layers = {model.attn_out(layer): layer for layer in model.head_layers}
    mask = batch.at(position)[..., None]
    found = []
    for given in values:

        def probe(
            output: Tensor,
            path: str,
            inputs: tuple[Tensor, ...],
            given: At | None = given,
        ) -> tuple[Tensor, Tensor]:
            value = None if given is None else given(layers[path])
            z = inputs[0]
            z = replaced(z, None if value is None else value.to(z.device), mask.to(z.device))
            leaf = torch.zeros_like(z, requires_grad=True)
            return leaf, model.module(path).forward(z + leaf)

        made, _ = slopes(model, batch, objective, list(layers), probe)
        by_layer = dict(zip(layers.values(), made, strict=True))
        none = made[0].new_zeros(*made[0].shape[:2], 0)
        found.append([by_layer.get(layer, none) for layer in range(model.n_layers)])
    return found


def constant_slopes(
    model: LanguageModel, batch: Batch, position: Position, objective: Objective, run: Constant
) -> Slopes:
    """Return a metric at constants put in for z of some heads or units, and its gradient there.

    Returns:
        As `emolib.engine.constants.constant_slopes`, of one run.
    """
    by_path: dict[str, dict[Part, Tensor]] = {}
    for part, value in run.of(model, batch.rows).items():
        by_path.setdefault(path_of(model, part), {})[part] = value
    mask, seen = batch.at(position), list[Tensor]()

    def of(logits: Tensor) -> Tensor:
        metric = objective.of(logits)
        seen.append(metric.detach())
        return metric

    def probe(_: Tensor, path: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        values = by_path[path]
        leaf = torch.cat(list(values.values()), dim=1).detach().requires_grad_()
        cut = torch.split(leaf, [value.shape[1] for value in values.values()], dim=1)
        there = dict(zip(values, cut, strict=True))
        z = replaced_by(by_prompt(inputs[0], batch), there, mask, model)
        return leaf, model.module(path).forward(z.view_as(inputs[0]))

    found, _ = slopes(model, batch, Objective(objective.tokens, of), list(by_path), probe)
    # Parts come layer by layer, and so do their paths.
    return on_prompts_device(model, seen[0]), torch.cat(found, dim=1)
