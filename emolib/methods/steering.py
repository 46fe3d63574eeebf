"""Directions that separate emotion from neutral, and what adding them to a model does.

Formulas: docs/science.md, "Directions and steering"; activation steering by differences of means
after Turner et al. (2308.10248) and Rimsky et al. (2312.06681), of heads after Li et al.
(2306.03341).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from emolib.engine.costs import CLEAN, Planned, Runs
from emolib.engine.hooked import split_heads
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.layer_specs import chosen_layers
from emolib.inputs.profiles import TEXT_DRAWS, Profile
from emolib.inputs.prompts import Side
from emolib.inputs.targets import Stream
from emolib.interventions import Intervention, shift, steer
from emolib.methods.readouts import Readout
from emolib.methods.study import Study
from emolib.models.encoding import Prompts
from emolib.stats.summary import two_halves

RANDOM = 5
"""Random directions of the same norm; logit metrics are averaged over all, texts have the first."""
EMOTION, CONTROL = "emotion", "random"
"""Names of the direction and of its control."""
SIDES: tuple[Side, ...] = ("neutral", "emotion")
Rows = Mapping[Side, Sequence[int]]
"""By side the numbers of some of its prompts."""


@dataclass(frozen=True, eq=False)
class Directions:
    """What separates the sides at the last prompt token: mean of emotion less mean of neutral.

    Attributes:
        streams: Of the residual stream after each layer, ``[n_layers, d_model]``, in its units.
        z: Of each head's z, ``[d_head]``.
    """

    streams: Tensor
    z: Mapping[Head, Tensor]


def directions(study: Study, rows: Rows | None = None) -> Directions:
    """Return the directions of a study's prompts, which need not align, in float64.

    Args:
        study: The study.
        rows: By side the prompts that are averaged over; None for all of them. What a direction
            does is then to be read on others.

    Raises:
        InputError: When the model's layers put out no plain residual stream.
    """
    sides = get_args(Side)
    every = {side: range(len(study.prompts(side))) for side in sides}
    return _AtLast(study).directions(every if rows is None else rows)


class _AtLast:
    """What the clean runs of both sides hold at the last token, to be averaged over any rows."""

    def __init__(self, study: Study) -> None:
        self._heads = study.model.heads
        self._streams = {side: study.streams_at_last(side) for side in get_args(Side)}
        self._z = {side: study.activations(side) for side in get_args(Side)}

    def directions(self, rows: Rows) -> Directions:
        def z(head: Head, side: Side) -> Tensor:
            return self._z[side].of(head, 1)[list(rows[side]), -1]

        def streams(side: Side) -> Tensor:
            return self._streams[side][:, list(rows[side])].transpose(0, 1)

        between = {head: _difference(partial(z, head)) for head in self._heads}
        return Directions(_difference(streams), between)


def _difference(of: Callable[[Side], Tensor]) -> Tensor:
    """Return the mean of emotion less that of neutral, of values with a row per prompt."""
    emotion, neutral = (of(side).double().mean(0) for side in get_args(Side))
    return emotion - neutral


@dataclass(frozen=True)
class Place:
    """Where a direction is added, and the two that are.

    Attributes:
        name: ``resid:2``, or the heads.
        make: By name of a direction from a dose to the intervention.
        norm: ``‖v‖`` of either direction, of heads that of their vectors side by side; in units
            of the stream, or of z.
        cosine: Between the direction and that of the prompts on which it is read; None where one
            of them is 0.
    """

    name: str
    make: Mapping[str, Callable[[float], Intervention]]
    norm: float
    cosine: float | None


@dataclass(frozen=True)
class Dose:
    """One run under a direction.

    Attributes:
        place: Where it is added.
        direction: ``emotion``, or ``random``: of the same norm, drawn.
        alpha: Its factor; 1 adds what separates the sides.
        side: Whose prompts run.
        clean: Their clean run.
        run: The run.
    """

    place: Place
    direction: str
    alpha: float
    side: Side
    clean: Readout
    run: Readout

    @property
    def named(self) -> dict[str, str]:
        """What tells it from other doses, as `record` takes it."""
        what = {"place": self.place.name, "direction": self.direction, "on": self.side}
        return what | {"alpha": f"{self.alpha:g}"}

    @property
    def size(self) -> dict[str, float | None]:
        """How long what is added is, and how far the direction is that of the other half."""
        told: dict[str, float | None] = {"norm": abs(self.alpha) * self.place.norm}
        return told | ({"cosine": self.place.cosine} if self.direction == EMOTION else {})


class Steering:
    """The doses of a study, one after the other; each is run when its turn comes.

    Attributes:
        study: What they run on: prompts that took no part in the directions.
        places: Where directions are added.
    """

    def __init__(self, study: Study, places: Sequence[Place]) -> None:
        """Hold what runs on what."""
        self.study, self.places = study, tuple(places)

    def __iter__(self) -> Iterator[Dose]:
        """Yield the doses, those of a place and a direction together."""
        runs = {
            side: [
                (place, direction, alpha, make(alpha))
                for place in self.places
                for direction, make in place.make.items()
                for alpha in doses(self.study.profile, side, direction)
            ]
            for side in SIDES
        }
        for side, found in runs.items():
            edits = [edit for *_, edit in found]
            for texts in (False, True):
                self.study.expect(edits, side, "last", texts=texts)
        for side, found in runs.items():
            for place, direction, alpha, edit in found:
                clean = self.study.run(on=side)
                run = self.study.run(edit, on=side, position="last")
                yield Dose(place, direction, alpha, side, clean, run)


def doses(profile: Profile, side: Side, direction: str) -> list[float]:
    """Return the doses that run on one side's prompts.

    On neutral ones all: do they bring the emotion about? On emotion ones those that take it away.
    Of random directions 0 is that of any other.
    """
    return [
        alpha
        for alpha in sorted(profile.steering_doses)
        if (side == "neutral" or alpha < 0) and (direction == EMOTION or alpha)
    ]


def steering(study: Study) -> Steering:
    """Return the doses of emotion directions, and of random ones, after layers and of heads.

    Directions are those of one half of the templates, or of free lists of every other prompt; what
    they do is read on prompts of the other half. The heads are those that matter most to first
    order on the half that the directions are of.

    Raises:
        InputError: When a half has no prompt, or the model no such layer or no plain stream.
    """
    profile, model = study.profile, study.model
    layers = chosen_layers(profile.steering_layers, model.n_layers, model=model.name)
    fit, other = (_half(study, number) for number in (0, 1))
    if not (all(map(len, fit.values())) and all(map(len, other.values()))):
        raise InputError(
            f"steering reads directions of one half of the prompts on the other: expected 2 or "
            f"more of each side, got {len(study.prompts())} of {study.emotion.name} and "
            f"{len(study.prompts('neutral'))} neutral; give more"
        )
    clean = _AtLast(study)
    own, others = clean.directions(fit), clean.directions(other)
    places = [_after(layer, own, others, profile.seed) for layer in layers]
    if count := profile.steering_heads:
        heads = HeadSet(tuple(strongest_heads(study, own, fit["neutral"])[:count]))
        places.append(_of_heads(heads, own, others, profile.seed))
    return Steering(held_out(study), places)


def _after(layer: int, own: Directions, others: Directions, seed: int) -> Place:
    vector, place = own.streams[layer], str(Stream(layer))
    drawn = _drawn(vector, f"{seed}:{place}")
    make = {EMOTION: partial(steer, layer, vector), CONTROL: partial(steer, layer, drawn)}
    return Place(place, make, float(vector.norm()), _cosine(vector, others.streams[layer]))


def _of_heads(heads: HeadSet, own: Directions, others: Directions, seed: int) -> Place:
    drawn = {head: _drawn(own.z[head], f"{seed}:{head}") for head in heads}
    make = {EMOTION: partial(shift, heads, own.z), CONTROL: partial(shift, heads, drawn)}
    here, there = (torch.cat([of.z[head] for head in heads]) for of in (own, others))
    return Place(str(heads), make, float(here.norm()), _cosine(here, there))


def _drawn(vector: Tensor, seed: str) -> Tensor:
    """Return random directions as long as a vector, ``[RANDOM, d]``."""
    # A string seed: hash() of one differs from one process to the next.
    generator = torch.Generator().manual_seed(random.Random(seed).getrandbits(63))
    drawn = torch.randn(RANDOM, len(vector), generator=generator, dtype=vector.dtype)
    unit = drawn / drawn.norm(dim=-1, keepdim=True)
    return torch.mul(unit.to(vector.device), vector.norm())


def _cosine(left: Tensor, right: Tensor) -> float | None:
    length = float(left.norm() * right.norm())
    return float(left @ right) / length if length > 0 else None


def strongest_heads(study: Study, of: Directions, rows: Sequence[int]) -> list[Head]:
    """Return the heads by how far their direction would move ``logit_diff``, to first order.

    ``|(z̄_emo − z̄_neu) · mean ∂LD/∂z|`` at clean neutral prompts, at the last token: what a dose of
    1 of the head alone would do if the model were linear.

    Args:
        study: The study.
        of: The directions.
        rows: The neutral prompts that the gradient is averaged over.
    """
    heads, wanted = study.model.heads, set(rows)
    slopes = {head: torch.zeros_like(of.z[head]) for head in heads}
    batches = study.runner.gradients("neutral", "last", study.objective, lambda *_: [None])
    for batch, [by_layer] in batches:
        kept = torch.tensor([row in wanted for row in batch.rows])
        for head in heads:
            slope = split_heads(by_layer[head.layer][kept, -1], study.model.n_heads)
            slopes[head] += slope[:, head.index].double().sum(0)
    size = {head: abs(float(of.z[head] @ slopes[head])) / len(wanted) for head in heads}
    return sorted(heads, key=lambda head: -size[head])


# Which prompts take part in what


def _half(study: Study, number: int) -> dict[Side, list[int]]:
    """Return the prompts of one half of the templates, by side."""
    return {side: _rows(study.prompts(side), number) for side in get_args(Side)}


def _rows(prompts: Prompts, number: int) -> list[int]:
    halves = two_halves(len(prompts), prompts.clusters)
    return [int(row) for row in np.flatnonzero(halves == number)]


def held_out_rows(prompts: Prompts, count: int) -> list[int]:
    """Return the prompts that directions are read on: of the other half, at most so many.

    They are spread over its templates.
    """
    seen: Counter[str] = Counter()
    order = []
    for row in _rows(prompts, 1):
        name = prompts.clusters[row] if prompts.clusters else str(row)
        order.append((seen[name], row))
        seen[name] += 1
    return sorted(row for _, row in sorted(order)[:count])


def held_out(study: Study) -> Study:
    """Return the study of the prompts that directions are read on."""
    emotion, count = study.emotion, study.profile.steering_prompts
    rows = {side: held_out_rows(study.prompts(side), count) for side in get_args(Side)}
    if emotion.pairs is not None:
        pairs = tuple(study.pairs.pairs[row] for row in rows["emotion"])
        some = replace(emotion, pairs=pairs)
    else:
        left, right = (
            tuple(emotion.written(side)[row] for row in rows[side]) for side in get_args(Side)
        )
        some = replace(emotion, free=(left, right))
    return Study(study.model, some, study.profile, study.lexicons)


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `steering`: what directions are made of, the gradient, and every dose.

    The heads are not known before, and taken to reach into the first layer.
    """
    profile = planned.profile
    yield from planned.clean(again=True)
    firsts = chosen_layers(profile.steering_layers, planned.n_layers, model="the model")
    if profile.steering_heads:
        firsts.append(0)
        yield Runs(planned.prompts["neutral"], "last", (0,), backward=True)
    for side, whole in planned.prompts.items():
        some = _some(whole, held_out_rows(whole, profile.steering_prompts))
        new = profile.max_new_tokens
        yield Runs(some, "last", (CLEAN,), new=new)
        for direction, draws in ((EMOTION, 1), (CONTROL, RANDOM)):
            runs = tuple(firsts) * len(doses(profile, side, direction))
            yield Runs(some, "last", runs * draws)
            yield Runs(some, "last", runs * TEXT_DRAWS, new=new)


def _some(prompts: Prompts, rows: Sequence[int]) -> Prompts:
    return Prompts(tuple(prompts.texts[r] for r in rows), tuple(prompts.ids[r] for r in rows))
