"""Logistic regression with an L2 penalty, of many labellings of the same inputs at once.

Probes are fitted anew for each of some hundred swaps of their labels. All swaps share the inputs,
and so the bound on the Hessian that Böhning & Lindsay (1988, "Monotonicity of quadratic-
approximation algorithms", Annals of the Institute of Statistical Mathematics 40) step by: a step
of all of them is one product of matrices. The optimum is that of scikit-learn's
``LogisticRegression(C=1 / penalty)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

PENALTY = 1.0
"""Weight of ½‖w‖² beside the sum of the losses."""
TOLERANCE = 1e-4
"""Largest entry of the gradient at which a fit is done."""
_ROUNDS, _STEPS, _NEWTON, _HALVINGS = 6, 5, 100, 30
_ROUNDING = 1e-12
# Numbers that the Hessians of labellings fitted together are made of.
_FLOATS = 1 << 21
# An input that varies by less than this share of the largest one is rounding.
_CONSTANT = 1e-5


def fit(inputs: Tensor, labels: Tensor, penalty: float = PENALTY) -> Tensor:
    """Return the weights that minimise ``Σ log(1 + exp(−y·(x·w + b))) + ½·penalty·‖w‖²``.

    The intercept b is free of the penalty.

    Args:
        inputs: Cases, shape ``[n, d]``, float64.
        labels: 1 or 0 per case and labelling, shape ``[n, k]``, both in each labelling.
        penalty: Above 0.

    Returns:
        Shape ``[d + 1, k]``, the intercept last.

    Raises:
        ValueError: When a labelling has one class only.
    """
    if bool((labels == labels[:1]).all(0).any()):
        raise ValueError("expected cases of both classes in every labelling, got one class only")
    cases = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
    ridge = cases.new_full((cases.shape[1], 1), penalty)
    ridge[-1] = 0.0
    bound = torch.linalg.inv(cases.T @ cases / 4 + torch.diag(ridge[:, 0]))
    found = cases.new_zeros(cases.shape[1], labels.shape[1])
    # Those that are not done: which, their weights, their labels.
    left, weights, wanted = torch.arange(labels.shape[1]), found.clone(), labels.to(cases.dtype)
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            weights = weights - bound @ _gradient(cases, wanted, ridge, weights)
        is_open = _gradient(cases, wanted, ridge, weights).abs().amax(0) > TOLERANCE
        found[:, left] = weights
        left, weights, wanted = left[is_open], weights[:, is_open], wanted[:, is_open]
        if not len(left):
            return found
    at_once = max(1, _FLOATS // cases.numel())
    for some in torch.split(left, at_once):
        found[:, some] = _newton(cases, labels[:, some].to(cases.dtype), ridge, found[:, some])
    return found


def _gradient(cases: Tensor, labels: Tensor, ridge: Tensor, weights: Tensor) -> Tensor:
    return cases.T @ (torch.sigmoid(cases @ weights) - labels) + ridge * weights


def _losses(cases: Tensor, labels: Tensor, ridge: Tensor, weights: Tensor) -> Tensor:
    """Return what each labelling's weights are to minimise, ``[k]``."""
    scores = cases @ weights
    losses = torch.nn.functional.softplus(scores) - labels * scores
    return losses.sum(0) + (ridge * weights.square()).sum(0) / 2


def _newton(cases: Tensor, labels: Tensor, ridge: Tensor, weights: Tensor) -> Tensor:
    """Return optima, ``[d + 1, k]``, by the Hessian of each labelling, where the bound is far."""
    losses = _losses(cases, labels, ridge, weights)
    # Where all cases are told for certain there is hardly any curvature along the intercept.
    least = torch.diag(ridge[:, 0] + 1e-10)
    for _ in range(_NEWTON):
        gradient = _gradient(cases, labels, ridge, weights)
        is_open = gradient.abs().amax(0) > TOLERANCE
        if not is_open.any():
            break
        share = torch.sigmoid(cases @ weights)
        curved = (share * (1 - share)).T[:, :, None] * cases
        step = torch.linalg.solve(curved.mT @ cases + least, gradient.T)
        # What is done stays, so that a labelling's optimum does not depend on those beside it.
        part = is_open.to(losses.dtype)
        for _ in range(_HALVINGS):
            moved = _losses(cases, labels, ridge, weights - part * step.T)
            if not (worse := moved > losses * (1 + _ROUNDING)).any():
                break
            part[worse] /= 2
        weights, losses = weights - part * step.T, moved
    return weights


def held_out(inputs: Tensor, labels: Tensor, folds: Tensor) -> Tensor:
    """Return what a fit on the other folds says of each case: above 0 for label 1.

    Inputs are standardised by mean and SD of the cases that are fitted.

    Args:
        inputs: Cases, shape ``[n, d]``, float64.
        labels: 1 or 0 per case and labelling, shape ``[n, k]``.
        folds: The fold of each case, shape ``[n]``.

    Returns:
        Decision values, shape ``[n, k]``.
    """
    found = inputs.new_zeros(labels.shape)
    for fold in torch.unique(folds):
        fitted = folds != fold
        found[~fitted] = decided(inputs[fitted], labels[fitted], inputs[~fitted])
    return found


def decided(inputs: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    """Return what a fit on some cases says of others, shape ``[m, k]``; see `held_out`."""
    sd, mean = inputs.std(0, correction=0), inputs.mean(0)
    varies = sd > _CONSTANT * inputs.abs().max()
    scaled = [(cases - mean)[:, varies] / sd[varies] for cases in (inputs, others)]
    weights = fit(scaled[0], labels)
    return scaled[1] @ weights[:-1] + weights[-1]


def is_constant(inputs: Tensor) -> bool:
    """Tell whether cases ``[n, d]`` do not differ, but for rounding."""
    spread = inputs.amax(0) - inputs.amin(0)
    return bool((spread <= _CONSTANT * inputs.abs().max()).all())
