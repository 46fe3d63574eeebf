"""Whether an effect is more than chance: sign-flip permutation, Benjamini–Hochberg."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from emolib.records import Row

FLIPS = 20_000
_AT_ONCE = 1_000
# Flipped means that differ by float noise alone are as large as the mean.
_TIE = 1e-9


def sign_flip(
    values: ArrayLike, clusters: Sequence[str] | None = None, *, flips: int = FLIPS, seed: int = 0
) -> NDArray[np.float64]:
    """Return two-sided p values of means against 0, ``(1 + #{|mean*| ≥ |mean|}) / (B + 1)``.

    Each of B draws turns the signs of whole clusters around, the same for every head, which
    keeps the heads' dependence on each other. Pairs of one template share its sign: flipped one
    by one they would count as independent.

    Args:
        values: Effects, shape ``[n]`` or ``[n, H]``, in any unit.
        clusters: Per pair the template it comes from; None makes each pair its own.
        flips: B.
        seed: Of the flips.

    Returns:
        Shape ``[H]`` (``[1]`` for one vector). With C clusters no p is below ``2 / 2**C``.

    Raises:
        ValueError: When `values` is empty or `clusters` has another length.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size:
        raise ValueError(f"expected values of shape [n] or [n, H], got {list(np.shape(values))}")
    if clusters is not None and len(clusters) != len(x):
        raise ValueError(f"expected one cluster for each of {len(x)} values, got {len(clusters)}")
    _, labels = np.unique(clusters if clusters is not None else range(len(x)), return_inverse=True)
    sums = np.zeros((labels.max() + 1, x.shape[1]))
    np.add.at(sums, labels, x)
    found = np.abs(sums.sum(0))
    least = found - _TIE * np.maximum(1.0, np.abs(sums).sum(0))
    rng = np.random.default_rng(seed)
    count = np.zeros(x.shape[1])
    for start in range(0, flips, _AT_ONCE):
        signs = rng.integers(0, 2, (min(_AT_ONCE, flips - start), len(sums))) * 2.0 - 1
        count += (np.abs(signs @ sums) >= least).sum(0)
    return (1 + count) / (flips + 1)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Return q values: the false discovery rate at which each p would just be a discovery."""
    values = np.asarray(p, dtype=np.float64)
    if not len(values):
        return values
    return np.asarray(scipy_stats.false_discovery_control(values, method="bh"))


def of_rows(
    rows: Sequence[Row], metric: str, *, seed: int = 0
) -> dict[tuple[str, int], tuple[float, float]]:
    """Return p and q of one metric over the rows of one table.

    Args:
        rows: Whole rows (with vectors) of one family: an experiment, model, emotion and kind.
            Those that a rank chose on these prompts (`chosen_by_rank`) are left out: a q over the
            chosen ones would not count the others they were chosen from.
        metric: A metric recorded per prompt; rows without it are left out.
        seed: Of the flips.

    Returns:
        By (item, number of the row): (p, q), q across these rows.
    """
    known = [row for row in rows if metric in row.vectors and not chosen_by_rank(row)]
    # Rows on the same prompts share their flips.
    alike: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for index, row in enumerate(known):
        alike.setdefault((len(row.vectors[metric]), _templates(row, metric)), []).append(index)
    p = np.ones(len(known))
    for (_, templates), indices in alike.items():
        table = np.array([known[index].vectors[metric] for index in indices]).T
        p[indices] = sign_flip(table, templates or None, seed=seed)
    q = benjamini_hochberg(p)
    places = [(row.item, row.row) for row in known]
    return {place: (float(a), float(b)) for place, a, b in zip(places, p, q, strict=True)}


def chosen_by_rank(row: Row) -> bool:
    """Tell whether screening of the same prompts chose what a row is about (``top:N``)."""
    return any(row.labels.get(name, "").startswith("top") for name in ("spec", "unit_spec"))


def _templates(row: Row, metric: str) -> tuple[str, ...]:
    templates = tuple(row.pairs.get("templates", ()))
    return templates if len(templates) == len(row.vectors[metric]) else ()
