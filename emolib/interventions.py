"""Interventions: pure functions on z, the input of the attention output projection, per head.

An edit gets the z of one head, shape ``[batch, seq, d_head]``, and the `Site` it stands at, and
returns z edited, of the same shape; the engine keeps the result where the site's mask is true.
``seq`` is the prompt's, right-aligned, or 1: the last token alone, where only that is edited and
runs share what comes before, or a generated token.
Definitions: zero, mean, resample, patch and scale as in Zhang & Nanda (2309.16042) and
Heimersheim & Nanda (2404.15255).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from emolib.encoding import Batch, Prompts
from emolib.errors import InputError
from emolib.heads import Head, HeadSet, head_set
from emolib.profiles import Position

Heads = Head | HeadSet | Iterable[Head]


@dataclass(frozen=True)
class Site:
    """Where an edit stands.

    Attributes:
        head: The head.
        batch: The prompts being run.
        position: The position setting of the run.
        draw: Number of the draw, from 0, for interventions that draw.
        generated: True for a token that the model generated, where ``seq`` is 1.
    """

    head: Head
    batch: Batch
    position: Position
    draw: int
    generated: bool


Edit = Callable[[Tensor, Site], Tensor]


@dataclass(frozen=True)
class Intervention:
    """One joint edit of a set of heads.

    Attributes:
        kind: Its name, ``zero``.
        heads: The heads it edits together.
        edit: The function on z.
        draws: Runs that its effect is averaged over.
        every_step: Whether generated tokens are edited at every position setting, not under
            ``all`` alone.
        tokenwise: Whether the edit of a token needs no other token's z, so that under ``last`` it
            may be given the last token alone.
    """

    kind: str
    heads: HeadSet
    edit: Edit
    draws: int = 1
    every_step: bool = False
    tokenwise: bool = False

    def __str__(self) -> str:
        """Return ``zero(L0H1+L2H3)``."""
        return f"{self.kind}({self.heads})"


@dataclass(frozen=True)
class Activations:
    """z of every head on some prompts, read from one clean run.

    Attributes:
        prompts: The prompts, n of them.
        batch: All of them as one batch, for masks.
        z: Per layer, shape ``[n, seq, n_heads, d_head]``, padded on the left.
    """

    prompts: Prompts
    batch: Batch
    z: tuple[Tensor, ...]

    def of(self, head: Head) -> Tensor:
        """Return the z of one head, shape ``[n, seq, d_head]``."""
        return self.z[head.layer][:, :, head.index]

    def mean(self, head: Head, position: Position) -> Tensor:
        """Return E_ref[z] over prompts.

        Returns:
            Shape ``[seq, d_head]``, position by position, when `position` is ``all`` and the
            prompts are of one length; else ``[d_head]``, over all prompts and the positions
            that `position` points at.
        """
        z = self.of(head)
        mask = self.batch.at(position)
        if position == "all" and bool(mask.all()):
            return z.mean(0)
        return z[mask].mean(0)


def zero(heads: Heads) -> Intervention:
    """Set z to 0: off-distribution, and it also removes a constant that the head carries."""
    return Intervention("zero", head_set(heads), lambda z, _: torch.zeros_like(z), tokenwise=True)


def scale(heads: Heads, factor: float) -> Intervention:
    """Multiply z; ``scale(heads, 0)`` is `zero`, ``scale(heads, 1)`` changes nothing."""
    name = f"scale[{factor:g}]"
    return Intervention(name, head_set(heads), lambda z, _: factor * z, tokenwise=True)


def edit(heads: Heads, function: Callable[[Tensor], Tensor], kind: str = "edit") -> Intervention:
    """Apply a pure function of one's own to z, of whole prompts at a time.

    Args:
        heads: The heads, edited together; `function` is called once for each.
        function: From z, shape ``[batch, seq, d_head]``, to the same shape.
        kind: The name that shows in tables.
    """
    return Intervention(kind, head_set(heads), lambda z, _: function(z))


def mean(heads: Heads, reference: Activations) -> Intervention:
    """Set z to its mean over the reference, position by position where positions align.

    Args:
        heads: The heads, edited together.
        reference: z on reference prompts, balanced over emotion and neutral.
    """

    def apply(z: Tensor, site: Site) -> Tensor:
        value = reference.mean(site.head, site.position)
        prompts = site.batch.prompts
        aligned = set(map(len, prompts.ids)) == {reference.prompts.width}
        if value.ndim == 2 and (site.generated or not aligned):
            value = value.mean(0)
        return value.to(z).expand_as(z)

    return Intervention("mean", head_set(heads), apply, tokenwise=True)


def resample(
    heads: Heads, reference: Activations, *, draws: int = 10, seed: int = 0
) -> Intervention:
    """Set z to its value on prompts drawn from the reference; the *effects* are averaged.

    At ``last`` any other reference prompt can stand in; elsewhere only those of the same length
    and slot, so that z never moves across positions. The prompt itself never does. Generated
    tokens have no counterpart in the reference and are left alone.

    Args:
        heads: The heads, edited together, all from the same drawn prompt.
        reference: z on reference prompts.
        draws: How many draws the effect is averaged over.
        seed: The same seed draws the same prompts.
    """

    def apply(z: Tensor, site: Site) -> Tensor:
        if site.generated:
            return z
        prompts = site.batch.prompts
        donors = [_donor(reference.prompts, prompts, row, site, seed) for row in site.batch.rows]
        return _right_aligned(reference.of(site.head)[donors], z)

    return Intervention("resample", head_set(heads), apply, draws, tokenwise=True)


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


def patch(heads: Heads, source: Activations, *, every_step: bool = False) -> Intervention:
    """Set z to its value on the paired prompt, row by row.

    Run neutral with the z of emotion (denoise: sufficiency) or emotion with the z of neutral
    (noise: necessity). z is replaced, so what the head attends to and what it reads there both
    come from the pair. Generated tokens have no counterpart there and are left alone.

    Args:
        heads: The heads, edited together.
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
        rows = site.batch.rows
        return source.of(site.head)[rows.start : rows.stop, -z.shape[1] :].to(z)

    return Intervention("patch", head_set(heads), apply, every_step=every_step, tokenwise=True)
