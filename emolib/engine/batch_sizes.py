"""How much goes into one batch: of prompts, of runs, of memory. Every such size is here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from emolib.engine.edits import Branch, _tokenwise
from emolib.errors import InputError
from emolib.inputs.prompts import Position
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel

BATCH = 128
"""Most prompts of one batch."""


KEPT = 256 * 2**20
"""Bytes up to which the clean run of some prompts is kept whole."""


def batches_of(
    model: LanguageModel, prompts: Prompts, runs: Sequence[Branch], size: int | None
) -> list[Batch]:
    """Return prompts in batches of at most `size`, or `BATCH`, for some runs."""
    columns = size or BATCH, model.pad, model.device
    # An edit that sees whole prompts sees their padding too, which is of one width for all.
    return prompts.buckets(*columns) if _tokenwise(runs) else list(prompts.batches(*columns))


def columns_of(batch: Batch, runs: Sequence[Branch], position: Position) -> int:
    """Return how many of a batch's last columns the runs change: what comes before is clean."""
    if not _tokenwise(runs):
        return batch.width
    changed = batch.at(position).any(0).nonzero()
    return batch.width - int(changed[0])


ROOM = 512 * 2**20
"""Bytes that the rows of one batch may take while they run."""


TOKENS = (1024, 65536)
"""Tokens of a batch from which a CPU's, or a GPU's, matrix products run no faster."""


FEW_TOKENS = 512


_log = logging.getLogger("emolib")


def fit(tokens: int, size: int, same: int, left: int, *, gpu: bool) -> int:
    """Return how many runs to put into one batch.

    Args:
        tokens: What one run computes.
        size: Bytes that it takes.
        same: How many of those that are left start at the layer of the next one.
        left: How many are left.
        gpu: Whether they run on a GPU.
    """
    enough = -(-TOKENS[gpu] // tokens)
    # Runs that start later would go through layers in which they are still clean: worth it only
    # where a batch is so small that calling its layers is what takes time.
    alike = max(same, FEW_TOKENS // tokens)
    return max(1, min(ROOM // size, enough, alike, left))


def run_floats(d_model: int, n_units: int, vocab: int, tokens: int) -> int:
    """Return how many numbers a run of one prompt takes while it runs, weights not counted.

    Args:
        d_model: Width of the residual stream.
        n_units: MLP units per layer.
        vocab: Size of the vocabulary.
        tokens: How many of the prompt's columns are computed.
    """
    return tokens * (6 * d_model + 2 * n_units) + 2 * vocab


class BatchSize:
    """How many runs go into one batch: as many as fit, and half of that after one that did not."""

    def __init__(self) -> None:
        """Begin without a limit."""
        self._most: int | None = None
        self._count = 1

    def fitting(
        self,
        model: LanguageModel,
        vocab: int,
        batches: Sequence[Batch],
        todo: Sequence[Branch],
        position: Position,
    ) -> int:
        """Return how many of the next branches go into one batch.

        Args:
            model: The model.
            vocab: Size of its vocabulary.
            batches: The prompts.
            todo: The runs that are left.
            position: Where they edit.
        """
        size = torch.finfo(model.hf.dtype).bits // 8
        shapes = [(len(b.rows), columns_of(b, todo, position)) for b in batches]
        most = max(
            rows * run_floats(model.hf.config.hidden_size, model.n_units, vocab, tokens) * size
            for rows, tokens in shapes
        )
        tokens = max(rows * tokens for rows, tokens in shapes)
        same = sum(branch.first == todo[0].first for branch in todo)
        count = fit(tokens, most, same, len(todo), gpu=model.device.type == "cuda")
        return self.limit(count)

    def limit(self, count: int) -> int:
        """Return how many runs to put into a batch that has room for `count`, at least one."""
        self._count = max(1, count if self._most is None else min(count, self._most))
        return self._count

    def smaller(self, error: Exception, batches: Sequence[Batch]) -> list[Batch]:
        """Make room after batches that did not fit, or raise the error where it is another.

        Returns:
            The batches to go on with: the same with half the runs in each, or halves.
        """
        if not _is_memory(error):
            raise error
        if self._count > 1:
            self._most = self._count // 2
            _log.warning("out of memory with %d runs in a batch: now %d", self._count, self._most)
            return list(batches)
        most = max(len(batch.rows) for batch in batches)
        if most == 1:
            raise InputError(
                "not enough memory for one run of one prompt; use shorter prompts, a smaller "
                "model, or --dtype bfloat16"
            ) from error
        _log.warning("out of memory with batches of %d prompts: now half of that", most)
        return [half for batch in batches for half in batch.halves() if half.rows]


def _is_memory(error: Exception) -> bool:
    wanted = MemoryError, torch.OutOfMemoryError
    return isinstance(error, wanted) or "can't allocate memory" in str(error)
