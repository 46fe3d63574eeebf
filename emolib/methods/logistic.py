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
TOLERANCE = 1e-5
"""Largest entry of the gradient at which a fit is done."""
_BOUNDED, _NEWTON, _HALVINGS = 30, 100, 30
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
    labels = labels.to(cases.dtype)
    bound = torch.linalg.cholesky(cases.T @ cases / 4 + torch.diag(ridge[:, 0]))
    weights = cases.new_zeros(cases.shape[1], labels.shape[1])
    left = torch.arange(labels.shape[1])
    for _ in range(_BOUNDED):
        gradient = _gradient(cases, labels[:, left], ridge, weights[:, left])
        open_ = gradient.abs().amax(0) > TOLERANCE
        left, gradient = left[open_], gradient[:, open_]
        if not len(left):
            return weights
        weights[:, left] -= torch.cholesky_solve(gradient, bound)
    for column in left.tolist():
        weights[:, column] = _newton(cases, labels[:, [column]], ridge, weights[:, [column]])[:, 0]
    return weights


def _gradient(cases: Tensor, labels: Tensor, ridge: Tensor, weights: Tensor) -> Tensor:
    return cases.T @ (torch.sigmoid(cases @ weights) - labels) + ridge * weights


def _loss(cases: Tensor, labels: Tensor, ridge: Tensor, weights: Tensor) -> Tensor:
    scores = cases @ weights
    losses = torch.nn.functional.softplus(scores) - labels * scores
    return losses.sum() + (ridge * weights.square()).sum() / 2


def _newton(cases: Tensor, labels: Tensor, ridge: Tensor, weights: Tensor) -> Tensor:
    """Return one labelling's optimum, ``[d + 1, 1]``: its own Hessian, where the bound is far."""
    loss = _loss(cases, labels, ridge, weights)
    # Where all cases are told for certain there is hardly any curvature along the intercept.
    slight = 1e-10 * torch.eye(cases.shape[1], dtype=cases.dtype)
    for _ in range(_NEWTON):
        gradient = _gradient(cases, labels, ridge, weights)
        if gradient.abs().max() <= TOLERANCE:
            break
        share = torch.sigmoid(cases @ weights)
        hessian = cases.T @ (share * (1 - share) * cases) + torch.diag(ridge[:, 0]) + slight
        step = torch.linalg.solve(hessian, gradient)
        for _ in range(_HALVINGS):
            moved = _loss(cases, labels, ridge, weights - step)
            if moved <= loss:
                break
            step = step / 2
        weights, loss = weights - step, moved
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
