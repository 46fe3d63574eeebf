"""Sets of heads, each measured with every head outside it taken away, and orders of heads.

Formulas: docs/science.md, "Circuits", after Wang et al. (2211.00593) and Mueller et al.
(2504.13151).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.profiles import Outside
from emolib.interventions import Intervention, mean, patch, zero
from emolib.methods.patching import FLOOR
from emolib.methods.scores import Table, Vector
from emolib.methods.study import Study
from emolib.stats.faithfulness import faithfulness

Chosen = NDArray[np.bool_]
"""Which pairs count, ``[n]``."""


class HeadSets:
    """``logit_diff`` of emotion prompts with some heads left and every other one taken away.

    A head outside the set takes, at all positions, z of the paired neutral prompt (``patch``), 0
    (``zero``) or its mean over both sides (``mean``); MLPs run as they come.

    Attributes:
        study: The study.
        outside: What becomes of the heads outside.
        heads: Every head of the model.
    """

    def __init__(self, study: Study, outside: Outside | None = None) -> None:
        """Hold the study.

        Args:
            study: The study.
            outside: What becomes of the heads outside; None takes the profile's.

        Raises:
            InputError: When the study has free prompts in place of pairs.
        """
        assert study.pairs
        self.study = study
        self.outside: Outside = outside or study.profile.circuit_ablation
        self.heads = tuple(study.model.heads)
        self._found: dict[frozenset[Head], Vector] = {}

    def expect(self, sets: Iterable[Collection[Head]]) -> None:
        """Have sets measured in one sweep, when the first of them is asked for."""
        new = {frozenset(kept): None for kept in sets if frozenset(kept) not in self._found}
        edits = [edit for kept in new if (edit := self._without_others(kept)) is not None]
        self.study.expect(edits, on="emotion", position="all")

    def metric(self, kept: Collection[Head]) -> Vector:
        """Return ``logit_diff`` of each pair with only the heads of a set left, logits, ``[n]``.

        Raises:
            InputError: When a head is not one of the model's.
        """
        chosen = frozenset(kept)
        if chosen not in self._found:
            edits = filter(None, [self._without_others(chosen)])
            run = self.study.run(*edits, on="emotion", position="all")
            self._found[chosen] = np.asarray(run.logit_diff)
        return self._found[chosen]

    @cached_property
    def full(self) -> Vector:
        """``logit_diff`` of each pair with all heads left: the clean run's, ``[n]``."""
        return self.metric(self.heads)

    @cached_property
    def empty(self) -> Vector:
        """``logit_diff`` of each pair with every head taken away, ``[n]``."""
        return self.metric(())

    def faithfulness(self, kept: Collection[Head], pairs: Chosen | None = None) -> float | None:
        """Return ``F = (M(set) − M(∅)) / (M(all) − M(∅))``, a ratio of means over pairs.

        Args:
            kept: The set.
            pairs: The pairs that count; all of them by default.

        Returns:
            None where the gap is below 0.1 logits.
        """
        found, empty, full = (v[pairs] if pairs is not None else v for v in (
            self.metric(kept), self.empty, self.full
        ))  # fmt: skip
        if abs(float((full - empty).mean())) < FLOOR:
            return None
        return float(faithfulness(found[:, None], empty, full)[0])

    def _without_others(self, kept: frozenset[Head]) -> Intervention | None:
        if others := kept.difference(self.heads):
            raise InputError(
                f"{min(others)} does not exist: expected heads of {self.study.model.name}, which "
                f"has {self.study.model.n_layers} layers of {self.study.model.n_heads} heads"
            )
        rest = [head for head in self.heads if head not in kept]
        if not rest:
            return None
        match self.outside:
            case "patch":
                return patch(rest, self.study.activations("neutral"))
            case "zero":
                return zero(rest)
            case "mean":
                return mean(rest, self.study.reference)
            case _:
                assert_never(self.outside)


def sizes(count: int) -> list[int]:
    """Return the sizes of sets that a curve is of: 0, 1, 2, 3, 5, 8, 13, … and all.

    >>> sizes(16)
    [0, 1, 2, 3, 5, 8, 13, 16]
    """
    found, ahead = [0], (1, 2)
    while ahead[0] < count:
        found.append(ahead[0])
        ahead = ahead[1], sum(ahead)
    return [*found, count]


def same_layers(order: Sequence[Head], steps: Sequence[int], seed: str) -> list[list[Head]]:
    """Return random heads beside the top of an order: as many, and as many in each layer.

    Each set holds the one before it. What is drawn may be of the top itself: a layer has no
    others where the top has taken all of them.

    Args:
        order: Every head, strongest first.
        steps: The sizes of the sets, ascending.
        seed: The same seed draws the same heads.
    """
    rng = random.Random(seed)
    layers = sorted({head.layer for head in order})
    shuffled: dict[int, list[Head]] = {}
    for layer in layers:
        heads = sorted(head for head in order if head.layer == layer)
        shuffled[layer] = rng.sample(heads, len(heads))
    made = []
    for step in steps:
        counts = Counter(head.layer for head in order[:step])
        made.append(list(chain(*(shuffled[layer][: counts[layer]] for layer in layers))))
    return made


def greedy(sets: HeadSets, count: int, pairs: Chosen) -> list[Head]:
    """Return heads in the order in which each raises F most beside those before it.

    Args:
        sets: What measures sets.
        count: How many heads.
        pairs: The pairs by which they are chosen.
    """
    sign = np.sign((sets.full - sets.empty)[pairs].mean())
    chosen: list[Head] = []
    while len(chosen) < min(count, len(sets.heads)):
        rest = [head for head in sets.heads if head not in chosen]
        sets.expect([*chosen, head] for head in rest)
        gains = [sign * sets.metric([*chosen, head])[pairs].mean() for head in rest]
        chosen.append(rest[int(np.argmax(gains))])
    return chosen


def table(sets: HeadSets, kept: Iterable[Collection[Head]]) -> Table:
    """Return ``logit_diff`` of each pair under each set, ``[n, K]``."""
    return np.column_stack([sets.metric(chosen) for chosen in kept])
