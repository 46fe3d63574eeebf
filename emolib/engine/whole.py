"""Runs through the whole model, one by one: what every model can do, with hooks of others or not.

The counterpart of `emolib.engine.layerwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emolib.engine import hooked, hooked_slopes
from emolib.engine.batch_sizes import columns_of, prompts_at_once, whole_batches
from emolib.engine.constants import Constant, Slopes
from emolib.engine.decoding import Continuations
from emolib.engine.forwards import Prefix, forward
from emolib.engine.gradients import Objective, Points, UnitSlopes
from emolib.engine.receiving import Received, by_head
from emolib.engine.slices import Measure, slices
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position, Side
from emolib.interventions import Activations, Intervention
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel


class Whole:
    """Runs through the whole model, one by one, under hooks."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Callable[[Side], Prompts],
        *,
        batch_size: int | None,
        max_new_tokens: int,
        share: bool,
    ) -> None:
        """Hold what to run.

        Args:
            model: The model.
            prompts: From a side to its prompts.
            batch_size: Prompts per forward.
            max_new_tokens: Tokens of a continuation.
            share: Whether runs that edit the last token alone share what comes before it: not
                while hooks of others may edit it.
        """
        self._model, self._prompts = model, prompts
        self._size, self._new, self._share = batch_size, max_new_tokens, share
        self._prefixes: dict[Side, Prefix] = {}

    def _prefix(
        self, side: Side, interventions: Sequence[Intervention] = (), position: Position = "last"
    ) -> Prefix | None:
        prompts = self._prompts(side)
        if not self._share or not hooked.may_share(prompts, interventions, position):
            return None
        if side not in self._prefixes:
            self._prefixes[side] = Prefix(self._model, prompts, self._at_once(side))
        return self._prefixes[side]

    def _at_once(self, side: Side) -> int:
        """Return how many prompts go into one forward, texts of theirs too."""
        return self._size or prompts_at_once(self._model, self._prompts(side), logits=self._new)

    def logits(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        position: Position,
        measure: Measure | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the logits of each run, or what is kept of them, in the order given."""
        for index, interventions in enumerate(runs):
            yield (
                index,
                hooked.last_logits(
                    self._model,
                    self._prompts(side),
                    interventions,
                    position=position,
                    batch_size=self._at_once(side),
                    prefix=self._prefix(side, interventions, position),
                    share=self._share,
                    measure=measure,
                ),
            )

    def clean_logits(self, side: Side, rows: Sequence[int]) -> Tensor:
        """Return the logits at the last token of some prompts, clean, ``[b, vocab]``."""
        prompts, most, made = self._prompts(side), self._at_once(side), []
        for some in slices(len(rows), most):
            batch = Batch(prompts, rows[some], self._model.pad, self._model.device)
            with torch.no_grad():
                made.append(forward(self._model, batch).logits[:, -1])
        return torch.cat(made)

    def texts(
        self, side: Side, runs: Sequence[Sequence[Intervention]], position: Position
    ) -> Iterator[tuple[int, Continuations]]:
        """Yield greedy continuations of each run, in the order given."""
        for index, interventions in enumerate(runs):
            yield (
                index,
                hooked.generate(
                    self._model,
                    self._prompts(side),
                    interventions,
                    max_new_tokens=self._new,
                    position=position,
                    batch_size=self._at_once(side),
                    prefix=self._prefix(side, interventions, position),
                ),
            )

    def log_probs(self, side: Side, texts: Sequence[tuple[int, tuple[int, ...]]]) -> list[float]:
        """Return the mean log-probability, nats per token, of continuations of some prompts."""
        prompts, size = self._prompts(side), self._at_once(side)
        # What layers without attention keep of a prompt some go on from by one token alone.
        hybrid = len(self._model.head_layers) < self._model.n_layers
        prefix = None if hybrid else self._prefix(side)
        if [row for row, _ in texts] == list(range(len(prompts))):
            ids = [ids for _, ids in texts]
            return hooked.log_probs(self._model, prompts, ids, batch_size=size, prefix=prefix)
        rows, ids = [row for row, _ in texts], [ids for _, ids in texts]
        some = Prompts(
            tuple(prompts.texts[row] for row in rows), tuple(prompts.ids[row] for row in rows)
        )
        return hooked.log_probs(self._model, some, ids, batch_size=size)

    def activations(self, side: Side) -> Activations:
        """Return z of every head on one side's prompts."""
        return hooked.activations(self._model, self._prompts(side), batch_size=self._size)

    def received(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        heads: Sequence[Sequence[Head]],
    ) -> list[dict[Head, Received]]:
        """Return per run what some heads would read of it, by all of their inputs."""
        model, prompts, found = self._model, self._prompts(side), []
        for interventions, some in zip(runs, heads, strict=True):
            z = hooked.received(model, prompts, interventions, some, batch_size=self._size)
            found.append(by_head(model, prompts, {(head, "all"): z[head] for head in some}))
        return found

    def inputs_at_last(self, side: Side, paths: Sequence[str]) -> dict[str, Tensor]:
        """Return what goes into modules at the last token, ``[n, d]`` each."""
        return hooked.inputs_at_last(self._model, self._prompts(side), paths, batch_size=self._size)

    def streams_at_last(self, side: Side) -> Tensor:
        """Return the stream after each layer at the last token, ``[n_layers, n, d_model]``."""
        return hooked.streams_at_last(self._model, self._prompts(side), batch_size=self._size)

    def attention(self, side: Side, position: Position, see: hooked.See) -> None:
        """Show where heads look from some positions; see `emolib.engine.hooked.attention`."""
        hooked.attention(self._model, self._prompts(side), position, see, batch_size=self._size)

    @property
    def why_no_relevance(self) -> str:
        """Why relevance cannot be had here."""
        return "no relevance: its runs go through the whole model, whose way back is its own"

    def unit_gradients(
        self, side: Side, position: Position, objective: Objective
    ) -> Iterator[tuple[Batch, list[UnitSlopes]]]:
        """Yield batches with all units' activations and the gradient of a metric at them."""
        model = self._model
        for batch in whole_batches(model, self._prompts(side), self._size, kept=True):
            found = hooked_slopes.unit_gradients(model, batch, objective)
            count = columns_of(batch, (), position)
            yield batch, [UnitSlopes(u[:, -count:], slope[:, -count:]) for u, slope, _ in found]

    def gradients(
        self, side: Side, position: Position, objective: Objective, points: Points
    ) -> Iterator[tuple[Batch, list[list[Tensor]]]]:
        """Yield batches of prompts with the gradient of a metric at z of every head."""
        model = self._model
        for batch in whole_batches(model, self._prompts(side), self._size, kept=True):
            values = points(batch, batch.width)
            yield batch, hooked_slopes.gradients(model, batch, position, objective, values)

    def constant_slopes(
        self, side: Side, position: Position, objective: Objective, runs: Sequence[Constant]
    ) -> Iterator[tuple[Batch, list[Slopes]]]:
        """Yield batches with a metric at constants in place of z, and its gradient, per run."""
        model = self._model
        for batch in whole_batches(model, self._prompts(side), self._size, kept=True):
            yield (
                batch,
                [
                    hooked_slopes.constant_slopes(model, batch, position, objective, run)
                    for run in runs
                ],
            )
