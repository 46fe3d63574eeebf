"""What runs take over from the clean run: all of it before the layer and the columns they edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from emolib.engine.batch_sizes import KEPT, BatchSize, batches_of, columns_of
from emolib.engine.edits import Branch, is_tokenwise
from emolib.engine.layers import Edits, KeysValues
from emolib.engine.layerwise_model import LayerwiseModel, Stem
from emolib.inputs.prompts import Position
from emolib.models.encoding import Batch, Prompts

Made = TypeVar("Made")


@dataclass(frozen=True)
class State:
    """The clean run at one layer.

    Attributes:
        resid: The residual stream before the layer, the last S columns, ``[B, S, d_model]``.
        z: What its heads put out there, ``[B, S, H * d_head]``.
        kept: Keys and values that runs share, each ``[B, H_kv, columns, d_head]``.
    """

    resid: Tensor
    z: Tensor
    kept: KeysValues


class CleanRun:
    """The clean run of one batch, made layer by layer as far as it is asked for."""

    def __init__(
        self, model: LayerwiseModel, batch: Batch, tokens: int, *, keep: bool, more: int = 0
    ) -> None:
        """Run what comes before the layers.

        Args:
            model: The model.
            batch: The prompts, T columns of them.
            tokens: How many of the last columns runs compute at most, S.
            keep: Whether layers that are behind stay; else runs that compute all columns must
                ask in order.
            more: Columns that will be generated after the prompts.
        """
        self.batch, self.tokens = batch, tokens
        self._model, self._keep = model, keep or tokens < batch.width
        stem = self._stem(more)
        self.inputs = stem.inputs
        self._resid = stem.hidden[:, None, : batch.width]
        self._states: list[State | None] = []

    def _stem(self, more: int) -> Stem:
        batch = self.batch
        ids, mask, positions = batch.input_ids, batch.attention_mask, batch.position_ids
        if more:
            steps = torch.arange(1, more + 1, device=ids.device)
            ids = torch.cat([ids, ids.new_full((len(ids), more), batch.pad)], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(mask), more)], dim=1)
            positions = torch.cat([positions, positions[:, -1:] + steps], dim=1)
        return self._model.stem(ids, mask, positions)

    def state(self, layer: int, tokens: int) -> State:
        """Return the clean run at a layer, of the last `tokens` columns."""
        while len(self._states) <= layer:
            self._advance()
        state = self._states[layer]
        if state is None:
            raise RuntimeError(f"layer {layer} of the clean run is behind; ask in order")
        return State(state.resid[:, -tokens:], state.z[:, -tokens:], state.kept)

    def shared(self, layer: int, columns: int) -> KeysValues | None:
        """Return keys and values of a layer in the first columns, None where there are none."""
        if not columns:
            return None
        key, value = self.state(layer, 1).kept
        if not key.shape[2]:
            raise RuntimeError("keys and values of this clean run are not kept")
        return key[:, :, :columns], value[:, :, :columns]

    def final(self) -> Tensor:
        """Return the residual stream after the last layer at the last column, ``[B, d_model]``."""
        while len(self._states) < len(self._model.layers):
            self._advance()
        return self._resid[:, 0, -1]

    @torch.no_grad()
    def written(self, layer: int) -> dict[str, Tensor]:
        """Return what projections put out at the last column, ``attn`` and ``mlp``."""
        state, width = self.state(layer, 1), self.batch.width
        seen: dict[str, Tensor] = {}

        def note(what: str, output: Tensor) -> None:
            seen[what] = output[:, 0, -1]

        columns = slice(width - 1, width)
        self._model.layers[layer].step(
            state.resid[:, None],
            self.inputs[layer],
            columns,
            self.shared(layer, columns.start),
            z=state.z[:, None],
            edits=Edits(note=note),
        )
        return seen

    @torch.no_grad()
    def _advance(self) -> None:
        index = len(self._states)
        layer, inputs = self._model.layers[index], self.inputs[index]
        width, resid = self.batch.width, self._resid
        made: list[KeysValues] = []

        def keep(key: Tensor, value: Tensor) -> KeysValues:
            made.append((key, value))
            return made[-1]

        final = index == len(self._model.layers) - 1
        after, z = layer.step(resid, inputs, slice(0, width), keep=keep, crop=final)
        if self._states and not self._keep:
            self._states[-1] = None
        columns = width if self._keep else 0
        kept = tuple(part[:, 0, :, :columns].contiguous() for part in made[0])
        tail, tail_z = (_tail(part[:, 0], self.tokens) for part in (resid, z))
        self._states.append(State(tail, tail_z, (kept[0], kept[1])))
        self._resid = after


def _tail(values: Tensor, tokens: int) -> Tensor:
    """Return the last columns; a copy where they are few, which keeps no more than them."""
    few = 2 * tokens <= values.shape[1]
    return values[:, -tokens:].clone() if few else values[:, -tokens:]


class Resumed:
    """Clean runs that some runs resume from, in groups that are in memory together.

    Attributes:
        groups: Per group the batches in it. All are one group where the clean runs are kept;
            otherwise each is its own, made when its turn comes and let go of after it.
    """

    def __init__(self, groups: list[list[Batch]], make: Callable[[Batch], CleanRun]) -> None:
        """Hold how the clean run of a batch is had."""
        self.groups, self.make = groups, make

    def __iter__(self) -> Iterator[CleanRun]:
        """Yield the clean runs of all batches, those that are not kept one at a time."""
        for group in self.groups:
            for batch in group:
                yield self.make(batch)

    def chunks(
        self,
        branched: Sequence[Branch],
        size: BatchSize,
        count: Callable[[Sequence[Batch], Sequence[Branch]], int],
        work: Callable[[CleanRun, Sequence[Branch]], Made],
    ) -> Iterator[tuple[bool, Sequence[Branch], list[tuple[Sequence[int], Made]]]]:
        """Do some work for all branches, as many at once as fit, group after group.

        Args:
            branched: The branches.
            size: How many fit; it is told of batches that did not.
            count: From batches and the branches to come to how many of these are next.
            work: From a clean run and some branches to what is made of them.

        Yields:
            (Whether this is the last group, the branches, per batch the numbers of its prompts
            and what was made.)
        """
        for number, group in enumerate(self.groups):
            todo, cleans = list(branched), [self.make(batch) for batch in group]
            while todo:
                batches = [clean.batch for clean in cleans]
                chunk = todo[: count(batches, todo)]
                try:
                    made = [(clean.batch.rows, work(clean, chunk)) for clean in cleans]
                except (MemoryError, RuntimeError) as error:
                    cleans = [self.make(batch) for batch in size.smaller(error, batches)]
                    continue
                del todo[: len(chunk)]
                yield number == len(self.groups) - 1, chunk, made


class CleanRuns:
    """The clean runs of some prompts, kept for all runs on them where they take little.

    Attributes:
        model: The model.
    """

    def __init__(
        self, model: LayerwiseModel, prompts: Prompts, size: int | None, more: int = 0
    ) -> None:
        """Hold what to run.

        Args:
            model: The model.
            prompts: The prompts.
            size: Prompts per batch; None for as many as fit.
            more: Columns that will be generated after the prompts.
        """
        self.model = model
        self._prompts, self._size, self._more = prompts, size, more
        self._batches = batches_of(model.model, prompts, (), size)
        self._kept: list[CleanRun] = []

    @property
    def ends(self) -> frozenset[int]:
        """Ids of the tokens that end an answer to the prompts."""
        return self._prompts.ends

    def of(self, runs: Sequence[Branch], position: Position, *, more: bool) -> Resumed:
        """Return the clean runs that some runs resume from.

        Args:
            runs: The runs.
            position: Where they edit.
            more: Whether tokens will be generated after the prompts.
        """
        if not is_tokenwise(runs):
            batches = batches_of(self.model.model, self._prompts, runs, self._size)
            return Resumed([[b] for b in batches], lambda b: self.started(b, b.width, keep=more))
        wanted = [columns_of(batch, runs, position) for batch in self._batches]
        enough = [clean.tokens >= count for clean, count in zip(self._kept, wanted, strict=False)]
        if not (enough and all(enough)):
            # Of all columns, where that has room: then no position needs another.
            for counts in ([batch.width for batch in self._batches], wanted):
                pairs = list(zip(self._batches, counts, strict=True))
                if sum(self._bytes(batch, count) for batch, count in pairs) <= KEPT:
                    break
            else:
                return self._one_by_one(runs, position, more=more)
            self._kept = [self.started(batch, count, keep=True) for batch, count in pairs]
        have = {id(clean.batch): clean for clean in self._kept}

        def make(batch: Batch) -> CleanRun:
            # Another than those is a half of one that did not fit.
            tokens = columns_of(batch, runs, position)
            return have.get(id(batch)) or self.started(batch, tokens, keep=True)

        return Resumed([self._batches], make)

    def _one_by_one(self, runs: Sequence[Branch], position: Position, *, more: bool) -> Resumed:
        """Return clean runs that are not kept: of batches of which each has room."""

        def columns(batch: Batch) -> int:
            return columns_of(batch, runs, position)

        batches, whole = [], list(self._batches)
        while whole:
            batch = whole.pop(0)
            if len(batch.rows) > 1 and self._bytes(batch, columns(batch)) > KEPT:
                whole[:0] = batch.halves()
            else:
                batches.append(batch)
        return Resumed([[b] for b in batches], lambda b: self.started(b, columns(b), keep=more))

    def _bytes(self, batch: Batch, tokens: int) -> int:
        shape = self.model.shape
        return len(batch.rows) * shape.clean_floats(batch.width, tokens) * shape.size

    def started(self, batch: Batch, tokens: int, *, keep: bool) -> CleanRun:
        """Return a new clean run of a batch; see `CleanRun`."""
        more = self._more if keep else 0
        return CleanRun(self.model, batch, tokens, keep=keep, more=more)


class KVCache:
    """Keys and values of the runs' own columns, with room for the tokens to come."""

    def __init__(self, layers: int, more: int) -> None:
        """Hold how much room to make.

        Args:
            layers: Number of layers.
            more: Columns to come.
        """
        self._more = more
        self._kept: list[KeysValues | None] = [None] * layers
        self._filled = [0] * layers

    def append(self, layer: int, key: Tensor, value: Tensor) -> KeysValues:
        """Keep keys and values, ``[B, k, H_kv, columns, d_head]``; return all kept so far."""
        kept = self._kept[layer]
        start, stop = self._filled[layer], self._filled[layer] + key.shape[3]
        if kept is None:
            room = (*key.shape[:3], key.shape[3] + self._more)
            # They may differ in width.
            kept = key.new_empty(*room, key.shape[4]), value.new_empty(*room, value.shape[4])
            self._kept[layer] = kept
        kept[0][:, :, :, start:stop] = key
        kept[1][:, :, :, start:stop] = value
        self._filled[layer] = stop
        if not start:
            # Without the gaps that the room to come makes.
            return key, value
        return kept[0][:, :, :, :stop], kept[1][:, :, :, :stop]
