"""What a way through a model can do, and what is kept of logits: what the `Runner` relies on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emolib.engine.constants import Constant, Slopes
from emolib.engine.decoding import Continuations
from emolib.engine.gradients import Objective, Points, UnitSlopes
from emolib.engine.hooked import See
from emolib.engine.receiving import Received
from emolib.engine.slices import Measure
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position, Side
from emolib.interventions import Activations, Intervention
from emolib.models.encoding import Batch


class Reduced(Protocol):
    """What is kept of a run's logits.

    Attributes:
        dtype: The type that it was computed in.
    """

    @property
    def dtype(self) -> str: ...  # noqa: D102

    @property
    def effect(self) -> NDArray[np.float64]:
        """The values per prompt by which runs are told to be strong."""

    def moved(self, old: Self, new: Self) -> Self:
        """Return these moved by as much as `new` is from `old`, in the type of `new`."""


Kept = TypeVar("Kept", bound=Reduced, covariant=True)


class Measuring(Protocol[Kept]):
    """What is made of logits as they come, a few rows at a time, and of that in the end."""

    def rows(self, logits: Tensor, clean: Tensor | None) -> Tensor:
        """Return what is kept, ``[b, k, M]``, of logits ``[b, k, vocab]``.

        Args:
            logits: Of k runs on b prompts.
            clean: Of the clean run, ``[b, vocab]``; None where that is not known.
        """

    def scores(self, rows: Tensor, dtype: str, *, beside_clean: bool) -> Kept:
        """Return the scores of a run of what was kept of it, ``[draws, n_prompts, M]``."""


class Path(Protocol):
    """A way through a model. `emolib.engine.layerwise` and `emolib.engine.whole` are the two."""

    def logits(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        position: Position,
        measure: Measure | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (number of the run, logits ``[draws, n_prompts, vocab]``), in any order.

        With a `measure` what it keeps of them comes in their place, ``[draws, n_prompts, M]``.
        """

    def clean_logits(self, side: Side, rows: Sequence[int]) -> Tensor:
        """Return the logits at the last token of some prompts, clean, ``[b, vocab]``."""

    def texts(
        self, side: Side, runs: Sequence[Sequence[Intervention]], position: Position
    ) -> Iterator[tuple[int, Continuations]]:
        """Yield (number of the run, its greedy continuations), in any order."""

    def log_probs(self, side: Side, texts: Sequence[tuple[int, tuple[int, ...]]]) -> list[float]:
        """Return mean log-probabilities of continuations, (number of the prompt, tokens) each."""

    def activations(self, side: Side) -> Activations:
        """Return z of every head."""

    def received(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        heads: Sequence[Sequence[Head]],
    ) -> list[dict[Head, Received]]:
        """Return per run what some heads would read of it."""

    def inputs_at_last(self, side: Side, paths: Sequence[str]) -> dict[str, Tensor]:
        """Return what goes into norms at the last token, ``[n, d_model]`` each."""

    def streams_at_last(self, side: Side) -> Tensor:
        """Return the stream after each layer at the last token, ``[n_layers, n, d_model]``."""

    def attention(self, side: Side, position: Position, see: See) -> None:
        """Show where heads look from some positions."""

    @property
    def why_no_relevance(self) -> str | None:
        """Why `unit_gradients` gives no relevance, None where it does."""

    def unit_gradients(
        self, side: Side, position: Position, objective: Objective
    ) -> Iterator[tuple[Batch, list[UnitSlopes]]]:
        """Yield batches with the units and the gradient at them, of the last S columns."""

    def constant_slopes(
        self, side: Side, position: Position, objective: Objective, runs: Sequence[Constant]
    ) -> Iterator[tuple[Batch, list[Slopes]]]:
        """Yield batches with a metric at constants in place of z, and its gradient, per run."""

    def gradients(
        self, side: Side, position: Position, objective: Objective, points: Points
    ) -> Iterator[tuple[Batch, list[list[Tensor]]]]:
        """Yield batches with the gradient at z: per pass, per layer, of the last S columns."""
