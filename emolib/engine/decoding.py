"""Greedy continuations, of many runs in one decode over shared and own keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from emolib.engine import heap
from emolib.engine.batch_sizes import BatchSize, columns_of, texts_at_once
from emolib.engine.clean_runs import CleanRun, CleanRuns, KVCache
from emolib.engine.edits import Branch, LayerEdits, branches, edits_of
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.sweeps import carry
from emolib.inputs.prompts import Position
from emolib.interventions import Intervention
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel

Generated = tuple[tuple[int, ...], float]
"""Token ids, and the smallest gap between the best and the second token over the steps."""


@dataclass(frozen=True)
class Continuations:
    """Greedy continuations of some prompts.

    Attributes:
        ids: Per prompt the generated token ids, an end token included when one came.
        texts: The same as text, special tokens left out.
        margins: Per prompt the smallest gap, in logits, between the best and the second token
            over its steps: a text whose margin is below the float noise may flip.
    """

    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    margins: tuple[float, ...]


def continuations(
    model: LanguageModel,
    ids: Sequence[Sequence[int]],
    margins: Sequence[float],
    ends: frozenset[int] = frozenset(),
) -> Continuations:
    """Return generated tokens with their texts, in which none of `ends` shows."""
    shown = [[token for token in row if token not in ends] for row in ids]
    texts = tuple(model.tokenizer.decode(row, skip_special_tokens=True) for row in shown)
    return Continuations(tuple(tuple(row) for row in ids), texts, tuple(margins))


class Greedy:
    """The best token at every step, of n rows, until each has ended."""

    def __init__(self, model: LanguageModel, rows: int, ends: frozenset[int] = frozenset()) -> None:
        """Begin with rows that have generated nothing; any of `ends` ends one too."""
        self._ends = torch.tensor(sorted(_end_ids(model) | ends), device=model.device)
        self._done = torch.zeros(rows, dtype=torch.bool, device=model.device)
        self._margins = torch.full((rows,), torch.inf, device=model.device)
        self._tokens: list[Tensor] = []

    def take(self, logits: Iterable[Tensor]) -> Tensor:
        """Return the next token of each row, ``[n]``, from logits ``[…, vocab]`` of some each."""
        best = [part.float().topk(2) for part in logits]
        gaps = torch.cat([part.values[:, 0] - part.values[:, 1] for part in best])
        self._margins = torch.where(self._done, self._margins, self._margins.minimum(gaps))
        token = torch.cat([part.indices[:, 0] for part in best])
        # A row that has ended goes on with tokens that are cut below.
        self._tokens.append(torch.where(self._done, -1, token))
        self._done |= torch.isin(token, self._ends)
        return token

    @property
    def done(self) -> bool:
        """Whether every row has ended."""
        return bool(self._done.all())

    @property
    def rows(self) -> list[Generated]:
        """Per row the tokens, and the smallest gap between the best two."""
        rows = torch.stack(self._tokens, dim=1).tolist()
        ids = [tuple(token for token in row if token >= 0) for row in rows]
        return list(zip(ids, self._margins.tolist(), strict=True))


def _end_ids(model: LanguageModel) -> set[int]:
    configured = model.hf.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {int(i) for i in [*ids, model.tokenizer.eos_token_id] if i is not None}


@torch.no_grad()
def generate(
    clean_runs: CleanRuns,
    runs: Sequence[Sequence[Intervention]],
    *,
    max_new_tokens: int,
    position: Position = "last",
) -> Iterator[tuple[int, Continuations]]:
    """Yield greedy continuations of each run, under its interventions' first draw.

    Args:
        clean_runs: The clean runs of the prompts, with as many columns to come.
        runs: Per run the interventions that apply together; none for the clean run.
        max_new_tokens: Most tokens of a continuation.
        position: Where z is edited; see `emolib.engine.hooked.generate`.

    Yields:
        (Number of the run, its continuations).

    Raises:
        InputError: When a head or unit is not one of the model's, or not even one run of one
            prompt fits into memory.
    """
    model = clean_runs.model
    branched = branches(model.model, runs, all_draws=False)
    found: dict[int, list[tuple[Sequence[int], list[Generated]]]] = {}
    size = BatchSize(model.shape, position, gpu=model.model.device.type == "cuda")
    resumed = clean_runs.of(branched, position, more=True)

    def count(batches: Sequence[Batch], todo: Sequence[Branch]) -> int:
        return size.of_texts(batches, todo, max_new_tokens)

    def work(clean: CleanRun, chunk: Sequence[Branch]) -> list[Generated]:
        heap.give_back(model.shape.weights)
        return decode(model, clean, chunk, position, max_new_tokens)

    ends = clean_runs.ends
    for is_last, chunk, parts in resumed.chunks(branched, size, count, work):
        for place, branch in enumerate(chunk):
            made = found.setdefault(branch.run, [])
            made += [(numbers, part[place :: len(chunk)]) for numbers, part in parts]
            if is_last:
                yield branch.run, _in_order(model.model, found.pop(branch.run), ends)


def _in_order(
    model: LanguageModel,
    parts: Sequence[tuple[Sequence[int], list[Generated]]],
    ends: frozenset[int],
) -> Continuations:
    """Return what was generated, of parts with the numbers of their prompts."""
    rows: dict[int, Generated] = {}
    for numbers, part in parts:
        rows |= dict(zip(numbers, part, strict=True))
    ordered = [rows[prompt] for prompt in range(len(rows))]
    ids, margins = [ids for ids, _ in ordered], [gap for _, gap in ordered]
    return continuations(model, ids, margins, ends)


def decode(
    model: LayerwiseModel,
    clean: CleanRun,
    chunk: Sequence[Branch],
    position: Position,
    max_new_tokens: int,
) -> list[Generated]:
    """Return what each row generates, the runs of a prompt side by side.

    Args:
        model: The model.
        clean: The clean run of the prompts, with room for the tokens to come.
        chunk: The runs.
        position: Where z is edited.
        max_new_tokens: Most tokens of a continuation.
    """
    batch, layers, more = clean.batch, model.layers, max_new_tokens - 1
    first = min(branch.first for branch in chunk)
    cache = KVCache(len(layers), more)
    resid = carry(model, clean, chunk, position, cache)
    prompts, rows = resid.shape[:2]
    before = batch.width - columns_of(batch, chunk, position)
    # Up to the first layer that is edited a prompt is the same for all runs.
    shared = [
        clean.shared(index, batch.width if index <= first else before)
        for index in range(len(layers))
    ]
    runs = edits_of(model.model, chunk, batch, position)
    for run in runs:
        run.generated = True
    edits = [LayerEdits(model.model, index, runs) for index in range(len(layers))]
    position_ids = batch.position_ids[:, -1:].expand(-1, rows)
    greedy = Greedy(model.model, prompts * rows, batch.prompts.ends)
    for step in range(max_new_tokens):
        token = greedy.take(model.logits_in_slices(resid.reshape(prompts * rows, -1)))
        if greedy.done or step == more:
            break
        position_ids = position_ids + 1
        resid = model.embed(token, position_ids.flatten()).view(prompts, rows, 1, -1)
        column = slice(batch.width + step, batch.width + step + 1)
        for index, layer in enumerate(layers):
            keep = partial(cache.append, index)
            given, earlier = clean.inputs[index], shared[index]
            resid, _ = layer.step(
                resid, given, column, earlier, keep=keep, edits=edits[index].edits
            )
        resid = resid[:, :, 0]
    return greedy.rows


@torch.no_grad()
def log_probs(
    model: LayerwiseModel, clean: CleanRun, rows: Sequence[int], chosen: Sequence[Sequence[int]]
) -> list[float]:
    """Return the mean log-probability (nats per token) of continuations under the clean model.

    Args:
        model: The model.
        clean: The clean run of the prompts, kept whole, with room for the continuations.
        rows: Per continuation the row of the batch that it continues.
        chosen: The continuations, of at least one token each.

    Raises:
        ValueError: When a continuation has no token.
    """
    if not all(chosen):
        raise ValueError("expected continuations of at least one token, got an empty one")
    found: list[float] = []
    most = texts_at_once(max(map(len, chosen)), model.shape)
    for start in range(0, len(rows), most):
        part = slice(start, start + most)
        found += _log_probs(model, clean, list(rows[part]), chosen[part])
    return found


def _log_probs(
    model: LayerwiseModel, clean: CleanRun, rows: list[int], chosen: Sequence[Sequence[int]]
) -> list[float]:
    batch, width = clean.batch, max(map(len, chosen))
    # Padded on the right, where no token before it looks.
    padded = [[*ids, *[batch.pad] * (width - len(ids))] for ids in chosen]
    ids = torch.tensor(padded, device=model.model.device)
    inputs = torch.cat([batch.input_ids[rows, -1:], ids[:, :-1]], dim=1)
    position_ids = batch.position_ids[rows, -1:] + torch.arange(width, device=ids.device)
    resid = model.embed(inputs.flatten(), position_ids.flatten()).view(len(rows), 1, width, -1)
    columns = slice(batch.width - 1, batch.width - 1 + width)
    for index, layer in enumerate(model.layers):
        shared = clean.shared(index, columns.start)
        before = None if shared is None else (shared[0][rows], shared[1][rows])
        resid, _ = layer.step(resid, clean.inputs[index].of(rows), columns, before)
    # What layers made is free now, in pieces of which none has room for logits.
    heap.give_back(model.shape.weights)
    logits = model.logits_in_slices(resid.reshape(len(rows) * width, -1))
    return mean_log_probs(logits, ids, list(map(len, chosen)))


def mean_log_probs(logits: Iterable[Tensor], ids: Tensor, lengths: Sequence[int]) -> list[float]:
    """Return the mean log-probability of each row's first tokens, in nats per token.

    Args:
        logits: At the tokens before, row by row, of some of them each, ``[…, vocab]``.
        ids: The tokens, ``[n, width]``, padded on the right.
        lengths: Per row how many of them count.
    """
    found, start, flat = [], 0, ids.flatten()
    for part in logits:
        part, chosen = part.float(), flat[start : start + len(part)]
        found.append(part.gather(1, chosen[:, None])[:, 0] - part.logsumexp(-1))
        start += len(part)
    scores = torch.cat(found).view(ids.shape)
    return [float(scores[i, :length].mean()) for i, length in enumerate(lengths)]
