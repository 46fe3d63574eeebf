"""Many runs at once: the rows of one batch, resumed from the layer that they edit.

The clean run is made once. A run takes over its residual stream and z at the first layer that it
edits, and its keys and values in the columns that it leaves alone; runs ride side by side as rows
of a prompt. Only what the logits at the last token need is computed in the last layer. All of it
is exact: the numbers are those of running the whole model for each, up to float rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emolib.blocks import Blocks
from emolib.encoding import Batch, Prompts
from emolib.errors import InputError
from emolib.interventions import Intervention
from emolib.models import LanguageModel
from emolib.profiles import Position
from emolib.resuming import Branch, Clean, Cleans, Memory, branches, columns_of
from emolib.stages import Stage

ROOM = 512 * 2**20
"""Bytes that the rows of one batch may take while they run."""
TOKENS = (1024, 65536)
"""Tokens of a batch from which a CPU's, or a GPU's, matrix products run no faster."""
FEW_TOKENS = 512
_log = logging.getLogger("emolib")


@torch.no_grad()
def sweep(
    model: LanguageModel,
    prompts: Prompts,
    runs: Sequence[Sequence[Intervention]],
    *,
    position: Position = "last",
    batch_size: int | None = None,
    cleans: Cleans | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the logits at the last prompt token of each run, runs of earlier layers first.

    Args:
        model: The model; see `emolib.blocks.why_not`.
        prompts: What to run.
        runs: Per run the interventions that apply together; none for the clean run.
        position: Where in the prompt z is edited.
        batch_size: Prompts per batch; None for as many as fit.
        cleans: The clean runs of the prompts, where several sweeps share them.

    Yields:
        (Number of the run, logits of shape ``[draws, n_prompts, vocab]``).

    Raises:
        InputError: When a head or unit is not one of the model's, or not even one run of one
            prompt fits into memory.
    """
    blocks = Blocks(model)
    todo = branches(model, runs, all_draws=True)
    pending = {run: sum(branch.run == run for branch in todo) for run in range(len(runs))}
    done: dict[int, list[Tensor]] = {}
    riders = Riders(blocks, position)
    cleans = cleans or Cleans(blocks, prompts, batch_size)
    resumed = cleans.of(todo, position, more=False)
    while todo:
        chunk = todo[: riders.fitting(resumed, todo)]
        try:
            found = [blocks.logits(riders.through(clean, chunk)) for clean in resumed]
        except (MemoryError, RuntimeError) as error:
            batches = riders.smaller(error, [clean.batch for clean in resumed])
            resumed = cleans.started(batches, todo, position, keep=False)
            continue
        del todo[: len(chunk)]
        rows = [row for clean in resumed for row in clean.batch.rows]
        order = torch.tensor(rows, device=model.device).argsort()
        for place, branch in enumerate(chunk):
            logits = torch.cat([part[:, place] for part in found])[order]
            done.setdefault(branch.run, []).append(logits)
            if len(done[branch.run]) == pending[branch.run]:
                yield branch.run, torch.stack(done.pop(branch.run))


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


class Riders:
    """How many runs ride in one batch, and how they are carried through the layers."""

    def __init__(self, blocks: Blocks, position: Position) -> None:
        """Hold the model and where z is edited."""
        self.blocks, self.position = blocks, position
        self._most: int | None = None
        self._count = 1

    def fitting(self, cleans: Sequence[Clean], todo: Sequence[Branch]) -> int:
        """Return how many of the next branches go into one batch."""
        model, batches = self.blocks.model, [clean.batch for clean in cleans]
        wide = 6 * model.hf.config.hidden_size + 2 * model.n_units
        size = torch.finfo(model.hf.dtype).bits // 8
        shapes = [(len(b.rows), columns_of(b, todo, self.position)) for b in batches]
        most = max(rows * (tokens * wide + 2 * self.blocks.vocab) * size for rows, tokens in shapes)
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

    def through(
        self, clean: Clean, chunk: Sequence[Branch], memory: Memory | None = None
    ) -> Tensor:
        """Return the residual stream after the last layer at the last column, ``[B, k, d_model]``.

        Args:
            clean: The clean run of the prompts.
            chunk: The k runs.
            memory: Where keys and values of the runs' own stay for tokens to come.
        """
        layers, frames, batch = self.blocks.layers, clean.frames, clean.batch
        first = min(branch.first for branch in chunk)
        stages = stages_of(self.blocks.model, chunk, batch, self.position)
        if first == len(layers):
            return clean.final()[:, None].expand(-1, len(chunk), -1)
        count = columns_of(batch, chunk, self.position)
        state = clean.state(first, count)
        resid = state.resid[:, None].expand(-1, len(chunk), -1, -1)
        before, columns = batch.width - count, slice(batch.width - count, batch.width)
        z = torch.empty(0)
        for index in range(first, len(layers)):
            layer, frame, final = layers[index], frames[index], index == len(layers) - 1
            edits = Edits(self.blocks.model, index, stages)
            last = final and not edits.whole
            if index == first:
                z = state.z[:, None, -1:] if last else state.z[:, None]
                # A copy: edits are made in place.
                z = z.repeat(1, len(chunk), 1, 1)
            else:
                normed = layer.normed(resid)
                query, key, value = layer.qkv(normed, frame.turns_of(columns), last=last)
                if memory is not None:
                    memory.add(index, key, value)
                tokens = slice(batch.width - 1, batch.width) if last else columns
                shared = clean.shared(index, before)
                bias = frame.bias_of(tokens, batch.width)
                z = layer.attend(query, (key, value), shared, bias)
            edits.heads(z)
            if last:
                resid = resid[:, :, -1:]
            resid = layer.finish(resid, z, edits.units)
        return resid[:, :, -1]


def stages_of(
    model: LanguageModel, chunk: Sequence[Branch], batch: Batch, position: Position
) -> list[Stage]:
    """Return the edits of each branch on a batch."""
    return [Stage(model, branch.interventions, batch, position, branch.draw) for branch in chunk]


class Edits:
    """What the runs of a chunk edit in one layer."""

    def __init__(self, model: LanguageModel, layer: int, stages: Sequence[Stage]) -> None:
        """Find the runs that edit anything there."""
        heads, units = model.attn_out(layer), model.mlp_out(layer)
        self._heads = [(j, s, heads) for j, s in enumerate(stages) if heads in s.plan]
        self._units = [(j, s, units) for j, s in enumerate(stages) if units in s.plan]
        both = [*self._heads, *self._units]
        self.whole = any(stage.whole(path) for _, stage, path in both)
        self.units: Callable[[Tensor], None] | None = self._edit_units if self._units else None

    def heads(self, z: Tensor) -> None:
        """Edit z, ``[B, k, S, H * d_head]``, in place."""
        for row, stage, path in self._heads:
            stage.edit(z[:, row], path)

    def _edit_units(self, units: Tensor) -> None:
        for row, stage, path in self._units:
            stage.edit(units[:, row], path)


def _is_memory(error: Exception) -> bool:
    wanted = MemoryError, torch.OutOfMemoryError
    return isinstance(error, wanted) or "can't allocate memory" in str(error)
