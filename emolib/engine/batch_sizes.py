"""How much goes into one batch: of prompts, of runs, of memory. Every such size is here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch

from emolib.engine.edits import Branch, is_tokenwise
from emolib.engine.shapes import Shape
from emolib.engine.slices import slices
from emolib.errors import InputError
from emolib.inputs.prompts import Position
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel

BATCH = 128
"""Most prompts of one batch."""
KEPT = 128 * 2**20
"""Bytes up to which the clean run of some prompts is kept whole."""
ROOM = 128 * 2**20
"""Bytes that the rows of one batch may take while they run."""
CLEAN_LOGITS = 128 * 2**20
"""Bytes up to which the clean logits of one side are kept; beyond, they are made when needed."""
TOKENS = (1024, 65536)
"""Tokens of a batch from which a CPU's, or a GPU's, matrix products run no faster."""
FEW_TOKENS = 512
"""Tokens of a batch below which calling its layers is what takes time."""
_log = logging.getLogger("emolib")


def batches_of(
    model: LanguageModel, prompts: Prompts, runs: Sequence[Branch], size: int | None
) -> list[Batch]:
    """Return prompts in batches of at most `size`, or `BATCH`, for some runs."""
    columns = size or BATCH, model.pad, model.device
    # An edit that sees whole prompts sees their padding too, which is of one width for all.
    return prompts.buckets(*columns) if is_tokenwise(runs) else list(prompts.batches(*columns))


def columns_of(batch: Batch, runs: Sequence[Branch], position: Position) -> int:
    """Return how many of a batch's last columns the runs change: what comes before is clean."""
    if not is_tokenwise(runs):
        return batch.width
    changed = batch.at(position).any(0).nonzero()
    return batch.width - int(changed[0])


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


def gradients_at_once(shape: Shape, tokens: int, width: int, *, gpu: bool) -> int:
    """Return of how many prompts at once the last tokens are differentiated.

    Args:
        shape: The model's sizes; what its layers make stays until the way back.
        tokens: Tokens of a prompt that are computed.
        width: Columns that they look at.
        gpu: Whether they run on a GPU.
    """
    held = 2 * shape.n_layers * shape.layer_floats(tokens, width) * shape.size
    return max(1, min(ROOM // held, TOKENS[gpu] // tokens))


def attended_at_once(shape: Shape, batch: Batch, tokens: int) -> Iterator[slice]:
    """Yield the last `tokens` columns of a batch, so many as have room for their patterns."""
    row = 4 * len(batch.rows) * shape.n_heads * batch.width * shape.size
    for part in slices(tokens, max(1, ROOM // row)):
        before = batch.width - tokens
        yield slice(before + part.start, before + part.stop)


def texts_at_once(tokens: int, shape: Shape) -> int:
    """Return how many texts of so many tokens go into one batch."""
    return max(1, ROOM // (shape.layer_floats(tokens, 2 * tokens) * shape.size))


def whole_batches(
    model: LanguageModel,
    prompts: Prompts,
    size: int | None,
    *,
    logits: int = 1,
    kept: bool = False,
) -> Iterator[Batch]:
    """Yield prompts in batches that go through the whole model.

    Args:
        model: The model.
        prompts: The prompts.
        size: Prompts per batch; None for as many as there is room for.
        logits: Of how many tokens of each the logits are made.
        kept: Whether what every layer makes is kept, for a gradient.
    """
    most = size or prompts_at_once(model, prompts, logits=logits, kept=kept)
    return prompts.batches(most, model.pad, model.device)


def prompts_at_once(
    model: LanguageModel, prompts: Prompts, *, logits: int = 1, kept: bool = False
) -> int:
    """Return how many prompts have room in the whole model at once, at most `BATCH`.

    Args:
        model: The model.
        prompts: The prompts.
        logits: Of how many tokens of each the logits are made.
        kept: Whether what every layer makes is kept, for a gradient.
    """
    width, d_model = prompts.width, model.w_o(model.heads[0]).shape[1]
    # What transformers' modules hold at once: streams and units, and scores in several copies.
    layer = 24 * width * d_model + 4 * model.n_heads * width * width
    floats = layer * (model.n_layers if kept else 1) + 3 * logits * model.d_vocab
    size = int(model.hf.dtype.itemsize)
    return max(1, min(BATCH, 2 * ROOM // (floats * size)))


class BatchSize:
    """How many runs go into one batch: as many as fit, and half of that after one that did not."""

    def __init__(self, shape: Shape, position: Position, *, gpu: bool) -> None:
        """Begin without a limit.

        Args:
            shape: The model's sizes.
            position: Where the runs edit.
            gpu: Whether they run on a GPU.
        """
        self._shape, self._position, self._gpu = shape, position, gpu
        self._most: int | None = None
        self._count = 1

    def of_runs(self, batches: Sequence[Batch], todo: Sequence[Branch]) -> int:
        """Return how many of the next branches go into one batch, on these prompts."""
        shapes = [(len(b.rows), columns_of(b, todo, self._position), b.width) for b in batches]
        floats = [self._shape.layer_floats(tokens, width) for _, tokens, width in shapes]
        most = max(s[0] * held for s, held in zip(shapes, floats, strict=True))
        tokens = max(rows * tokens for rows, tokens, _ in shapes)
        same = sum(branch.first == todo[0].first for branch in todo)
        return self._limit(fit(tokens, most * self._shape.size, same, len(todo), gpu=self._gpu))

    def of_texts(self, batches: Sequence[Batch], todo: Sequence[Branch], new: int) -> int:
        """Return how many of the next branches decode `new` tokens each in one batch."""
        most = max(
            len(b.rows) * self._shape.decode_floats(columns_of(b, todo, self._position) + new)
            for b in batches
        )
        return self._limit(min(ROOM // (most * self._shape.size), len(todo)))

    def _limit(self, count: int) -> int:
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
