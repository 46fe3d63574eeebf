"""Optimal ablation: the constant in place of z that changes ``logit_diff`` least.

Zero and the mean are constants chosen beforehand, and part of what they do is that z is then
unlike any that the rest of the model knows. The best constant keeps of that what a constant can,
so that what is left is what the head says of the prompt (Li & Janson 2409.09951, who minimise a
loss over the data; docs/science.md, "Interventions").

The loss here is the mean squared change of ``logit_diff``. It is what effects are measured in, and
a sum of squares of one number a prompt, whose gradients one backward pass gives for all prompts:
Gauss–Newton steps need no more. KL, the paper's choice for circuits, would hold the constant to
tokens that no effect here is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emolib.engine.constants import Constant
from emolib.engine.costs import Planned, Runs
from emolib.engine.gradients import Objective
from emolib.engine.runner import Runner
from emolib.errors import InputError
from emolib.inputs.prompts import Position, Side
from emolib.inputs.targets import StreamSet, Targets, TargetSet, parts, target_set
from emolib.interventions import Activations, Intervention, Recipe, Site
from emolib.models.encoding import Prompts
from emolib.stats.summary import two_halves

SIDES: tuple[Side, ...] = ("emotion", "neutral")
STARTS = 2
"""Constants that a fit begins from: the mean and zero, of which the better goes on."""
STEPS = 10
"""Most steps of a fit, those that did not lower the loss counted in."""
_AT_ONCE = 64
"""Sets that are fitted side by side."""
_DAMPED, _LESS, _MORE = 1e-3, 0.2, 10.0
"""Where damping begins, as a share of the trace, and what a good or a bad step makes of it."""
_ENOUGH = 1e-13
"""A step that promises to lower the loss by less than this share of it is not taken."""
_ROUNDING = 1e-7
"""Share of a logit that is rounding: a loss of its square is none."""


@dataclass(frozen=True)
class Fitted:
    """The constants of one set, a row per half of the templates that they were fitted on.

    Attributes:
        targets: The heads or units.
        widths: Dimensions of each part of them, D in all.
        constants: What stands in for z, one part after the other, ``[2, D]``.
        loss: Mean squared change of ``logit_diff`` on the half, logits², ``[2]``.
        mean_loss: The same of the mean as the constant.
        zero_loss: The same of zero.
    """

    targets: TargetSet
    widths: list[int]
    constants: Tensor
    loss: Tensor
    mean_loss: Tensor
    zero_loss: Tensor


class OptimalAblation:
    """Fits constants set by set, and ablates by them.

    Each half of the templates (of a free list's prompts, every other one) has a constant fitted
    to it, on as many emotion prompts as neutral ones; a prompt is ablated with the constant of the
    half that it is not in. So every prompt has an effect, and none is of a constant that was
    fitted to it. Of emotion prompts alone the best constant of a head that carries the emotion
    would be what it says of the emotion, and ablating it would show nothing.
    """

    def __init__(
        self,
        runner: Runner[Any],
        prompts: Callable[[Side], Prompts],
        objective: Objective,
        clean: Callable[[Side], Tensor],
        reference: Callable[[Targets], Activations],
        position: Position,
    ) -> None:
        """Hold what fits are made with.

        Args:
            runner: What runs the model.
            prompts: From a side to its prompts.
            objective: ``logit_diff`` of logits.
            clean: From a side to clean ``logit_diff``, ``[n]``.
            reference: From targets to clean z on prompts of both sides, for the mean.
            position: Where constants stand while they are fitted.
        """
        self._runner, self._prompts, self._objective = runner, prompts, objective
        self._make_clean, self._reference, self._position = clean, reference, position
        self._clean: dict[Side, Tensor] = {}
        self._fitted: dict[TargetSet, Fitted] = {}

    def ablate(self, targets: Targets) -> Intervention:
        """Return the ablation of heads or units by the constants fitted to them.

        Raises:
            InputError: When they are streams, or a half has no prompt on some side.
        """
        chosen = target_set(targets)
        fitted = self.fit(chosen)
        values = torch.split(fitted.constants, fitted.widths, dim=1)
        cut = dict(zip(parts(chosen), values, strict=True))

        def apply(z: Tensor, site: Site) -> Tensor:
            others = 1 - halves_of(site.batch.prompts)[list(site.batch.rows)]
            there = cut[site.target].to(z)[others.to(z.device), None]
            return there.expand_as(z)

        recipe = Recipe(self.ablate)
        return Intervention("optimal", chosen, apply, tokenwise=True, recipe=recipe)

    def fit(self, targets: TargetSet) -> Fitted:
        """Return the constants of a set, fitted with those of the runs that are to come beside it.

        Raises:
            InputError: As `ablate` does.
        """
        if isinstance(targets, StreamSet):
            raise InputError(
                f"optimal ablation: expected heads or units, got {targets}; the stream carries all "
                "that a prompt says, and no constant stands in for that"
            )
        if self._runner.under:
            # It belongs to what others have put on the model.
            self._clean.clear()
            [made] = self._fit([targets])
            self._clean.clear()
            return made
        if targets not in self._fitted:
            others = self._runner.companions(targets)
            todo = [one for one in others if one != targets and one not in self._fitted]
            todo.insert(0, targets)
            for start in range(0, len(todo), _AT_ONCE):
                for made in self._fit(todo[start : start + _AT_ONCE]):
                    self._fitted[made.targets] = made
        return self._fitted[targets]

    def _fit(self, sets: Sequence[TargetSet]) -> list[Fitted]:
        """Return the constants of some sets, fitted side by side."""
        by_part = [self._means(one) for one in sets]
        means = [torch.cat(values).expand(2, -1) for values in by_part]
        zeros = [torch.zeros_like(mean) for mean in means]
        tried = self._measured([*zip(sets, means, strict=True), *zip(sets, zeros, strict=True)])
        fits = []
        for index in range(len(sets)):
            starts = tried[index], tried[index + len(sets)]
            fits.append([_Fit([start[half] for start in starts]) for half in (0, 1)])
        for _ in range(STEPS):
            going = [index for index, of_set in enumerate(fits) if any(f.goes_on for f in of_set)]
            if not going:
                break
            proposed = [torch.stack([f.proposed() for f in fits[index]]) for index in going]
            found = self._measured(
                [(sets[index], there) for index, there in zip(going, proposed, strict=True)]
            )
            for index, of_set in zip(going, found, strict=True):
                for fit, point in zip(fits[index], of_set, strict=True):
                    fit.judge(point)
        return [
            Fitted(
                one,
                [len(value) for value in values],
                torch.stack([fit.best.constant for fit in of_set]),
                *(_losses(of_set, start) for start in (None, 0, 1)),
            )
            for one, values, of_set in zip(sets, by_part, fits, strict=True)
        ]

    def _means(self, targets: TargetSet) -> list[Tensor]:
        """Return the mean of z over the reference part by part, as `mean` has it, ``[d]`` each."""
        reference, position = self._reference(targets), self._position
        values = [reference.mean(part, position).double().cpu() for part in parts(targets)]
        return [value.mean(0) if value.ndim == 2 else value for value in values]

    def _measured(self, tried: Sequence[tuple[TargetSet, Tensor]]) -> list[list[_Point]]:
        """Return what constants do on the prompts of both sides, per set and half."""
        found: list[list[list[_Point]]] = [[[], []] for _ in tried]
        count = min(len(self._prompts(side)) for side in SIDES)
        for side in SIDES:
            halves = halves_of(self._prompts(side))
            runs = [Constant(targets, there[halves]) for targets, there in tried]
            clean = self._clean_of(side)
            slopes = self._runner.constant_slopes(side, self._position, self._objective, runs)
            for points, (_, there), (values, slope) in zip(found, tried, slopes, strict=True):
                for half in (0, 1):
                    rows = (halves == half) & (torch.arange(len(halves)) < count)
                    if not bool(rows.any()):
                        raise InputError(
                            "optimal ablation: expected two prompts or more on each side, to fit "
                            f"on one half and measure on the other, got {len(halves)} {side}"
                        )
                    change = values[rows] - clean[rows]
                    points[half].append(_Point(there[half], change, slope[rows]))
        return [[_together(sides) for sides in of_set] for of_set in found]

    def _clean_of(self, side: Side) -> Tensor:
        if side not in self._clean:
            self._clean[side] = self._make_clean(side)
        return self._clean[side]


def halves_of(prompts: Prompts) -> Tensor:
    """Return 0 or 1 per prompt, its half: one template here, the next one there, ``[n]``."""
    return torch.from_numpy(two_halves(len(prompts), prompts.clusters))


@dataclass(frozen=True)
class _Point:
    """A constant and what it does on the prompts of a half.

    Attributes:
        constant: Shape ``[D]``.
        change: Of ``logit_diff``, logits, ``[n]``.
        slope: Its gradient at the constant, ``[n, D]``.
    """

    constant: Tensor
    change: Tensor
    slope: Tensor

    @property
    def loss(self) -> float:
        """Mean squared change, logits²."""
        return float(self.change.square().mean())


def _together(sides: Sequence[_Point]) -> _Point:
    return _Point(
        sides[0].constant,
        torch.cat([side.change for side in sides]),
        torch.cat([side.slope for side in sides]),
    )


class _Fit:
    """One constant on its way down: Gauss–Newton steps, damped as Levenberg and Marquardt do.

    Attributes:
        best: Where the loss was lowest.
    """

    def __init__(self, starts: Sequence[_Point]) -> None:
        """Begin from the best of some points."""
        self._starts = starts
        self.best = min(starts, key=lambda start: start.loss)
        self._damping = _DAMPED
        self._next: Tensor | None = None
        self._propose()

    @property
    def goes_on(self) -> bool:
        """Whether another step may lower the loss."""
        return self._next is not None

    def proposed(self) -> Tensor:
        """Return the constant to try next; the best one where there is none."""
        return self.best.constant if self._next is None else self._next

    def judge(self, point: _Point) -> None:
        """Take a step that was tried, if it lowered the loss, and propose the next."""
        if self._next is None:
            return
        if point.loss < self.best.loss:
            self.best, self._damping = point, self._damping * _LESS
        else:
            self._damping *= _MORE
        self._propose()

    def loss_of(self, start: int | None) -> float:
        """Return the loss of a start by its number; None for the lowest."""
        return self.best.loss if start is None else self._starts[start].loss

    def _propose(self) -> None:
        self._next = None
        change, slope = self.best.change, self.best.slope
        # Prompts by prompts, which are fewer than the dimensions of a large set.
        kernel = slope @ slope.T
        size, loss = float(kernel.trace()), self.best.loss
        if not size or loss <= _ROUNDING**2:
            return
        damped = kernel + self._damping * size * torch.eye(len(kernel), dtype=kernel.dtype)
        step = -slope.T @ torch.linalg.solve(damped, change)
        promised = loss - float((change + slope @ step).square().mean())
        if promised > _ENOUGH * loss:
            self._next = self.best.constant + step


def _losses(fits: Sequence[_Fit], start: int | None) -> Tensor:
    return torch.tensor([fit.loss_of(start) for fit in fits], dtype=torch.float64)


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of fits, at most: a gradient for every start and step, on both sides."""
    if planned.ablation == "optimal":
        for side in SIDES:
            tries = planned.firsts * (STARTS + STEPS)
            yield planned.runs(side, tries, backward=True)
