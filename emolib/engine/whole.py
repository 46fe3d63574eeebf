"""Runs through the whole model, one by one: what every model can do, with hooks of others or not.

The counterpart of `emolib.engine.layerwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from emolib.engine import hooked
from emolib.engine.batch_sizes import BATCH
from emolib.engine.decoding import Continuations
from emolib.engine.forwards import Prefix
from emolib.engine.gradients import Objective, Points
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
            self._prefixes[side] = Prefix(self._model, prompts, self._size)
        return self._prefixes[side]

    def logits(
        self, side: Side, runs: Sequence[Sequence[Intervention]], position: Position
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the logits at the last prompt token of each run, in the order given."""
        for index, interventions in enumerate(runs):
            yield (
                index,
                hooked.last_logits(
                    self._model,
                    self._prompts(side),
                    interventions,
                    position=position,
                    batch_size=self._size,
                    prefix=self._prefix(side, interventions, position),
                    share=self._share,
                ),
            )

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
                    batch_size=self._size,
                    prefix=self._prefix(side, interventions, position),
                ),
            )

    def log_probs(self, side: Side, texts: Sequence[tuple[int, tuple[int, ...]]]) -> list[float]:
        """Return the mean log-probability, nats per token, of continuations of some prompts."""
        prompts, size, prefix = self._prompts(side), self._size, self._prefix(side)
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

    def gradients(
        self, side: Side, position: Position, objective: Objective, points: Points
    ) -> Iterator[tuple[Batch, list[list[Tensor]]]]:
        """Yield batches of prompts with the gradient of a metric at z of every head."""
        model = self._model
        for batch in self._prompts(side).batches(self._size or BATCH, model.pad, model.device):
            values = points(batch, batch.width)
            yield batch, hooked.gradients(model, batch, position, objective, values)
