"""Interventions: pure functions on z of heads and units, and on the residual stream.

z is the input of the projection that a head or unit writes by: for heads the attention output
projection, for units the MLP down-projection. An edit gets the z of one head, shape
``[batch, seq, d_head]``, of the k units of a set that are of one layer, ``[batch, seq, k]``, or
the residual stream after a layer, ``[batch, seq, d_model]``, and the `Site` it stands at, and
returns it edited, of the same shape; the engine keeps the result where the site's mask is true.
``seq`` is the prompt's, right-aligned, or 1: the last token alone, where only that is edited and
runs share what comes before, or a generated token.
Definitions: zero, mean, resample, patch and scale as in Zhang & Nanda (2309.16042) and
Heimersheim & Nanda (2404.15255).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position
from emolib.inputs.targets import Part, Stream, StreamSet, Targets, TargetSet, target_set
from emolib.inputs.units import LayerUnits, Unit
from emolib.models.encoding import Batch, Prompts


@dataclass(frozen=True)
class Site:
    """Where an edit stands.

    Attributes:
        target: The head, the units of one layer, or the stream.
        batch: The prompts being run.
        position: The position setting of the run.
        draw: Number of the draw, from 0, for interventions that draw.
        generated: True for a token that the model generated, where ``seq`` is 1.
    """

    target: Part
    batch: Batch
    position: Position
    draw: int
    generated: bool

    @property
    def head(self) -> Head:
        """The head.

        Raises:
            TypeError: When the edit is not one of heads.
        """
        if not isinstance(self.target, Head):
            raise TypeError(f"site.head: the edit is of {self.target}, no head; read site.target")
        return self.target


Edit = Callable[[Tensor, Site], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How an intervention was made, to make the same of other heads or units.

    Two interventions of equal recipes and equal targets do the same.

    Attributes:
        make: The function that made it, from targets.
        arguments: What else it was given, in order.
        options: What it was given by name.
        general: Whether the same can be made of any other targets; not where it was given the
            activations of its own units alone.
    """

    make: Callable[..., Intervention]
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    general: bool = True

    def of(self, targets: Targets) -> Intervention:
        """Return the same intervention of other targets."""
        return self.make(targets, *self.arguments, **dict(self.options))


@dataclass(frozen=True)
class Intervention:
    """One joint edit of a set of heads, of units or of streams.

    Attributes:
        kind: Its name, ``zero``.
        targets: The heads, units or streams it edits together.
        edit: The function on z, or on the stream.
        draws: Runs that its effect is averaged over.
        every_step: Whether generated tokens are edited at every position setting, not under
            ``all`` alone.
        tokenwise: Whether the edit of a token needs no other token's z, so that under ``last`` it
            may be given the last token alone.
        recipe: How to make the same of other targets; None where that is not known.
        held: The clean z that every other head keeps, at all tokens from the first that is edited;
            None where they go on as they come. Generated tokens have none.
    """

    kind: str
    targets: TargetSet
    edit: Edit
    draws: int = 1
    every_step: bool = False
    tokenwise: bool = False
    recipe: Recipe | None = None
    held: Activations | None = None

    def __str__(self) -> str:
        """Return ``zero(L0H1+L2H3)``."""
        return f"{self.kind}({self.targets})"


