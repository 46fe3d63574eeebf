"""Runs through the layers taken apart, resumed from the clean run: many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emolib.engine.batch_sizes import columns_of
from emolib.engine.clean_runs import CleanRuns
from emolib.engine.decoding import Continuations, generate, log_probs
from emolib.engine.gradients import Objective, Points, gradients
from emolib.engine.hooked import split_heads
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.sweeps import sweep
from emolib.inputs.prompts import Position, Side
from emolib.interventions import Activations, Intervention
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel


class Layerwise:
    """Runs through a model's layers one by one, with the clean runs that they share."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Callable[[Side], Prompts],
        *,
        batch_size: int | None,
        max_new_tokens: int,
    ) -> None:
        """Take the model apart.

        Args:
            model: The model; see `emolib.engine.support.why_not`.
            prompts: From a side to its prompts.
            batch_size: Prompts per batch; None for as many as fit.
            max_new_tokens: Tokens of a continuation.
        """
        self._model = LayerwiseModel(model)
        self._prompts, self._size, self._new = prompts, batch_size, max_new_tokens
        self._clean_runs: dict[Side, CleanRuns] = {}

    def clean_runs(self, side: Side) -> CleanRuns:
        """Return the clean runs of one side's prompts."""
        if side not in self._clean_runs:
            self._clean_runs[side] = CleanRuns(
                self._model, self._prompts(side), self._size, self._new - 1
            )
        return self._clean_runs[side]

    def logits(
        self, side: Side, runs: Sequence[Sequence[Intervention]], position: Position
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the logits at the last prompt token of each run; see `emolib.engine.sweeps`."""
        return sweep(self.clean_runs(side), runs, position=position)

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
        for clean in self.clean_runs(side).of((), "all", more=True):
            row_of = {prompt: row for row, prompt in enumerate(clean.batch.rows)}
            here = [i for i, (prompt, _) in enumerate(texts) if prompt in row_of]
            if here:
                rows = [row_of[texts[i][0]] for i in here]
                values = log_probs(self._model, clean, rows, [texts[i][1] for i in here])
                for i, value in zip(here, values, strict=True):
                    found[i] = value
        return found

    @torch.no_grad()
    def activations(self, side: Side) -> Activations:
        """Return z of every head on one side's prompts."""
        model, prompts = self._model.model, self._prompts(side)
        whole = Batch(prompts, range(len(prompts)), model.pad, model.device)
        cleans = self.clean_runs(side).of((), "all", more=False)
        layers = []
        for layer in range(model.n_layers):
            parts = [clean.state(layer, clean.batch.width).z for clean in cleans]
            z = parts[0].new_zeros(len(prompts), prompts.width, parts[0].shape[-1])
            for clean, part in zip(cleans, parts, strict=True):
                z[list(clean.batch.rows), -part.shape[1] :] = part
            layers.append(split_heads(z, model.n_heads))
        return Activations(prompts, whole, tuple(layers))

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
