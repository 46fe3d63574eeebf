"""Runs that are asked for one by one and computed together.

An experiment asks for one run at a time. Which other runs of its kind are to come is known from
the items that are to run; the first that is asked for is computed in a batch with as many of them
as fit, and what each says is kept, a number per prompt and metric, until it is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor

from emolib.blocks import Blocks, disagreement, why_not
from emolib.decoding import Continuations, generate, log_probs
from emolib.encoding import Batch, Prompts
from emolib.heads import HeadSet
from emolib.interventions import Intervention
from emolib.models import LanguageModel
from emolib.profiles import Position
from emolib.prompts import Side
from emolib.resuming import Clean, Cleans
from emolib.sweeps import sweep
from emolib.units import UnitSet

TOLERANCE = {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far, relative to the largest logit, the layers taken apart may be from the model's own."""

Found = TypeVar("Found")
Kept = TypeVar("Kept")
Beside = Callable[[HeadSet | UnitSet], Sequence[HeadSet | UnitSet]]


@dataclass(frozen=True)
class Request:
    """One run: what it does, to whose prompts, and where.

    Attributes:
        interventions: Applied together; none for the clean run.
        side: Whose prompts run.
        position: Where in the prompt z is edited.
    """

    interventions: tuple[Intervention, ...]
    side: Side
    position: Position

    @property
    def key(self) -> tuple[Any, ...] | None:
        """What tells the run from others; None where that cannot be told."""
        if any(one.recipe is None for one in self.interventions):
            return None
        what = tuple((one.recipe, one.targets) for one in self.interventions)
        return self.side, self.position, what

    def beside(self, beside: Beside) -> list[Request]:
        """Return the runs of the same kind that are to come."""
        if len(self.interventions) != 1 or (recipe := self.interventions[0].recipe) is None:
            return []
        others = beside(self.interventions[0].targets)
        return [Request((recipe.of(other),), self.side, self.position) for other in others]


@dataclass
class _Shelf(Generic[Kept]):
    """What was computed of one kind, and what is on the way."""

    found: dict[Any, Kept] = field(default_factory=dict)
    coming: list[tuple[set[Any], Iterator[tuple[Any, Kept]]]] = field(default_factory=list)

    def get(self, key: Any) -> Kept:
        """Return what was computed of a key, pulling it from what is on the way.

        Raises:
            KeyError: When it is neither.
        """
        for pending, results in self.coming:
            while key in pending:
                done, result = next(results)
                pending.remove(done)
                self.found[done] = result
        self.coming = [entry for entry in self.coming if entry[0]]
        return self.found[key]

    def drop(self, key: Any) -> bool:
        """Forget the batch that a key is in; return whether there were others in it."""
        others = any(key in pending and len(pending) > 1 for pending, _ in self.coming)
        self.coming = [entry for entry in self.coming if key not in entry[0]]
        return others

    def holds(self, key: Any) -> bool:
        """Tell whether a key was computed or is on the way."""
        return key in self.found or any(key in pending for pending, _ in self.coming)


