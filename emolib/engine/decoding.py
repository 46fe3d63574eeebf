"""Greedy continuations, of many runs in one decode over shared and own keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emolib.engine.batch_sizes import ROOM, BatchSize, columns_of
from emolib.engine.clean_runs import Clean, Cleans, Memory
from emolib.engine.edits import Branch, Edits, branches, stages_of
from emolib.engine.layers import Blocks
from emolib.engine.sweeps import carry
from emolib.inputs.prompts import Position
from emolib.interventions import Intervention
from emolib.models.encoding import Prompts
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
    model: LanguageModel, ids: Sequence[Sequence[int]], margins: Sequence[float]
) -> Continuations:
    """Return generated tokens with their texts."""
    texts = tuple(model.tokenizer.decode(list(row), skip_special_tokens=True) for row in ids)
    return Continuations(tuple(tuple(row) for row in ids), texts, tuple(margins))


class Greedy:
    """The best token at every step, of n rows, until each has ended."""

    def __init__(self, model: LanguageModel, rows: int) -> None:
        """Begin with rows that have generated nothing."""
        self._ends = torch.tensor(sorted(_end_ids(model)), device=model.device)
        self._done = torch.zeros(rows, dtype=torch.bool, device=model.device)
        self._margins = torch.full((rows,), torch.inf, device=model.device)
        self._tokens: list[Tensor] = []

    def take(self, logits: Tensor) -> Tensor:
        """Return the next token of each row, ``[n]``, from logits ``[n, vocab]``."""
        best = logits.float().topk(2)
        gaps = best.values[:, 0] - best.values[:, 1]
        self._margins = torch.where(self._done, self._margins, self._margins.minimum(gaps))
        token = best.indices[:, 0]
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
    model: LanguageModel,
    prompts: Prompts,
    runs: Sequence[Sequence[Intervention]],
    *,
    max_new_tokens: int,
    position: Position = "last",
    batch_size: int | None = None,
    cleans: Cleans | None = None,
) -> Iterator[tuple[int, Continuations]]:
    """Yield greedy continuations of each run, under its interventions' first draw.

    Args:
        model: The model; see `emolib.engine.support.why_not`.
        prompts: What to run.
        runs: Per run the interventions that apply together; none for the clean run.
        max_new_tokens: Most tokens of a continuation.
        position: Where z is edited; see `emolib.engine.hooked.generate`.
        batch_size: Prompts per batch; None for as many as fit.
        cleans: The clean runs of the prompts, with as many columns to come.

    Yields:
        (Number of the run, its continuations).

    Raises:
        InputError: When a head or unit is not one of the model's, or not even one run of one
            prompt fits into memory.
    """
    blocks = Blocks(model)
    todo = branches(model, runs, all_draws=False)
    decoder = Decoder(blocks, position, max_new_tokens)
    cleans = cleans or Cleans(blocks, prompts, batch_size, max_new_tokens - 1)
    resumed = cleans.of(todo, position, more=True)
    while todo:
        chunk = todo[: decoder.fitting(resumed, todo)]
        try:
            found = [decoder.decode(clean, chunk) for clean in resumed]
        except (MemoryError, RuntimeError) as error:
            batches = decoder.size.smaller(error, [clean.batch for clean in resumed])
            resumed = cleans.started(batches, todo, position, keep=True)
            continue
        del todo[: len(chunk)]
        for place, branch in enumerate(chunk):
            rows: dict[int, Generated] = {}
            for clean, made in zip(resumed, found, strict=True):
                rows |= dict(zip(clean.batch.rows, made[place :: len(chunk)], strict=True))
            ordered = [rows[prompt] for prompt in range(len(prompts))]
            yield (
                branch.run,
                continuations(model, [ids for ids, _ in ordered], [gap for _, gap in ordered]),
            )


class Decoder:
    """Decodes the runs of one batch of prompts together."""

    def __init__(self, blocks: Blocks, position: Position, max_new_tokens: int) -> None:
        """Hold the settings."""
        self.size = BatchSize()
        self._blocks, self._position, self._new = blocks, position, max_new_tokens

    def fitting(self, cleans: Sequence[Clean], todo: Sequence[Branch]) -> int:
        """Return how many of the next branches go into one batch."""
        most = 0
        for clean in cleans:
            tokens = columns_of(clean.batch, todo, self._position)
            key, _ = clean.state(0, 1).kept
            own = 2 * key.shape[1] * key.shape[3] * (tokens + self._new)
            per_row = own * len(self._blocks.layers) + 3 * self._blocks.vocab
            most = max(most, per_row * len(clean.batch.rows) * key.element_size())
        return self.size.limit(min(ROOM // most, len(todo)))

    def decode(self, clean: Clean, chunk: Sequence[Branch]) -> list[Generated]:
        """Return what each row generates, the runs of a prompt side by side."""
        batch, blocks, more = clean.batch, self._blocks, self._new - 1
        first = min(branch.first for branch in chunk)
        memory = Memory(len(blocks.layers), more)
        resid = carry(blocks, clean, chunk, self._position, memory)
        prompts, rows = resid.shape[:2]
        before = batch.width - columns_of(batch, chunk, self._position)
        # Up to the first layer that is edited a prompt is the same for all runs.
        shared = [
            clean.shared(index, batch.width if index <= first else before)
            for index in range(len(blocks.layers))
        ]
        stages = stages_of(blocks.model, chunk, batch, self._position)
        for stage in stages:
            stage.generated = True
        edits = [Edits(blocks.model, index, stages) for index in range(len(blocks.layers))]
        places = batch.position_ids[:, -1:].expand(-1, rows)
        greedy = Greedy(blocks.model, prompts * rows)
        for step in range(self._new):
            token = greedy.take(blocks.logits(resid.reshape(prompts * rows, -1)))
            if greedy.done or step == more:
                break
            places = places + 1
            resid = blocks.embed(token, places.flatten()).view(prompts, rows, 1, -1)
            column = slice(batch.width + step, batch.width + step + 1)
            for index, layer in enumerate(blocks.layers):
                frame = clean.frames[index]
                query, key, value = layer.qkv(layer.normed(resid), frame.turns_of(column))
                own = memory.add(index, key, value)
                bias = frame.bias_of(column, column.stop)
                z = layer.attend(query, own, shared[index], bias)
                edits[index].heads(z)
                resid = layer.finish(resid, z, edits[index].units)
            resid = resid[:, :, 0]
        return greedy.rows


@torch.no_grad()
def log_probs(
    blocks: Blocks, clean: Clean, rows: Sequence[int], chosen: Sequence[Sequence[int]]
) -> list[float]:
    """Return the mean log-probability (nats per token) of continuations under the clean model.

    Args:
        blocks: The model.
        clean: The clean run of the prompts, kept whole, with room for the continuations.
        rows: Per continuation the row of the batch that it continues.
        chosen: The continuations, of at least one token each.

    Raises:
        ValueError: When a continuation has no token.
    """
    if not all(chosen):
        raise ValueError("expected continuations of at least one token, got an empty one")
    found: list[float] = []
    most = max(1, ROOM // (max(map(len, chosen)) * blocks.vocab * 16))
    for start in range(0, len(rows), most):
        part = slice(start, start + most)
        found += _log_probs(blocks, clean, list(rows[part]), chosen[part])
    return found


def _log_probs(
    blocks: Blocks, clean: Clean, rows: list[int], chosen: Sequence[Sequence[int]]
) -> list[float]:
    batch, width = clean.batch, max(map(len, chosen))
    # Padded on the right, where no token before it looks.
    padded = [[*ids, *[batch.pad] * (width - len(ids))] for ids in chosen]
    ids = torch.tensor(padded, device=blocks.model.device)
    inputs = torch.cat([batch.input_ids[rows, -1:], ids[:, :-1]], dim=1)
    places = batch.position_ids[rows, -1:] + torch.arange(width, device=ids.device)
    resid = blocks.embed(inputs.flatten(), places.flatten()).view(len(rows), 1, width, -1)
    columns = slice(batch.width - 1, batch.width - 1 + width)
    for index, layer in enumerate(blocks.layers):
        frame = clean.frames[index].of(rows)
        query, key, value = layer.qkv(layer.normed(resid), frame.turns_of(columns))
        shared = clean.shared(index, columns.start)
        before = None if shared is None else (shared[0][rows], shared[1][rows])
        z = layer.attend(query, (key, value), before, frame.bias_of(columns, columns.stop))
        resid = layer.finish(resid, z)
    logits = blocks.logits(resid[:, 0]).float()
    scores = torch.gather(logits, 2, ids[:, :, None])[..., 0] - logits.logsumexp(-1)
    return [float(scores[i, : len(row)].mean()) for i, row in enumerate(chosen)]
