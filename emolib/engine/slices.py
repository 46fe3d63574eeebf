"""Logits in slices: reduced to what is kept of them before the next are made.

Of a vocabulary of 262,144 words the logits of 90 prompts under 10 draws are a gigabyte, and twice
that in float64, in which metrics are computed; what is kept is a few numbers per prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

LOGITS = 64 * 2**20
"""Bytes of logits, in the model's type, that are made at once."""
WIDE = 16 * 2**20
"""Bytes of them in float64 that are reduced at once."""

Measure = Callable[[Tensor, Sequence[int]], Tensor]
"""What is kept of logits: from those of k runs on b prompts, ``[b, k, vocab]``, and the numbers of
the prompts to ``[b, k, M]``."""


def measured(
    unembed: Callable[[Tensor], Tensor],
    resid: Tensor,
    prompts: Sequence[int],
    vocab: int,
    measure: Measure | None,
) -> Tensor:
    """Return what is kept of the logits of runs, ``[B, k, M]``, or the logits, ``[B, k, vocab]``.

    Args:
        unembed: From the residual stream after the last layer to logits.
        resid: That stream, of k runs on B prompts, ``[B, k, d_model]``.
        prompts: The numbers of the prompts.
        vocab: Size of the vocabulary.
        measure: What is kept; None for the logits.
    """
    if measure is None:
        return unembed(resid)
    most = rows_at_once(vocab, resid.element_size())
    return _by_blocks(
        lambda rows, runs: reduced(
            unembed(resid[rows, runs]), [prompts[row] for row in rows_of(rows)], measure
        ),
        resid.shape[0],
        resid.shape[1],
        most,
    )


def reduced(logits: Tensor, prompts: Sequence[int], measure: Measure) -> Tensor:
    """Return what is kept of logits that are there, ``[B, k, M]``.

    Args:
        logits: Shape ``[B, k, vocab]``.
        prompts: The numbers of the prompts.
        measure: What is kept.
    """
    most = max(1, WIDE // (logits.shape[-1] * 8))
    return _by_blocks(
        lambda rows, runs: measure(logits[rows, runs], [prompts[row] for row in rows_of(rows)]),
        logits.shape[0],
        logits.shape[1],
        most,
    )


def rows_at_once(vocab: int, size: int) -> int:
    """Return how many rows of logits, in numbers of `size` bytes, are made at once."""
    return max(1, LOGITS // (vocab * size))


def rows_of(rows: slice) -> range:
    """Return the numbers that a slice is of."""
    return range(rows.start, rows.stop)


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that make up `count`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _by_blocks(
    make: Callable[[slice, slice], Tensor], prompts: int, runs: int, most: int
) -> Tensor:
    """Return what is made of blocks of at most `most` rows: some prompts with all their runs.

    Where one prompt's runs are more than that, some of the runs.
    """
    if prompts * runs <= most:
        return make(slice(0, prompts), slice(0, runs))
    whole = max(1, most // runs)
    return torch.cat(
        [
            torch.cat([make(rows, part) for part in slices(runs, most)], dim=1)
            for rows in slices(prompts, whole)
        ]
    )