class Batches(Generic[Found]):
    """The runs on one model's prompts, computed together where they can be."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Callable[[Side], Prompts],
        reduce: Callable[[Request, Tensor], Found],
        *,
        batch_size: int | None,
        max_new_tokens: int,
    ) -> None:
        """Hold what runs.

        Args:
            model: The model.
            prompts: From a side to its prompts.
            reduce: From a run and its logits ``[draws, n, vocab]`` to what is kept of it.
            batch_size: Prompts per batch; None for as many as fit.
            max_new_tokens: Tokens of a continuation.
        """
        self._model, self._prompts, self._reduce = model, prompts, reduce
        self._size, self._new = batch_size, max_new_tokens
        self._cleans: dict[Side, Cleans] = {}
        self._scores: _Shelf[Found] = _Shelf()
        self._texts: _Shelf[Continuations] = _Shelf()
        self._fluency: dict[Side, dict[tuple[int, tuple[int, ...]], float]] = {}
        self._agrees: bool | None = None
        self.beside: Beside = lambda targets: [targets]

    def usable(self) -> bool:
        """Tell whether runs can be batched: else each runs through the whole model by itself."""
        if why_not(self._model) is not None:
            return False
        if self._agrees is None:
            self._agrees = self._check()
        return self._agrees

    def _check(self) -> bool:
        prompts, model = self._prompts("emotion"), self._model
        batch = Batch(prompts, range(min(2, len(prompts))), model.pad, model.device)
        apart = disagreement(model, batch.input_ids, batch.attention_mask, batch.position_ids)
        limit = TOLERANCE[str(model.hf.dtype).removeprefix("torch.")]
        if apart <= limit:
            return True
        warnings.warn(
            f"{model.name}: emolib's own pass through the layers is {apart:.1g} (relative) from "
            f"transformers', more than {limit:g}; every run goes through the whole model, which "
            "is slower. Please report the model's config.json",
            stacklevel=2,
        )
        return False

    def scores(self, request: Request) -> Found:
        """Return what is kept of a run's logits."""

        def results(requests: Sequence[Request]) -> Iterator[tuple[Any, Found]]:
            for index, logits in self._sweep(requests):
                yield requests[index].key, self._reduce(requests[index], logits)

        return self._get(self._scores, request, results)

    def logits(self, request: Request) -> Tensor:
        """Return a run's logits at the last token, ``[draws, n_prompts, vocab]``."""
        return next(logits for _, logits in self._sweep([request]))

    def continuations(self, request: Request) -> Continuations:
        """Return a run's greedy continuations."""

        def results(requests: Sequence[Request]) -> Iterator[tuple[Any, Continuations]]:
            first = requests[0]
            for index, found in generate(
                self._model,
                self._prompts(first.side),
                [other.interventions for other in requests],
                max_new_tokens=self._new,
                position=first.position,
                batch_size=self._size,
                cleans=self._of(first.side),
            ):
                yield requests[index].key, found

        return self._get(self._texts, request, results)

    def fluency(self, side: Side, ids: Sequence[tuple[int, ...]]) -> list[float]:
        """Return the mean log-probability, nats per token, of a continuation of each prompt.

        Most runs change few texts, so each is computed once.
        """
        known = self._fluency.setdefault(side, {})
        pairs = list(enumerate(ids))
        if any(pair not in known for pair in pairs):
            blocks = Blocks(self._model)
            for clean in self._of(side).of((), "all", more=True):
                rows = clean.batch.rows
                new = [(i, (row, ids[row])) for i, row in enumerate(rows)]
                new = [(i, pair) for i, pair in new if pair not in known]
                if new:
                    places, found = [i for i, _ in new], [pair for _, pair in new]
                    values = log_probs(blocks, clean, places, [pair[1] for pair in found])
                    known |= dict(zip(found, values, strict=True))
        return [known[pair] for pair in pairs]

    def _get(
        self,
        shelf: _Shelf[Kept],
        request: Request,
        results: Callable[[Sequence[Request]], Iterator[tuple[Any, Kept]]],
    ) -> Kept:
        key = request.key
        if key is None:
            return next(results([request]))[1]
        if not shelf.holds(key):
            beside = (other for other in request.beside(self.beside) if other.key != key)
            others = [other for other in beside if not shelf.holds(other.key)]
            requests = {other.key: other for other in [request, *others]}
            shelf.coming.append((set(requests), results(list(requests.values()))))
        try:
            return shelf.get(key)
        except Exception:
            # Of those in the batch any may be at fault: alone it is the one that is asked for.
            if not shelf.drop(key):
                raise
            return next(results([request]))[1]

    def _sweep(self, requests: Sequence[Request]) -> Iterator[tuple[int, Tensor]]:
        first = requests[0]
        return sweep(
            self._model,
            self._prompts(first.side),
            [request.interventions for request in requests],
            position=first.position,
            batch_size=self._size,
            cleans=self._of(first.side),
        )

    def clean(self, side: Side, position: Position) -> tuple[Blocks, list[Clean]]:
        """Return the model and the clean runs of one side, for edits at a position."""
        return Blocks(self._model), self._of(side).of((), position, more=False)

    def _of(self, side: Side) -> Cleans:
        if side not in self._cleans:
            self._cleans[side] = Cleans(
                Blocks(self._model), self._prompts(side), self._size, self._new - 1
            )
        return self._cleans[side]
