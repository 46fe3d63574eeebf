"""Many runs at once: the rows of one batch, resumed from the layer that they edit.

The clean run is made once. A run takes over its residual stream and z at the first layer that it
edits, and its keys and values in the columns that it leaves alone; the runs of a prompt are rows
side by side. Only what the logits at the last token need is computed in the last layer. All of it
is exact: the numbers are those of running the whole model for each, up to float rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from emolib.engine import heap
from emolib.engine.batch_sizes import BatchSize, columns_of
from emolib.engine.clean_runs import CleanRun, CleanRuns, KVCache
from emolib.engine.edits import Branch, LayerEdits, branches, edits_of
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.slices import Measure, measured
from emolib.inputs.prompts import Position
from emolib.interventions import Intervention


@torch.no_grad()
def sweep(
    clean_runs: CleanRuns,
    runs: Sequence[Sequence[Intervention]],
    *,
    position: Position = "last",
    measure: Measure | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the logits at the last prompt token of each run, runs of earlier layers first.

    Args:
        clean_runs: The clean runs of the prompts, which sweeps share.
        runs: Per run the interventions that apply together; none for the clean run.
        position: Where in the prompt z is edited.
        measure: What is kept of the logits; None for all of them.

    Yields:
        (Number of the run, what is kept of it: ``[draws, n_prompts, M]``, or logits
        ``[draws, n_prompts, vocab]``).

    Raises:
        InputError: When a head or unit is not one of the model's, or not even one run of one
            prompt fits into memory.
    """
    model = clean_runs.model
    branched = branches(model.model, runs, all_draws=True)
    pending = Counter(branch.run for branch in branched)
    found: dict[tuple[int, int], list[tuple[Sequence[int], Tensor]]] = {}
    size = BatchSize(model.shape, position, gpu=model.model.device.type == "cuda")
    resumed = clean_runs.of(branched, position, more=False)

    def work(clean: CleanRun, chunk: Sequence[Branch]) -> Tensor:
        resid = carry(model, clean, chunk, position)
        # What layers made is free now, in pieces of which none has room for logits.
        heap.give_back(model.shape.weights)
        return measured(model.logits, resid, clean.batch.rows, model.shape.vocab, measure)

    for is_last, chunk, parts in resumed.chunks(branched, size, size.of_runs, work):
        for place, branch in enumerate(chunk):
            rows = found.setdefault((branch.run, branch.draw), [])
            # Copies: a view would keep what was found of the whole chunk.
            rows += [(numbers, part[:, place].clone()) for numbers, part in parts]
            if is_last:
                pending[branch.run] -= 1
                if not pending[branch.run]:
                    draws = sorted(key for key in found if key[0] == branch.run)
                    yield branch.run, torch.stack([ordered(found.pop(key)) for key in draws])


def ordered(parts: Sequence[tuple[Sequence[int], Tensor]]) -> Tensor:
    """Return rows in the order of the prompts, of parts with the numbers of theirs."""
    rows = [row for numbers, _ in parts for row in numbers]
    return torch.cat([part for _, part in parts])[torch.tensor(rows).argsort()]


def carry(
    model: LayerwiseModel,
    clean: CleanRun,
    chunk: Sequence[Branch],
    position: Position,
    cache: KVCache | None = None,
    see: Callable[[int, Tensor, slice], None] | None = None,
) -> Tensor:
    """Return the residual stream after the last layer at the last column, ``[B, k, d_model]``.

    Args:
        model: The model.
        clean: The clean run of the prompts.
        chunk: The k runs.
        position: Where z is edited.
        cache: Where keys and values of the runs' own stay for tokens to come.
        see: Is shown, from the first layer that they edit, its number and the residual stream
            before it, ``[B, k, S, d_model]``, with the columns that the S tokens are.
    """
    layers, batch = model.layers, clean.batch
    first = min(branch.first for branch in chunk)
    edits, runs, beside = edits_of(model.model, chunk, batch, position), len(chunk), None
    if first == len(layers):
        return clean.final()[:, None].expand(-1, len(chunk), -1)
    if cache is None and any(stage.holds_clean for stage in edits):
        # The clean run is a row beside runs that hold heads at what it has.
        beside = next((row for row, branch in enumerate(chunk) if not branch.interventions), runs)
        if beside == runs:
            chunk = [*chunk, Branch(-1, 0, (), first)]
            edits += edits_of(model.model, chunk[-1:], batch, position)
    count = columns_of(batch, chunk, position)
    state = clean.state(first, count)
    resid = state.resid[:, None].expand(-1, len(chunk), -1, -1)
    columns = slice(batch.width - count, batch.width)
    for index in range(first, len(layers)):
        if see is not None:
            see(index, resid[:, :runs], columns)
        layer, of_layer = layers[index], LayerEdits(model.model, index, edits, beside)
        last = index == len(layers) - 1 and not of_layer.whole
        z, keep = None, None if cache is None else partial(cache.append, index)
        if index == first:
            z = state.z[:, None, -1:] if last else state.z[:, None]
            # A copy: edits are made in place.
            z, keep = z.repeat(1, len(chunk), 1, 1), None
        resid, _ = layer.step(
            resid,
            clean.inputs[index],
            columns,
            clean.shared(index, columns.start),
            z=z,
            last=last,
            keep=keep,
            edits=of_layer.edits,
        )
    return resid[:, :runs, -1]
