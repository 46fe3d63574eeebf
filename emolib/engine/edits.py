"""What the edits of one run know: which parts of which layer, on which prompts, at which step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emolib.engine.layers import Edits
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position
from emolib.inputs.targets import Part, Stream, StreamSet, parts
from emolib.inputs.units import LayerUnits, UnitSet
from emolib.interventions import Activations, CleanZ, Intervention, Site
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel


def path_of(model: LanguageModel, part: Part) -> str:
    """Return the path of the projection whose input a part is of, or of the layer of a stream."""
    if isinstance(part, Stream):
        return stream_path(model, part.layer)
    return model.attn_out(part.layer) if isinstance(part, Head) else model.mlp_out(part.layer)


def stream_path(model: LanguageModel, layer: int) -> str:
    """Return the path of a layer, which puts out the residual stream after it."""
    return f"{model.arch.layers}.{layer}"


def is_normed(model: LanguageModel, part: Part) -> bool:
    """Tell whether a norm stands between the projection of a part and the residual stream."""
    row = model.arch
    return bool(row.post_attn_norm if isinstance(part, Head) else row.post_mlp_norm)


def weight_of(model: LanguageModel, part: Part) -> Tensor:
    """Return the rows of that projection that are the part's, ``[d, d_model]``."""
    if isinstance(part, Head):
        return model.w_o(part)
    assert isinstance(part, LayerUnits)
    return model.w_out(part.layer)[list(part.indices)]


def columns_in(part: Part, width: int, n_heads: int) -> slice | list[int]:
    """Return which columns of what goes into a projection, or of a stream, are a part's.

    Args:
        part: The part.
        width: How many columns there are.
        n_heads: Heads per layer.
    """
    if isinstance(part, LayerUnits):
        return list(part.indices)
    if isinstance(part, Stream):
        return slice(None)
    d_head = width // n_heads
    return slice(part.index * d_head, (part.index + 1) * d_head)


class RunEdits:
    """The edits of one run on one batch of prompts."""

    def __init__(
        self,
        model: LanguageModel,
        interventions: Sequence[Intervention],
        batch: Batch,
        position: Position,
        draw: int,
    ) -> None:
        """Sort the edits by projection.

        Args:
            model: The model.
            interventions: What to do.
            batch: The prompts.
            position: Where in the prompt z is edited.
            draw: Number of the draw.

        Raises:
            InputError: When a head or unit is not one of the model's.
        """
        self.n_heads = model.n_heads
        self.batch, self.position, self.draw = batch, position, draw
        self.mask = batch.at(position)[..., None]
        self.generated = False
        self.ran: set[str] = set()
        self.plan: dict[str, list[tuple[Part, Intervention]]] = {}
        for intervention in interventions:
            _check_targets(model, intervention)
            for part in parts(intervention.targets):
                self.plan.setdefault(path_of(model, part), []).append((part, intervention))
        self._held: dict[str, tuple[int, Activations]] = {}
        for intervention in interventions:
            if intervention.held is not None:
                self._hold(model, intervention, intervention.held)

    def _hold(self, model: LanguageModel, intervention: Intervention, clean: Activations) -> None:
        first = min(part.layer for part in parts(intervention.targets))
        if clean.prompts.ids != self.batch.prompts.ids:
            raise InputError(
                f"{intervention}: the z that other heads are held at is of other prompts; give "
                "study.activations(side) of the side that runs"
            )
        for layer in model.head_layers:
            if layer >= first:
                path = model.attn_out(layer)
                self.plan.setdefault(path, [])
                self._held[path] = layer, clean

    def edited(self, z: Tensor, path: str) -> tuple[Tensor, list[Part]]:
        """Return z edited, shape ``[batch, seq, in]``, and which parts of it were.

        Args:
            z: What goes into the projection, by prompt.
            path: Path of the projection.
        """
        edited = z.clone()
        return edited, self.edit(edited, path)

    @property
    def holds_clean(self) -> bool:
        """Whether heads are held at what a clean run of the same prompts has."""
        return any(self._is_of_clean(held) for _, held in self._held.values())

    def _is_of_clean(self, held: Activations) -> bool:
        return isinstance(held.z, CleanZ) and held.prompts is self.batch.prompts

    def edit(self, z: Tensor, path: str, beside: Tensor | None = None) -> list[Part]:
        """Edit z in place and return which parts of it were.

        Args:
            z: What goes into the projection, by prompt, ``[batch, seq, in]``; the last ``seq``
                columns of the prompts, or a generated token.
            path: Path of the projection.
            beside: z of the clean run there, of the same shape, where it is at hand.

        Raises:
            RuntimeError: When an edit returns another shape than it got.
        """
        self.ran.add(path)
        seen: list[Part] = []
        if path in self._held and not self.generated:
            layer, clean = self._held[path]
            if beside is not None and self._is_of_clean(clean):
                z[:] = beside
            else:
                there = clean.z.last(layer, z.shape[1])[list(self.batch.rows)]
                z[:, -there.shape[1] :] = there.flatten(-2).to(z)
            seen += [Head(layer, index) for index in range(self.n_heads)]
        for part, intervention in self.plan[path]:
            if self.generated and self.position != "all" and not intervention.every_step:
                continue
            columns = self.columns(part, z)
            before = z[..., columns]
            site = Site(part, self.batch, self.position, self.draw, self.generated)
            after: object = intervention.edit(before.clone(), site)
            if not isinstance(after, Tensor) or after.shape != before.shape:
                got = list(after.shape) if isinstance(after, Tensor) else repr(after)
                last = {Head: "d_head", LayerUnits: "units", Stream: "d_model"}[type(part)]
                what = "the stream" if isinstance(part, Stream) else "z"
                raise RuntimeError(
                    f"{intervention}: the edit of {part} must return {what} of the shape it got, "
                    f"{list(before.shape)} [batch, seq, {last}], got {got}"
                )
            after = after.to(before)
            # Of a model on several devices layers are elsewhere than prompts.
            mask = self.mask[:, -before.shape[1] :].to(before.device)
            z[..., columns] = after if self.generated else torch.where(mask, after, before)
            seen.append(part)
        return seen

    def whole(self, path: str) -> bool:
        """Tell whether an edit there has to see z of the whole prompt."""
        return any(not intervention.tokenwise for _, intervention in self.plan.get(path, ()))

    def columns(self, part: Part, z: Tensor) -> slice | list[int]:
        """Return which columns of z, or of the stream, are a part's."""
        return columns_in(part, z.shape[-1], self.n_heads)


