"""Many runs at once: the rows of one batch, resumed from the layer that they edit.

The clean run is made once. A run takes over its residual stream and z at the first layer that it
edits, and its keys and values in the columns that it leaves alone; runs ride side by side as rows
of a prompt. Only what the logits at the last token need is computed in the last layer. All of it
is exact: the numbers are those of running the whole model for each, up to float rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from emolib.engine.batch_sizes import BatchSize, columns_of
from emolib.engine.clean_runs import Clean, Cleans, Memory
from emolib.engine.edits import Branch, Edits, branches, stages_of
from emolib.engine.layers import Blocks
from emolib.inputs.prompts import Position
from emolib.interventions import Intervention
from emolib.models.encoding import Prompts
from emolib.models.language_model import LanguageModel


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
        model: The model; see `emolib.engine.support.why_not`.
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
    size = BatchSize()
    cleans = cleans or Cleans(blocks, prompts, batch_size)
    resumed = cleans.of(todo, position, more=False)
    while todo:
        chunk = todo[
            : size.fitting(model, blocks.vocab, [c.batch for c in resumed], todo, position)
        ]
        try:
            found = [blocks.logits(carry(blocks, clean, chunk, position)) for clean in resumed]
        except (MemoryError, RuntimeError) as error:
            batches = size.smaller(error, [clean.batch for clean in resumed])
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


def carry(
    blocks: Blocks,
    clean: Clean,
    chunk: Sequence[Branch],
    position: Position,
    memory: Memory | None = None,
) -> Tensor:
    """Return the residual stream after the last layer at the last column, ``[B, k, d_model]``.

    Args:
        blocks: The model.
        clean: The clean run of the prompts.
        chunk: The k runs.
        position: Where z is edited.
        memory: Where keys and values of the runs' own stay for tokens to come.
    """
    layers, frames, batch = blocks.layers, clean.frames, clean.batch
    first = min(branch.first for branch in chunk)
    stages = stages_of(blocks.model, chunk, batch, position)
    if first == len(layers):
        return clean.final()[:, None].expand(-1, len(chunk), -1)
    count = columns_of(batch, chunk, position)
    state = clean.state(first, count)
    resid = state.resid[:, None].expand(-1, len(chunk), -1, -1)
    before, columns = batch.width - count, slice(batch.width - count, batch.width)
    z = torch.empty(0)
    for index in range(first, len(layers)):
        layer, frame, final = layers[index], frames[index], index == len(layers) - 1
        edits = Edits(blocks.model, index, stages)
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
