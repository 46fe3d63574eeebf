"""What can be read from z of a head: linear probes for the emotion, tested on held-out templates.

A probe tells what is there, not what the model uses (Belinkov 2022, 2102.12452): beside it stands
what ablating the head does. Formulas: docs/science.md, "Probes of z".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emolib.engine.costs import Planned, Runs
from emolib.inputs.heads import Head
from emolib.interventions import Activations, zero
from emolib.methods.cross_validation import (
    Interval,
    deal,
    in_turn,
    numbered,
    over_folds,
    permuted,
    told_ahead,
    told_right,
)
from emolib.methods.logistic import decided, held_out, is_constant
from emolib.methods.scores import Vector, to_numpy
from emolib.methods.study import Study
from emolib.stats.significance import sign_flip
from emolib.stats.summary import summarize

# What is as large but for rounding counts as large.
_TIE = 1e-9
ONE_EMOTION = "the profile has one emotion: there is nothing to tell it from"


@dataclass(frozen=True)
class Sides:
    """z of one head at the last token of both sides' prompts.

    Attributes:
        emotion: Shape ``[n, d_head]``.
        neutral: Shape ``[m, d_head]``; of pairs row by row beside `emotion`.
        templates: Per pair its template; None of free lists.
    """

    emotion: Tensor
    neutral: Tensor
    templates: tuple[str, ...] | None

    @property
    def inputs(self) -> Tensor:
        """All cases, the emotion's first, shape ``[n + m, d_head]``, float64."""
        return torch.cat([self.emotion, self.neutral]).double()

    @property
    def labels(self) -> Tensor:
        """1 for cases of the emotion, else 0, shape ``[n + m]``."""
        return torch.arange(len(self.emotion) + len(self.neutral)) < len(self.emotion)


@dataclass(frozen=True)
class Probed:
    """How well a probe told cases that it was not fitted on.

    Attributes:
        accuracy: Per pair, or per prompt of free lists (the emotion's first), the share of its
            cases told right; None where z is constant.
        auroc: The same of the share of cases of the other class in its fold that it is on the
            right side of: its mean is the area under the ROC curve, averaged over folds.
        accuracy_folds: 95 % interval of the accuracy over folds.
        auroc_folds: The same of the area.
        p: Share of swapped labellings whose area is as large, 1 added to both counts.
        null_accuracy: Mean accuracy under swapped labels.
        null_auroc: Mean area under swapped labels.
        why: Why there is no probe, else empty.
    """

    accuracy: Vector | None = None
    auroc: Vector | None = None
    accuracy_folds: Interval | None = None
    auroc_folds: Interval | None = None
    p: float | None = None
    null_accuracy: float | None = None
    null_auroc: float | None = None
    why: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return it as `record` takes it."""
        record: dict[str, Any] = {"accuracy": self.accuracy, "auroc": self.auroc, "p": self.p}
        record |= {"null_accuracy": self.null_accuracy, "null_auroc": self.null_auroc}
        for name in ("accuracy", "auroc"):
            low, high = getattr(self, f"{name}_folds") or (None, None)
            record |= {f"{name}_folds_low": low, f"{name}_folds_high": high}
        return record | ({"why_no_accuracy": self.why} if self.why else {})


@dataclass(frozen=True)
class ToldApart:
    """How well a probe told which emotion a prompt is of, one against the rest.

    Attributes:
        right: By emotion, per prompt 1 where it was told right; None where z is constant or there
            is one emotion.
        p: Share of permuted labellings that are told as well over all emotions, 1 added to both
            counts.
        why: Why there is none, else empty.
    """

    right: Mapping[str, Vector] | None = None
    p: float | None = None
    why: str = ""

    def to_record(self, emotion: str) -> dict[str, Any]:
        """Return what it says of one emotion as `record` takes it."""
        own = None if self.right is None else self.right[emotion]
        overall = None if self.right is None else _overall(list(self.right.values()))
        record = {"which_accuracy": own, "which_accuracy_all": overall, "which_p": self.p}
        return record | ({"why_no_which_accuracy": self.why} if self.why else {})


def _overall(right: Sequence[Vector]) -> float:
    """Return the accuracy over all emotions, each counted alike."""
    return float(np.mean([vector.mean() for vector in right]))


def last_z(study: Study, heads: Sequence[Head]) -> dict[Head, Sides]:
    """Return clean z of heads at the last token of both sides' prompts."""
    emotion, neutral = study.activations("emotion"), study.activations("neutral")
    templates = study.prompts("emotion").clusters

    def last(read: Activations, head: Head) -> Tensor:
        return read.of(head, 1)[:, -1].cpu()

    # In order of layers, each of which is read once.
    return {h: Sides(last(emotion, h), last(neutral, h), templates) for h in sorted(heads)}


def probe(sides: Sides, *, folds: int, swaps: int, seed: int = 0) -> Probed:
    """Return how well emotion is told from neutral by logistic regression on z.

    Folds are whole templates; of free lists they are prompts, as many of a side in each. The null
    swaps the labels within all pairs of a template together (of free lists: permutes them within
    each fold) and fits anew.

    Args:
        sides: z.
        folds: Number of folds.
        swaps: Labellings that the null is drawn from.
        seed: Of folds and labellings.

    Raises:
        InputError: When there are fewer templates, or prompts of a side, than folds.
    """
    inputs, labels = sides.inputs, sides.labels
    dealt = _dealt(sides, folds, seed)
    if is_constant(inputs):
        return Probed(why="z is the same on all prompts")
    columns = torch.cat([labels[:, None], _swapped(sides, dealt, swaps, seed)], dim=1)
    values = held_out(inputs, columns, dealt)
    right = told_right(values, columns)
    ahead = told_ahead(values, columns, dealt)
    accuracies, areas = right.mean(0), ahead.mean(0)
    as_large = int((areas[1:] >= areas[0] - _TIE).sum())
    return Probed(
        _per_pair(right[:, 0], sides),
        _per_pair(ahead[:, 0], sides),
        over_folds(right[:, 0], dealt),
        over_folds(ahead[:, 0], dealt),
        (1 + as_large) / (1 + swaps),
        float(accuracies[1:].mean()),
        float(areas[1:].mean()),
    )