class ByLayer(Sequence[Tensor]):
    """z of each layer, ``[n, seq, n_heads, d_head]``, read when it is asked for."""

    def __init__(self, count: int, width: int, read: Callable[[int, int], Tensor]) -> None:
        """Hold how they are read.

        Args:
            count: Number of layers.
            width: Columns, ``seq``.
            read: From a layer and a number of columns to z of the last ones.
        """
        self._count, self._width, self._read = count, width, read
        self._latest: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of layers."""
        return self._count

    def __getitem__(self, layer: Any) -> Any:
        """Return z of a layer, of all columns."""
        return self.last(layer, self._width)

    def last(self, layer: int, columns: int) -> Tensor:
        """Return z of a layer in the last columns, ``[n, columns, n_heads, d_head]``."""
        if not 0 <= layer < self._count:
            raise IndexError(layer)
        columns = min(columns, self._width)
        if self._latest is None or self._latest[0] != layer or self._latest[1].shape[1] < columns:
            self._latest = layer, self._read(layer, columns)
        return self._latest[1][:, -columns:]


class CleanZ(ByLayer):
    """z of the clean run of a model as it was loaded: who runs the same prompts has it at hand."""


NO_HEADS = ByLayer(0, 0, lambda layer, columns: torch.empty(0))
"""In place of z where units were read."""


@dataclass(frozen=True, eq=False)
class Activations:
    """z of every head, or of some units, on some prompts, read from one clean run.

    Attributes:
        prompts: The prompts, n of them.
        batch: All of them as one batch, for masks.
        z: Per layer, shape ``[n, seq, n_heads, d_head]``, padded on the left; empty where units
            were read.
        units: Per unit that was read, shape ``[n, seq]``.
    """

    prompts: Prompts
    batch: Batch
    z: ByLayer
    units: Mapping[Unit, Tensor] = field(default_factory=dict)

    def of(self, target: Part, columns: int | None = None) -> Tensor:
        """Return the z of one head, shape ``[n, seq, d_head]``, or of units, ``[n, seq, k]``.

        Args:
            target: The head, or the units of one layer.
            columns: How many of the last columns are wanted; None for all.

        Raises:
            InputError: When it was not read.
        """
        if isinstance(target, LayerUnits):
            if lacking := [unit for unit in target if unit not in self.units]:
                raise InputError(
                    f"these activations are not of unit {lacking[0]}; read them with "
                    f"study.activations(side, units)"
                )
            read = torch.stack([self.units[unit] for unit in target], dim=-1)
            return read if columns is None else read[:, -columns:]
        if not isinstance(target, Head):
            raise InputError(
                f"there are no activations of {target}, only of heads and units; "
                "study.streams_at_last(side) reads the stream"
            )
        if not self.z:
            raise InputError(
                f"these activations are of units, expected those of head {target}; read them "
                "with study.activations(side)"
            )
        wanted = self.prompts.width if columns is None else columns
        return self.z.last(target.layer, wanted)[:, :, target.index]

    def mean(self, target: Part, position: Position) -> Tensor:
        """Return E_ref[z] over prompts.

        Returns:
            Shape ``[seq, d]``, position by position, when `position` is ``all`` and the prompts
            are of one length; else ``[d]``, over all prompts and the positions that `position`
            points at. d is d_head, or the number of units.
        """
        mask = self.batch.at(position)
        if position == "all" and bool(mask.all()):
            return self.of(target).mean(0)
        first = int(mask.any(0).nonzero()[0])
        return self.of(target, mask.shape[1] - first)[mask[:, first:]].mean(0)


def zero(targets: Targets) -> Intervention:
    """Set z to 0: off-distribution, and it also removes a constant that a head carries."""
    return Intervention(
        "zero",
        target_set(targets),
        lambda z, _: torch.zeros_like(z),
        tokenwise=True,
        recipe=Recipe(zero),
    )


def scale(targets: Targets, factor: float) -> Intervention:
    """Multiply z; ``scale(targets, 0)`` is `zero`, ``scale(targets, 1)`` changes nothing."""
    name = f"scale[{factor:g}]"
    return Intervention(
        name,
        target_set(targets),
        lambda z, _: factor * z,
        tokenwise=True,
        recipe=Recipe(scale, (factor,)),
    )


def edit(
    targets: Targets, function: Callable[[Tensor], Tensor], kind: str = "edit"
) -> Intervention:
    """Apply a pure function of one's own to z, of whole prompts at a time.

    Args:
        targets: The heads or units, edited together; `function` is called once for each.
        function: From z, shape ``[batch, seq, d_head]``, to the same shape.
        kind: The name that shows in tables.
    """
    return Intervention(kind, target_set(targets), lambda z, _: function(z))


def mean(targets: Targets, reference: Activations) -> Intervention:
    """Set z to its mean over the reference, position by position where positions align.

    Args:
        targets: The heads or units, edited together.
        reference: z on reference prompts, balanced over emotion and neutral.
    """

    def apply(z: Tensor, site: Site) -> Tensor:
        value = reference.mean(site.target, site.position)
        prompts = site.batch.prompts
        aligned = set(map(len, prompts.ids)) == {reference.prompts.width}
        if value.ndim == 2 and (site.generated or not aligned):
            value = value.mean(0)
        if value.ndim == 2:
            value = value[-z.shape[1] :]
        return value.to(z).expand_as(z)

    recipe = _recipe(mean, reference)
    return Intervention("mean", target_set(targets), apply, tokenwise=True, recipe=recipe)


def _recipe(make: Callable[..., Intervention], z: Activations, **options: Any) -> Recipe:
    """Return the recipe of an intervention that takes z: of all heads, or of some units alone."""
    return Recipe(make, (z,), tuple(options.items()), general=bool(z.z))


def resample(
    targets: Targets, reference: Activations, *, draws: int = 10, seed: int = 0
) -> Intervention:
    """Set z to its value on prompts drawn from the reference; the *effects* are averaged.

    At ``last`` any other reference prompt can stand in; elsewhere only those of the same length
    and slot, so that z never moves across positions. The prompt itself never does. Generated
    tokens have no counterpart in the reference and are left alone.

    Args:
        targets: The heads or units, edited together, all from the same drawn prompt.
        reference: z on reference prompts.
        draws: How many draws the effect is averaged over.
        seed: The same seed draws the same prompts.
    """

    def apply(z: Tensor, site: Site) -> Tensor:
        if site.generated:
            return z
        prompts = site.batch.prompts
        donors = [_donor(reference.prompts, prompts, row, site, seed) for row in site.batch.rows]
        return _right_aligned(reference.of(site.target, z.shape[1])[donors], z)

    recipe = _recipe(resample, reference, draws=draws, seed=seed)
    chosen = target_set(targets)
    return Intervention("resample", chosen, apply, draws, tokenwise=True, recipe=recipe)


def _donor(reference: Prompts, prompts: Prompts, row: int, site: Site, seed: int) -> int:
    # A draw of the prompt itself would change nothing and dilute the effect.
    candidates = [i for i, ids in enumerate(reference.ids) if ids != prompts.ids[row]]
    if site.position != "last":
        slots = None if prompts.slots is None else prompts.slots[row]
        candidates = [
            i
            for i in candidates
            if len(reference.ids[i]) == len(prompts.ids[row])
            and (reference.slots is None or reference.slots[i] == slots)
        ]
    if not candidates:
        alike = "" if site.position == "last" else " of its length and slot"
        raise InputError(
            f"resample at {site.position!r}: there is no other reference prompt{alike} for prompt "
            f"{row}; give more prompts, or use --position last"
        )
    # Seeded per row and draw, so that a prompt's donor does not depend on its batch.
    return random.Random(f"{seed}:{site.draw}:{row}").choice(candidates)


def _right_aligned(values: Tensor, z: Tensor) -> Tensor:
    width = min(values.shape[1], z.shape[1])
    aligned = z.clone()
    aligned[:, -width:] = values[:, -width:].to(z)
    return aligned


def patch(targets: Targets, source: Activations, *, every_step: bool = False) -> Intervention:
    """Set z to its value on the paired prompt, row by row.

    Run neutral with the z of emotion (denoise: sufficiency) or emotion with the z of neutral
    (noise: necessity). z is replaced, so what the head attends to and what it reads there both
    come from the pair. Generated tokens have no counterpart there and are left alone.

    Args:
        targets: The heads or units, edited together.
        source: z on the paired prompts: as many, each of the same token length.
        every_step: Give every generated token the z of the paired prompt's last token.

    Raises:
        InputError: In the run, when the prompts do not pair up.
    """

    def apply(z: Tensor, site: Site) -> Tensor:
        if site.generated and not every_step:
            return z
        prompts = site.batch.prompts
        lengths = [len(ids) for ids in prompts.ids]
        if [len(ids) for ids in source.prompts.ids] != lengths:
            raise InputError(
                f"patch: expected {len(lengths)} source prompts of the same token lengths, got "
                f"{len(source.prompts)} that differ; patch between the two sides of aligned pairs"
            )
        return source.of(site.target, z.shape[1])[list(site.batch.rows)].to(z)

    return Intervention(
        "patch",
        target_set(targets),
        apply,
        every_step=every_step,
        tokenwise=True,
        recipe=_recipe(patch, source, every_step=every_step),
    )


def alone(intervention: Intervention, clean: Activations) -> Intervention:
    """Return the same with every head that it does not edit held at its clean z.

    What is left of its effect is the direct one: the way down the residual stream, through the
    MLPs, past all other heads (path patching with the logits as receiver, Wang et al. 2211.00593).
    Of a set of heads each starts from its clean z.

    Args:
        intervention: What to do.
        clean: z of the prompts that will run, read from their clean run.

    Raises:
        InputError: In the run, when `clean` is of other prompts.
    """
    inner = intervention.recipe
    recipe = inner and Recipe(_alone, (inner, clean), general=inner.general)
    kind = f"alone[{intervention.kind}]"
    return replace(intervention, kind=kind, recipe=recipe, held=clean)


def _alone(targets: Targets, recipe: Recipe, clean: Activations) -> Intervention:
    return alone(recipe.of(targets), clean)


@dataclass(frozen=True, eq=False)
class _Vectors:
    """Vectors by part, ``[draws, d]``: two that were made apart are never taken for the same."""

    of: Mapping[Part, Tensor]


def steer(streams: Targets | int, vector: Tensor, alpha: float = 1.0) -> Intervention:
    """Add ``alpha`` times a vector to the residual stream after a layer.

    At ``last`` it is added at the last prompt token and at every generated one, as activation
    steering does (Turner et al. 2308.10248; Rimsky et al. 2312.06681); elsewhere in the prompt
    where the position points, and at every generated token too. ``alpha = 0`` changes nothing.

    Args:
        streams: The layer, or several: the stream after each.
        vector: Shape ``[d_model]``, in units of the residual stream; or several, ``[draws,
            d_model]``, over which the effect is averaged, as of random directions.
        alpha: Its factor.

    Raises:
        InputError: When the vector is not one of finite numbers, or no layer is named; in the run,
            when it is of another width than the stream, or the model has no such layer.
    """
    chosen = target_set(Stream(streams) if isinstance(streams, int) else streams)
    if not isinstance(chosen, StreamSet):
        raise InputError(f"steer: expected layers, got {chosen}; shift(heads, …) moves z of heads")
    return _steer(chosen, _Vectors(dict.fromkeys(chosen, _checked("steer", vector))), alpha)


def shift(heads: Targets, vectors: Mapping[Head, Tensor], alpha: float = 1.0) -> Intervention:
    """Add ``alpha`` times a vector to z of each head, as inference-time intervention does.

    At ``last`` it is added at the last prompt token and at every generated one, as in Li et al.
    (2306.03341). ``alpha = 0`` changes nothing.

    Args:
        heads: The heads, edited together.
        vectors: By head the vector, ``[d_head]``; or several each, ``[draws, d_head]``, over which
            the effect is averaged.
        alpha: Their factor.

    Raises:
        InputError: When a head has no vector, it is not one of finite numbers, or heads have
            another number of draws each; in the run, when it is of another width than z.
    """
    chosen = target_set(heads)
    made: dict[Part, Tensor] = {}
    for head in chosen:
        if not isinstance(head, Head):
            raise InputError(f"shift: expected heads, got {head}; steer(layer, …) moves the stream")
        if head not in vectors:
            raise InputError(f"shift: head {head} has no vector; give one for each head")
        made[head] = _checked(f"shift: {head}", vectors[head])
    return _steer(chosen, _Vectors(made), alpha, "shift")


def _checked(what: str, vector: Tensor) -> Tensor:
    """Return vectors as ``[draws, d]``."""
    fits = isinstance(vector, Tensor) and vector.ndim in (1, 2) and vector.numel() > 0
    if not fits or not bool(vector.isfinite().all()):
        got = f"shape {list(vector.shape)}" if isinstance(vector, Tensor) else type(vector).__name__
        why = f"{got}, some of it not finite" if fits else got
        raise InputError(
            f"{what}: expected a tensor of finite numbers, [d] or [draws, d], got {why}"
        )
    return vector.detach().reshape(-1, vector.shape[-1])


def _steer(chosen: TargetSet, vectors: _Vectors, alpha: float, kind: str = "steer") -> Intervention:
    [draws, *others] = sorted({len(vector) for vector in vectors.of.values()})
    if others:
        raise InputError(f"{kind}: expected as many draws of each vector, got {[draws, *others]}")

    def apply(values: Tensor, site: Site) -> Tensor:
        # Beside an intervention of more draws they come around again.
        vector = vectors.of[site.target][site.draw % draws]
        if len(vector) != values.shape[-1]:
            raise InputError(
                f"{kind}: the vector at {site.target} has {len(vector)} numbers, expected "
                f"{values.shape[-1]}; make it of this model's own (emolib.methods.directions)"
            )
        return values + (alpha * vector).to(values)

    return Intervention(
        f"{kind}[{alpha:g}]",
        chosen,
        apply,
        draws,
        every_step=True,
        tokenwise=True,
        # Vectors are of their own place, whatever others there are.
        recipe=Recipe(_steer, (vectors, alpha, kind), general=False),
    )
