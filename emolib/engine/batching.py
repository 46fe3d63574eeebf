"""Runs that are asked for one by one and computed together.

An experiment asks for one run at a time. Which other runs of its kind are to come is known from
the items that are to run; the first that is asked for is computed in a batch with as many of them
as fit, and what each says is kept, a number per prompt and metric, until it is asked for.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

from emolib.engine.clean_runs import Clean, Cleans
from emolib.engine.decoding import Continuations, generate, log_probs
from emolib.engine.layers import Blocks
from emolib.engine.support import disagreement, why_not
from emolib.engine.sweeps import sweep
from emolib.inputs.heads import HeadSet
from emolib.inputs.prompts import Position, Side
from emolib.inputs.units import UnitSet
from emolib.interventions import Intervention
from emolib.methods.scores import Scores
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel

STRONGEST, SAMPLE = 10, 5
"""Runs of a sweep in half precision that are computed again in full: the strongest, and others."""

TOLERANCE = {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far, relative to the largest logit, the layers taken apart may be from the model's own."""

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


class Batches:
    """The runs on one model's prompts, computed together where they can be."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Callable[[Side], Prompts],
        reduce: Callable[[Tensor, Tensor], Scores],
        *,
        batch_size: int | None,
        max_new_tokens: int,
        half: LanguageModel | None = None,
        seed: int = 0,
    ) -> None:
        """Hold what runs.

        Args:
            model: The model.
            prompts: From a side to its prompts.
            reduce: From a run's logits ``[draws, n, vocab]`` and the clean run's to its scores.
            batch_size: Prompts per batch; None for as many as fit.
            max_new_tokens: Tokens of a continuation.
            half: The same model in half precision, for sweeps of many runs.
            seed: Draws the runs that half precision is checked on.
        """
        self._half, self._seed = half, seed
        self.errors: list[float] = []
        self.read: set[str] = set()
        self._logits: dict[tuple[Side, bool], Tensor] = {}
        self._model, self._prompts, self._reduce = model, prompts, reduce
        self._size, self._new = batch_size, max_new_tokens
        self._cleans: dict[tuple[Side, bool], Cleans] = {}
        self._scores: _Shelf[Scores] = _Shelf()
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

    def scores(self, request: Request) -> Scores:
        """Return what is kept of a run's logits."""
        found = self._get(self._scores, request, self._halved if self._half else self._scored)
        self.read.add(found.dtype)
        return found

    def _scored(
        self, requests: Sequence[Request], *, half: bool = False
    ) -> Iterator[tuple[Any, Scores]]:
        clean = self._clean(requests[0].side, half=half)
        for index, logits in self._sweep(requests, half=half):
            yield requests[index].key, self._reduce(logits, clean)

    def _halved(self, requests: Sequence[Request]) -> Iterator[tuple[Any, Scores]]:
        """Yield scores in half precision, the strongest again in full.

        The clean run is in full precision, and what half precision says is how far a run is from
        the clean one. Runs drawn at random are computed in both, which is what `errors` holds.
        """
        if len(requests) <= STRONGEST + SAMPLE or requests[0].key is None:
            yield from self._scored(requests)
            return
        side = requests[0].side
        full, half = (self._clean(side, half=is_half) for is_half in (False, True))
        base, low = self._reduce(full, full), self._reduce(half, half)
        found = dict(self._scored(requests, half=True))
        steps = {key: scores.logit_diff - low.logit_diff for key, scores in found.items()}
        order = sorted(steps, key=lambda key: -abs(float(np.mean(steps[key]))))
        drawn = random.Random(self._seed).sample(order[STRONGEST:], SAMPLE)
        again = {*order[:STRONGEST], *drawn}
        exact = dict(self._scored([one for one in requests if one.key in again]))
        for key in drawn:
            apart = np.abs(exact[key].logit_diff - base.logit_diff - steps[key])
            self.errors.append(float(apart.max()))
        for key, scores in found.items():
            yield key, exact[key] if key in exact else base.moved(low, scores)

    @property
    def precision(self) -> str:
        """The types of the scores that were read since it was last asked for, with the error."""
        read, self.read = sorted(self.read), set()
        error = f" ±{max(self.errors):.2g}" if self.errors else ""
        return ", ".join(name if name.startswith("float") else name + error for name in read)

    def logits(self, request: Request) -> Tensor:
        """Return a run's logits at the last token, ``[draws, n_prompts, vocab]``."""
        if not request.interventions:
            return self._clean(request.side, half=False)
        return next(logits for _, logits in self._sweep([request], half=False))

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

    def _sweep(self, requests: Sequence[Request], *, half: bool) -> Iterator[tuple[int, Tensor]]:
        first = requests[0]
        return sweep(
            self._of_type(half),
            self._prompts(first.side),
            [request.interventions for request in requests],
            position=first.position,
            batch_size=self._size,
            cleans=self._of(first.side, half=half),
        )

    def _of_type(self, half: bool) -> LanguageModel:
        return self._half if half and self._half is not None else self._model

    def _clean(self, side: Side, *, half: bool) -> Tensor:
        """Return the clean run's logits, ``[1, n_prompts, vocab]``."""
        if (side, half) not in self._logits:
            clean = Request((), side, "last")
            (found,) = (logits for _, logits in self._sweep([clean], half=half))
            self._logits[side, half] = found
        return self._logits[side, half]

    def clean(self, side: Side, position: Position) -> tuple[Blocks, list[Clean]]:
        """Return the model and the clean runs of one side, for edits at a position."""
        return Blocks(self._model), self._of(side).of((), position, more=False)

    def _of(self, side: Side, *, half: bool = False) -> Cleans:
        if (side, half) not in self._cleans:
            blocks = Blocks(self._of_type(half))
            prompts = self._prompts(side)
            self._cleans[side, half] = Cleans(blocks, prompts, self._size, self._new - 1)
        return self._cleans[side, half]
