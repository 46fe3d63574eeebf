"""Runs through the layers taken apart, resumed from the clean run: many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from emolib.engine import heap, hooked
from emolib.engine.batch_sizes import KEPT, attended_at_once, columns_of
from emolib.engine.clean_runs import CleanRuns
from emolib.engine.constants import Constant, Slopes, constant_slopes
from emolib.engine.decoding import Continuations, generate, log_probs
from emolib.engine.gradients import (
    Objective,
    Points,
    UnitSlopes,
    gradients,
    unit_gradients,
)
from emolib.engine.hooked import See, split_heads
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.receiving import Received, received
from emolib.engine.relevance import RelevanceModel, deviation
from emolib.engine.slices import Measure, rows_at_once, slices
from emolib.engine.support import TOLERANCE
from emolib.engine.sweeps import ordered, sweep
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position, Side
from emolib.interventions import Activations, CleanZ, Intervention
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel


@dataclass(frozen=True)
class _ReadZ:
    """What was read of z on one side's prompts.

    Attributes:
        columns: Of how many of the last tokens.
        layers: Of which layers.
        batches: Per batch its prompts, and by layer z, ``[B, S, H * d_head]``.
    """

    columns: int
    layers: range
    batches: list[tuple[list[int], dict[int, Tensor]]]


class Layerwise:
    """Runs through a model's layers one by one, with the clean runs that they share."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Callable[[Side], Prompts],
        *,
        batch_size: int | None,
        max_new_tokens: int,
        apart: bool = True,
    ) -> None:
        """Take the model apart.

        Args:
            model: The model; see `emolib.engine.support`.
            prompts: From a side to its prompts.
            batch_size: Prompts per batch; None for as many as fit.
            max_new_tokens: Tokens of a continuation.
            apart: Whether its layers are taken apart too, or are transformers' modules.
        """
        self._model = LayerwiseModel(model, apart=apart)
        self._prompts, self._size, self._new = prompts, batch_size, max_new_tokens
        self._clean_runs: dict[Side, CleanRuns] = {}
        self._final: dict[Side, Tensor] = {}
        self._z: dict[Side, _ReadZ] = {}

    def clean_runs(self, side: Side) -> CleanRuns:
        """Return the clean runs of one side's prompts."""
        if side not in self._clean_runs:
            self._clean_runs[side] = CleanRuns(
                self._model, self._prompts(side), self._size, self._new - 1
            )
        return self._clean_runs[side]

    def logits(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        position: Position,
        measure: Measure | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the logits of each run, or what is kept of them; see `emolib.engine.sweeps`."""
        return sweep(self.clean_runs(side), runs, position=position, measure=measure)

    @torch.no_grad()
    def clean_logits(self, side: Side, rows: Sequence[int]) -> Tensor:
        """Return the logits at the last token of some prompts, clean, ``[b, vocab]``."""
        if side not in self._final:
            cleans = self.clean_runs(side).of((), "last", more=False)
            self._final[side] = ordered([(clean.batch.rows, clean.final()) for clean in cleans])
        final, vocab = self._final[side][list(rows)], self._model.shape.vocab
        logits = final.new_empty(len(final), vocab)
        for some in slices(len(final), rows_at_once(vocab, final.element_size())):
            logits[some] = self._model.logits(final[some])
        return logits

    def texts(
        self, side: Side, runs: Sequence[Sequence[Intervention]], position: Position
    ) -> Iterator[tuple[int, Continuations]]:
        """Yield greedy continuations of each run; see `emolib.engine.decoding`."""
        clean_runs = self.clean_runs(side)
        return generate(clean_runs, runs, max_new_tokens=self._new, position=position)

    def log_probs(self, side: Side, texts: Sequence[tuple[int, tuple[int, ...]]]) -> list[float]:
        """Return the mean log-probability, nats per token, of continuations of some prompts.

        Args:
            side: Whose prompts.
            texts: Per continuation the number of its prompt, and its tokens.
        """
        found = [0.0] * len(texts)
        for clean in self.clean_runs(side).of((), "last", more=True):
            row_of = {prompt: row for row, prompt in enumerate(clean.batch.rows)}
            here = [i for i, (prompt, _) in enumerate(texts) if prompt in row_of]
            if here:
                rows = [row_of[texts[i][0]] for i in here]
                values = log_probs(self._model, clean, rows, [texts[i][1] for i in here])
                for i, value in zip(here, values, strict=True):
                    found[i] = value
        return found

    def received(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        heads: Sequence[Sequence[Head]],
    ) -> list[dict[Head, Received]]:
        """Return per run what some heads would read of it; see `emolib.engine.receiving`."""
        return received(self.clean_runs(side), self._prompts(side), runs, heads)

    def activations(self, side: Side) -> Activations:
        """Return z of every head on one side's prompts, of as many columns as are asked for."""
        model, prompts = self._model.model, self._prompts(side)
        whole = Batch(prompts, range(len(prompts)), model.pad, model.device)

        def read(layer: int, columns: int) -> Tensor:
            z = self._z_of(side, layer, columns)
            joined = z[0][1].new_zeros(len(prompts), columns, z[0][1].shape[-1])
            for rows, part in z:
                width = min(columns, part.shape[1])
                joined[rows, -width:] = part[:, -width:]
            return split_heads(joined, model.n_heads)

        return Activations(prompts, whole, CleanZ(model.n_layers, prompts.width, read))

    @torch.no_grad()
    def _z_of(self, side: Side, layer: int, columns: int) -> list[tuple[list[int], Tensor]]:
        """Return per batch its prompts and z of a layer, of the last columns or more."""
        read = self._z.get(side)
        if read is None or read.columns < columns or layer not in read.layers:
            self._z.pop(side, None)
            position: Position = "last" if columns == 1 else "all"
            wanted = columns if columns == 1 else self._prompts(side).width
            layers = self._layers_beside(layer, len(self._prompts(side)) * wanted)
            found = []
            # It may be a run under hooks of others, or one of our own, that asks first.
            what = f"z of the {side} prompts, which is read when an edit first needs it,"
            with self._model.model.as_loaded.lifted(what, tell=False):
                for clean in self.clean_runs(side).of((), position, more=False):
                    width = min(wanted, clean.batch.width)
                    some = {index: clean.state(index, width).z for index in layers}
                    found.append((list(clean.batch.rows), some))
            read = self._z[side] = _ReadZ(wanted, layers, found)
            heap.give_back(self._model.shape.weights)
        return [(rows, some[layer]) for rows, some in read.batches]

    def _layers_beside(self, layer: int, tokens: int) -> range:
        """Return the layers whose z is read with that of one: as many as have room on each side."""
        shape = self._model.shape
        of_layer = tokens * shape.z_floats // shape.n_layers * shape.size
        count = max(1, KEPT // 2 // of_layer)
        first = layer // count * count
        return range(first, min(first + count, shape.n_layers))

    @torch.no_grad()
    def inputs_at_last(self, side: Side, paths: Sequence[str]) -> dict[str, Tensor]:
        """Return what goes into norms at the last token, ``[n, d_model]`` each.

        They are the final norm, and those on what heads or MLPs write.
        """
        arch, count = self._model.model.arch, len(self._model.layers)
        places = {arch.post_attn_norm_path(layer): (layer, "attn") for layer in range(count)}
        places |= {arch.post_mlp_norm_path(layer): (layer, "mlp") for layer in range(count)}
        found: dict[str, list[tuple[Sequence[int], Tensor]]] = {path: [] for path in paths}
        for clean in self.clean_runs(side).of((), "last", more=False):
            for path in paths:
                if path == arch.final_norm:
                    part = clean.final()
                else:
                    layer, what = places[path]
                    part = clean.written(layer)[what]
                found[path].append((clean.batch.rows, part))
        return {path: ordered(parts) for path, parts in found.items()}

    @torch.no_grad()
    def streams_at_last(self, side: Side) -> Tensor:
        """Return the stream after each layer at the last token, ``[n_layers, n, d_model]``."""
        found: list[list[tuple[Sequence[int], Tensor]]] = [[] for _ in self._model.layers]
        for clean in self.clean_runs(side).of((), "last", more=False):
            rows = clean.batch.rows
            for layer in range(1, len(found)):
                found[layer - 1].append((rows, clean.state(layer, 1).resid[:, -1]))
            found[-1].append((rows, clean.final()))
        return torch.stack([ordered(parts) for parts in found])

    @torch.no_grad()
    def attention(self, side: Side, position: Position, see: See) -> None:
        """Show where heads look from some positions; see `emolib.engine.hooked.attention`."""
        model = self._model
        if not model.apart:
            hooked.attention(model.model, self._prompts(side), position, see, batch_size=self._size)
            return
        for clean in self.clean_runs(side).of((), position, more=False):
            batch, tokens = clean.batch, columns_of(clean.batch, (), position)
            for index, layer in enumerate(model.layers):
                state = clean.state(index, tokens)
                keys = state.kept[0] if state.kept[0].shape[2] else None
                for part in attended_at_once(model.shape, batch, tokens):
                    first = part.start - (batch.width - tokens)
                    here = slice(first, first + part.stop - part.start)
                    of = None if keys is None else keys[:, :, : part.stop]
                    resid = state.resid if of is None else state.resid[:, here]
                    see(batch, index, part, layer.pattern(resid, clean.inputs[index], part, of))

    @cached_property
    def why_no_relevance(self) -> str | None:
        """Why relevance cannot be had; checked once, by what its layers say of two prompts."""
        model = self._model.model
        if not self._model.apart:
            return "no relevance: its layers are transformers' own, whose way back is their own"
        prompts = self._prompts("emotion")
        batch = Batch(prompts, range(min(2, len(prompts))), model.pad, model.device)
        off = deviation(self._relevance, self._model, batch)
        limit = TOLERANCE[str(model.hf.dtype).removeprefix("torch.")]
        if off <= limit:
            return None
        return f"no relevance: its norms held as they are say {off:.1g} (relative) else"

    @cached_property
    def _relevance(self) -> RelevanceModel:
        return RelevanceModel(self._model.model)

    def unit_gradients(
        self, side: Side, position: Position, objective: Objective
    ) -> Iterator[tuple[Batch, list[UnitSlopes]]]:
        """Yield batches with all units' activations and the gradient of a metric at them."""
        relevance = self._relevance if self.why_no_relevance is None else None
        for clean in self.clean_runs(side).of((), position, more=False):
            yield from unit_gradients(self._model, clean, position, objective, relevance)

    def gradients(
        self, side: Side, position: Position, objective: Objective, points: Points
    ) -> Iterator[tuple[Batch, list[list[Tensor]]]]:
        """Yield batches of prompts with the gradient of a metric at z of every head.

        Args:
            side: Whose prompts run.
            position: Where z stands at what `points` says.
            objective: The metric.
            points: From a batch and the number of its last columns that are differentiated to
                the values of z there, pass by pass.
        """
        for clean in self.clean_runs(side).of((), position, more=False):
            values = points(clean.batch, columns_of(clean.batch, (), position))
            yield clean.batch, gradients(self._model, clean, position, objective, values)

    def constant_slopes(
        self, side: Side, position: Position, objective: Objective, runs: Sequence[Constant]
    ) -> Iterator[tuple[Batch, list[Slopes]]]:
        """Yield batches with a metric at constants in place of z, and its gradient, per run."""
        for clean in self.clean_runs(side).of((), position, more=False):
            yield clean.batch, constant_slopes(self._model, clean, position, objective, runs)
