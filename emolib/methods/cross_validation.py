"""What is tested on cases held out: folds, labels that mean nothing, and how well cases are told.

Cases come as rows, labellings as columns: the true labels and permuted ones go the same way.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emolib.inputs.folds import FREE, check_folds
from emolib.stats.bootstrap import student_quantile

Interval = tuple[float, float]


def deal(templates: Sequence[Sequence[str]], folds: int, seed: int = 0) -> dict[str, int]:
    """Return the fold of each template: in turn, in random order.

    Args:
        templates: Of one emotion or several, each of which is dealt evenly.
        folds: Number of folds.
        seed: Of the order.

    Raises:
        InputError: When one has fewer templates than folds.
    """
    check_folds(min(len(set(names)) for names in templates), "templates", folds)
    order = sorted({name for names in templates for name in names})
    random.Random(f"{seed}:folds").shuffle(order)
    # Those of the same emotions after each other.
    order.sort(key=lambda name: [name in names for names in templates])
    return {name: place % folds for place, name in enumerate(order)}


def in_turn(count: int, folds: int, seed: int) -> Tensor:
    """Return the fold of each of some prompts without templates, shape ``[count]``."""
    check_folds(count, FREE, folds)
    order = list(range(count))
    random.Random(f"{seed}:folds").shuffle(order)
    return torch.tensor(order) % folds


def numbered(names: Sequence[str]) -> Tensor:
    """Return the number of each name among them, equal names having one."""
    return torch.from_numpy(np.unique(names, return_inverse=True)[1])


def permuted(labels: Tensor, strata: Tensor, blocks: Tensor, count: int, seed: int) -> Tensor:
    """Return labels permuted within strata, those of a block together, ``[n, count]``.

    Args:
        labels: Of each case, ``[n]``; alike in a block.
        strata: The stratum of each case.
        blocks: The block of each case, which is of one stratum.
        count: Labellings.
        seed: Of the permutations.
    """
    draw = torch.Generator().manual_seed(seed)
    found = labels[:, None].repeat(1, count)
    for stratum in torch.unique(strata):
        rows = (strata == stratum).nonzero()[:, 0]
        names, block = torch.unique(blocks[rows], return_inverse=True)
        of_block = labels.new_zeros(len(names))
        of_block[block] = labels[rows]
        order = torch.rand(len(names), count, generator=draw).argsort(0)
        found[rows] = of_block[order][block]
    return found


def told_right(values: Tensor, labels: Tensor) -> Tensor:
    """Return 1 per case that is told right, ½ where nothing is told, ``[n, k]``."""
    return (1 + values.sign() * (2 * labels.double() - 1)) / 2


def told_ahead(values: Tensor, labels: Tensor, dealt: Tensor) -> Tensor:
    """Return per case the share of the other class in its fold that it is told apart from.

    That is the share of neutral cases below a case of the emotion and of the emotion's above a
    neutral one, a tie counting half. Shape ``[n, k]``; the mean over either class of a fold is the
    area under its ROC curve.
    """
    found = torch.zeros_like(values)
    for fold in torch.unique(dealt):
        rows = dealt == fold
        part, own = values[rows].T.contiguous(), labels[rows].T.bool()
        shares = torch.zeros_like(part)
        for label in (True, False):
            # As many in every labelling: swaps leave the classes of a fold as large as they are.
            of, others = (part[own == side].view(len(part), -1) for side in (label, not label))
            ordered = others.sort(1).values
            less, up_to = (torch.searchsorted(ordered, of, right=end) for end in (False, True))
            share = (less + up_to).double() / (2 * others.shape[1])
            shares[own == label] = (share if label else 1 - share).flatten()
        found[rows] = shares.T
    return found


def over_folds(cases: Tensor, dealt: Tensor) -> Interval:
    """Return the 95 % interval of the mean over folds, which share what they were fitted on.

    Of values in [0, 1], where its ends stay. Student's t, the variance of the folds' means times
    ``1/K + 1/(K − 1)`` in place of ``1/K`` (Nadeau & Bengio 2003, "Inference for the
    generalization error", Machine Learning 52).
    """
    means = np.array([float(cases[dealt == fold].mean()) for fold in torch.unique(dealt)])
    count, mean = len(means), float(means.mean())
    error = math.sqrt(1 / count + 1 / (count - 1)) * float(means.std(ddof=1))
    reach = student_quantile(0.975, count - 1) * error
    return max(0.0, mean - reach), min(1.0, mean + reach)