def probe_on(sides: Sides, others: Sides, *, seed: int = 0) -> dict[str, Any]:
    """Return how well a probe of some prompts tells those of another file, for `record`.

    Args:
        sides: z of the prompts that it is fitted on.
        others: z of the same head on those that it is tested on.
        seed: Of interval and flips.

    Returns:
        ``test_accuracy`` with its 95 % CI over the file's templates, ``test_auroc``, and
        ``test_p``, by sign flips of what accuracy is above chance, template by template.
    """
    names = ("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_auroc", "test_p")
    if is_constant(sides.inputs):
        return dict.fromkeys(names)
    columns = others.labels[:, None]
    values = decided(sides.inputs, sides.labels[:, None], others.inputs)
    right = _per_pair(told_right(values, columns)[:, 0], others)
    area = float(told_ahead(values, columns, torch.zeros(len(values))).mean())
    low, high = summarize(right, others.templates, seed=seed)["ci"] or (None, None)
    p = float(sign_flip(right - 0.5, others.templates, seed=seed)[0])
    return dict(zip(names, (float(right.mean()), low, high, area, p), strict=True))


def told_apart(
    emotions: Mapping[str, Sides], *, folds: int, swaps: int, seed: int = 0
) -> ToldApart:
    """Return how well the emotion of a prompt is told among all, by z of one head.

    A probe an emotion, against the prompts of the others; the emotion is that of the largest
    decision value. A template is in one fold whatever the emotion. The null permutes the emotions
    of each template, all its prompts of one together; where not all have the same templates it
    permutes those of the templates of a fold, of free lists those of its prompts.

    Args:
        emotions: By emotion z of one head; the neutral sides take no part.
        folds: Number of folds.
        swaps: Labellings that the null is drawn from.
        seed: Of folds and labellings.

    Raises:
        InputError: When an emotion has fewer templates, or prompts, than folds.
    """
    if len(emotions) < 2:
        return ToldApart(why=ONE_EMOTION)
    inputs = torch.cat([sides.emotion for sides in emotions.values()]).double()
    if is_constant(inputs):
        return ToldApart(why="z is the same on the prompts of all emotions")
    counts = [len(sides.emotion) for sides in emotions.values()]
    which = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    templates = [sides.templates for sides in emotions.values() if sides.templates is not None]
    if len(templates) < len(counts):
        dealt = torch.cat([in_turn(count, folds, seed) for count in counts])
        strata, blocks = dealt, torch.arange(len(which))
    else:
        names = [name for of in templates for name in of]
        fold = deal(templates, folds, seed)
        dealt = torch.tensor([fold[name] for name in names])
        numbers = numbered(names)
        is_shared = all(set(of) == set(templates[0]) for of in templates)
        strata, blocks = numbers if is_shared else dealt, numbers * len(counts) + which
    labels = torch.cat([which[:, None], permuted(which, strata, blocks, swaps, seed)], dim=1)
    # One against the rest for each emotion, all of them fitted together.
    ones = torch.cat([labels == number for number in range(len(counts))], dim=1)
    values = torch.stack(held_out(inputs, ones, dealt).chunk(len(counts), dim=1))
    right = (values.argmax(0) == labels).double()
    # Each emotion counts alike, under permuted labels too.
    shares = [_mean_where(right, labels == number) for number in range(len(counts))]
    overall = torch.stack(shares).mean(0)
    p = (1 + int((overall[1:] >= overall[0] - _TIE).sum())) / (1 + swaps)
    own = torch.split(right[:, 0], counts)
    return ToldApart(dict(zip(emotions, map(to_numpy, own), strict=True)), p)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen of each column, ``[k]``, of values ``[n, k]``."""
    return (values * chosen).sum(0) / chosen.sum(0)


def effect(study: Study, head: Head) -> Vector:
    """Return what zeroing a head does to ``logit_diff`` on emotion prompts, shape ``[n]``."""
    return np.asarray(study.run(zero(head)).logit_diff - study.run().logit_diff)


def _dealt(sides: Sides, folds: int, seed: int) -> Tensor:
    """Return the fold of each case, shape ``[n + m]``."""
    if sides.templates is not None:
        fold = deal([sides.templates], folds, seed)
        return torch.tensor([fold[name] for name in sides.templates]).repeat(2)
    return torch.cat([in_turn(len(z), folds, seed) for z in (sides.emotion, sides.neutral)])


def _swapped(sides: Sides, dealt: Tensor, count: int, seed: int) -> Tensor:
    """Return labels that mean nothing, ``[n + m, count]``."""
    labels = sides.labels
    if sides.templates is None:
        return permuted(labels, dealt, torch.arange(len(labels)), count, seed)
    template = numbered(sides.templates).repeat(2)
    return permuted(labels, template, 2 * template + labels, count, seed)


def _per_pair(cases: Tensor, sides: Sides) -> Vector:
    """Return values of cases pair by pair, the mean of its two; of free lists prompt by prompt."""
    values = to_numpy(cases)
    return values if sides.templates is None else values.reshape(2, -1).mean(0)


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of items that probe: z of both sides, and each head ablated.

    The prompts of other emotions are read with the items of those.
    """
    yield from planned.clean(again=True)
    yield planned.runs("emotion", planned.firsts)