def _check_targets(model: LanguageModel, intervention: Intervention) -> None:
    if isinstance(intervention.targets, StreamSet):
        for stream in intervention.targets:
            if stream.layer >= model.n_layers:
                raise InputError(
                    f"{intervention}: layer {stream.layer} does not exist, {model.name} has "
                    f"{model.n_layers} layers, counted from 0"
                )
        return
    units = isinstance(intervention.targets, UnitSet)
    count, what = (model.n_units, "MLP units") if units else (model.n_heads, "heads")
    for target in intervention.targets:
        if not units and target.layer < model.n_layers:
            # Of a hybrid some layers have none, which is said then.
            model.attn_out(target.layer)
        if target.layer >= model.n_layers or target.index >= count:
            raise InputError(
                f"{intervention}: {target} does not exist, {model.name} has {model.n_layers} "
                f"layers of {count} {what}, counted from 0"
            )


def apart(edited: Sequence[Part]) -> list[Part]:
    """Return the parts of one layer without overlap: head by head, units all at once."""
    # Sorted: floats add up differently in another order.
    heads = sorted({part for part in edited if isinstance(part, Head)})
    units = [part for part in edited if isinstance(part, LayerUnits)]
    if not units:
        return list(heads)
    indices = sorted({index for part in units for index in part.indices})
    return [*heads, LayerUnits(units[0].layer, tuple(indices))]


@dataclass(frozen=True)
class Branch:
    """One run of a sweep, under one draw.

    Attributes:
        run: Number of the run.
        draw: Number of the draw.
        interventions: What it does.
        first: The first layer it edits; the number of layers where it edits none.
    """

    run: int
    draw: int
    interventions: tuple[Intervention, ...]
    first: int


def branches(
    model: LanguageModel, runs: Sequence[Sequence[Intervention]], *, all_draws: bool
) -> list[Branch]:
    """Return the branches of runs, by the first layer they edit."""
    made = []
    for index, interventions in enumerate(runs):
        layers = [p.layer for one in interventions for p in parts(one.targets)]
        first = min(layers, default=model.n_layers)
        draws = max((one.draws for one in interventions), default=1) if all_draws else 1
        made += [Branch(index, draw, tuple(interventions), first) for draw in range(draws)]
    return sorted(made, key=lambda branch: branch.first)


def is_tokenwise(runs: Sequence[Branch]) -> bool:
    """Tell whether no run has an edit that needs whole prompts."""
    return all(one.tokenwise for branch in runs for one in branch.interventions)


def edits_of(
    model: LanguageModel, chunk: Sequence[Branch], batch: Batch, position: Position
) -> list[RunEdits]:
    """Return the edits of each branch on a batch."""
    return [RunEdits(model, branch.interventions, batch, position, branch.draw) for branch in chunk]


class LayerEdits:
    """What the runs of a chunk edit in one layer.

    Attributes:
        whole: Whether an edit has to see the whole prompt.
        edits: What is done while the layer runs.
    """

    def __init__(
        self,
        model: LanguageModel,
        layer: int,
        runs: Sequence[RunEdits],
        clean: int | None = None,
    ) -> None:
        """Find the runs that edit anything there.

        Args:
            model: The model.
            layer: The layer.
            runs: The edits of each run.
            clean: Which of the runs is a clean one, None where none is.
        """
        self._clean = clean
        # A layer of experts has no units, and no run that edits them.
        heads, units = model.attn_out(layer), model.arch.mlp_out_path(layer)
        self._heads = [(j, s, heads) for j, s in enumerate(runs) if heads in s.plan]
        self._units = [(j, s, units) for j, s in enumerate(runs) if units in s.plan]
        stream = stream_path(model, layer)
        self._streams = [(j, s, stream) for j, s in enumerate(runs) if stream in s.plan]
        both = [*self._heads, *self._units, *self._streams]
        self.whole = any(stage.whole(path) for _, stage, path in both)
        self.edits = Edits(
            z=self._edit_heads if self._heads else None,
            units=self._edit_units if self._units else None,
            stream=self._edit_streams if self._streams else None,
        )

    def _edit_heads(self, z: Tensor) -> Tensor:
        for row, stage, path in self._heads:
            beside = None if self._clean is None else z[:, self._clean]
            stage.edit(z[:, row], path, beside)
        return z

    def _edit_units(self, units: Tensor) -> Tensor:
        for row, stage, path in self._units:
            stage.edit(units[:, row], path)
        return units

    def _edit_streams(self, resid: Tensor) -> Tensor:
        for row, stage, path in self._streams:
            stage.edit(resid[:, row], path)
        return resid
