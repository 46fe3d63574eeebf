"""The one way to run a model: what every number of a study comes from.

Which path a run takes is decided here and nowhere else. Where a model's layers can be taken apart
(`emolib.engine.support`), runs are resumed from the clean run and computed together
(`emolib.engine.layerwise`); otherwise each goes through the whole model under hooks
(`emolib.engine.whole`). While a model carries hooks, forwards or weights of others, a run goes
through the whole model as it then is, and nothing that it says is kept, or taken from what was
kept: it belongs to the moment in which it was asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

from emolib.engine import heap, hooked
from emolib.engine.batch_sizes import CLEAN_LOGITS
from emolib.engine.batching import Companions, Request, Shelf
from emolib.engine.constants import Constant, Slopes, joined
from emolib.engine.contracts import Measuring, Path, Reduced
from emolib.engine.decoding import Continuations
from emolib.engine.gradients import Objective, Points, UnitSlopes
from emolib.engine.layerwise import Layerwise
from emolib.engine.receiving import Received
from emolib.engine.support import Way, support_of
from emolib.engine.whole import Whole
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position, Side
from emolib.inputs.units import UnitSet
from emolib.interventions import Activations, Intervention
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel
from emolib.models.snapshot import Change

STRONGEST, SAMPLE = 10, 5
"""Runs of a sweep in half precision that are computed again in full: the strongest, and others."""


Score = TypeVar("Score", bound=Reduced)


class Runner(Generic[Score]):
    """Runs one model on the prompts of one study, clean or under interventions.

    Attributes:
        companions: From heads or units to those of the runs of the same kind that are to come.
        errors: How far runs in half precision were from the same in full, checked on some.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Callable[[Side], Prompts],
        measuring: Measuring[Score],
        *,
        batch_size: int | None,
        max_new_tokens: int,
        share: bool = True,
        half: LanguageModel | None = None,
        seed: int = 0,
    ) -> None:
        """Hold what runs.

        Args:
            model: The model.
            prompts: From a side to its prompts.
            measuring: What is kept of logits.
            batch_size: Prompts per batch; None for as many as fit.
            max_new_tokens: Tokens of a continuation.
            share: Whether whole runs share what comes before the last token.
            half: The same model in half precision, for sweeps of many runs.
            seed: Draws the runs that half precision is checked on.
        """
        self._model, self._prompts, self._measuring = model, prompts, measuring
        self._sizes: dict[str, Any] = {"batch_size": batch_size, "max_new_tokens": max_new_tokens}
        self._share, self._half, self._seed = share, half, seed
        self.companions: Companions = lambda targets: [targets]
        self.errors: list[float] = []
        self._weights = sum(p.numel() * p.itemsize for p in model.hf.parameters())
        self._types: set[str] = set()
        self._paths: dict[bool, Path] = {}
        self._way: Way | None = None
        self._clean: dict[tuple[Side, bool], Tensor] = {}
        self._scores: Shelf[Score] = Shelf()
        self._texts: Shelf[Continuations] = Shelf()
        self._log_probs: dict[tuple[Side, int, tuple[int, ...]], float] = {}
        self._activations: dict[tuple[Side, UnitSet | None], Activations] = {}
        self._latest: Request | None = None

    def release(self) -> None:
        """Let go of what runs said; what the clean ones hold for others to come stays."""
        self._scores, self._texts = Shelf(), Shelf()
        self._log_probs.clear()

    # Whose moment a run belongs to

    @property
    def under(self) -> tuple[Change, ...]:
        """What of others the model carries now; empty where it is as it was loaded."""
        return self._model.changes

    def request(
        self, interventions: Sequence[Intervention], side: Side, position: Position
    ) -> Request:
        """Return a run to be asked for, of the model as it is now."""
        self._latest = Request(tuple(interventions), side, position, self.under)
        return self._latest

    def _live(self, request: Request) -> Path | None:
        """Return the path of a run that belongs to what others have put on the model.

        Returns:
            None where the run is of the model as it was loaded.

        Raises:
            InputError: When what it was asked for under is no longer there.
        """
        if not request.under:
            return None
        now = self.under
        if request.under != now:
            gone = [change for change in request.under if change not in now]
            came = [change for change in now if change not in request.under]
            why = f"{_named(gone)} is no longer on" if gone else f"{_named(came)} came onto"
            raise InputError(
                f"this run was asked for under {_named(request.under)}, and {why} "
                f"{self._model.name}: read what it says before, inside the `with`"
            )
        return self._as_it_is()

    def _as_it_is(self) -> Path:
        """Return the path of the model with all that others have put on it."""
        return Whole(self._model, self._prompts, **self._sizes, share=False)

    def _as_loaded(
        self, what: str = "a run that was asked for when the model was as it was loaded"
    ) -> AbstractContextManager[None]:
        return self._model.as_loaded.lifted(what)

    def _kept(self, *, half: bool = False) -> Path:
        """Return the path of the model as it was loaded, chosen at the first run."""
        if half not in self._paths:
            prompts, model = self._prompts("emotion"), self._model_of(half=half)
            if self._way is None:
                first = Batch(prompts, range(min(2, len(prompts))), model.pad, model.device)
                self._way = support_of(self._model, first).way
            if self._way == "hooks":
                self._paths[half] = Whole(model, self._prompts, **self._sizes, share=self._share)
            else:
                apart = self._way == "own layers"
                self._paths[half] = Layerwise(model, self._prompts, **self._sizes, apart=apart)
        return self._paths[half]

    # What a run says

    def logits(self, request: Request) -> Tensor:
        """Return a run's logits at the last prompt token, ``[draws, n_prompts, vocab]``."""
        if live := self._live(request):
            return _only(live.logits(request.side, [request.interventions], request.position))
        with self._as_loaded():
            path = self._kept()
            return _only(path.logits(request.side, [request.interventions], request.position))

    def scores(self, request: Request) -> Score:
        """Return what is kept of a run's logits."""
        if live := self._live(request):
            rows = _only(
                live.logits(
                    request.side,
                    [request.interventions],
                    request.position,
                    lambda logits, _: self._measuring.rows(logits, None),
                )
            )
            return self._measuring.scores(rows, _dtype(self._model), beside_clean=False)
        with self._as_loaded():
            if not request.interventions:
                return self._clean_scores(request.side)
            found = self._scores.get(request, self.companions, self._halved)
        self._types.add(found.dtype)
        return found

    def expect(
        self, runs: Sequence[Intervention], side: Side, position: Position, *, texts: bool = False
    ) -> None:
        """Have runs, of one edit each, computed together when the first is asked for.

        Args:
            runs: What each does.
            side: Whose prompts run.
            position: Where they edit.
            texts: Whether their texts are meant, in place of the scores.
        """
        if self.under:
            return
        requests = [Request((one,), side, position) for one in runs]
        if texts:
            self._texts.expect(requests, self._continued)
        else:
            self._scores.expect(requests, self._halved)

    def texts(self, request: Request) -> Continuations:
        """Return a run's greedy continuations."""
        if live := self._live(request):
            if request is not self._latest:
                # A hook may do something else by now.
                raise InputError(
                    f"this run was asked for under {_named(request.under)}, and another one since: "
                    "read the texts of a run before the next is asked for"
                )
            return _only(live.texts(request.side, [request.interventions], request.position))

        with self._as_loaded():
            return self._texts.get(request, self.companions, self._continued)

    def _continued(self, requests: Sequence[Request]) -> Iterator[tuple[Any, Continuations]]:
        first, runs = requests[0], [other.interventions for other in requests]
        for index, found in self._kept().texts(first.side, runs, first.position):
            yield requests[index].key, found
        heap.give_back(self._weights)

    def log_probs(self, side: Side, ids: Sequence[tuple[int, ...]]) -> list[float]:
        """Return the mean log-probability, nats per token, of a continuation of each prompt.

        They are those of the model as it was loaded. Most runs change few texts, so each is
        computed once.

        Raises:
            ValueError: When a continuation has no token.
        """
        texts = list(enumerate(ids))
        new = [text for text in texts if (side, *text) not in self._log_probs]
        if new:
            with self._as_loaded("the fluency of texts"):
                values = self._kept().log_probs(side, new)
            heap.give_back(self._weights)
            for text, value in zip(new, values, strict=True):
                self._log_probs[(side, *text)] = value
        return [self._log_probs[(side, *text)] for text in texts]

    def activations(self, side: Side, units: UnitSet | None = None) -> Activations:
        """Return z of every head, or of some units, on one side's prompts, without interventions.

        Args:
            side: Whose prompts.
            units: Of these, their activations come in place of the heads' z.
        """
        size = self._sizes["batch_size"]
        if self.under:
            return hooked.activations(self._model, self._prompts(side), units, batch_size=size)
        if (side, units) not in self._activations:
            self._activations[side, units] = (
                self._kept().activations(side)
                if units is None
                else hooked.activations(self._model, self._prompts(side), units, batch_size=size)
            )
        return self._activations[side, units]

    def received(
        self,
        side: Side,
        runs: Sequence[Sequence[Intervention]],
        heads: Sequence[Sequence[Head]],
    ) -> list[dict[Head, Received]]:
        """Return per run what some heads would read of it, were they not held in it.

        Args:
            side: Whose prompts run.
            runs: Per run what it does, at all positions.
            heads: Per run the heads, of later layers than it edits.
        """
        if self.under:
            return self._as_it_is().received(side, runs, heads)
        with self._as_loaded():
            return self._kept().received(side, runs, heads)

    def gradients(
        self, side: Side, position: Position, objective: Objective, points: Points
    ) -> Iterator[tuple[Batch, list[list[Tensor]]]]:
        """Yield batches of prompts with the gradient of a metric at z of every head.

        Args:
            side: Whose prompts run.
            position: Where z stands at what `points` says.
            objective: The metric, from logits at the last token, ``[…, vocab]``.
            points: From a batch and the number S of its last columns that are differentiated to
                the z that stands there, pass by pass: None for the clean run's, else per layer
                ``[B, S, H * d_head]``.

        Yields:
            (The batch, per pass and layer the gradient, ``[B, S, H * d_head]``.)
        """
        return self._now().gradients(side, position, objective, points)

    @property
    def why_no_relevance(self) -> str | None:
        """Why `unit_gradients` gives no relevance of the model as it is now, None where it does."""
        return self._now().why_no_relevance

    def unit_gradients(
        self, side: Side, position: Position, objective: Objective
    ) -> Iterator[tuple[Batch, list[UnitSlopes]]]:
        """Yield batches of prompts with the gradient of a metric at every MLP unit.

        Beside it stands what relevance propagation has in its place, where that can be had.

        Args:
            side: Whose prompts run.
            position: The last columns, from the first that it points at, are wanted.
            objective: The metric.

        Yields:
            (The batch, per layer the units' activations, the gradient and the relevance, each
            ``[B, S, n_units]``.)
        """
        return self._now().unit_gradients(side, position, objective)

    def constant_slopes(
        self, side: Side, position: Position, objective: Objective, runs: Sequence[Constant]
    ) -> list[Slopes]:
        """Return a metric at constants put in for z of heads or units, and its gradient there.

        Args:
            side: Whose prompts run.
            position: Where the constants stand.
            objective: The metric, from logits at the last token.
            runs: What stands in for which set in each run; all else runs on.

        Returns:
            Per run the metric, ``[n]``, and its gradient at the constant, ``[n, D]``.
        """
        found = self._now().constant_slopes(side, position, objective, runs)
        made = joined(found, len(runs))
        heap.give_back(self._weights)
        return made

    def attention(self, side: Side, position: Position, see: hooked.See) -> None:
        """Show where heads look from some positions; see `emolib.engine.hooked.attention`."""
        self._now().attention(side, position, see)

    def inputs_at_last(self, side: Side, paths: Sequence[str]) -> dict[str, Tensor]:
        """Return what goes into norms at the last token, shape ``[n, d_model]`` each.

        Args:
            side: Whose prompts.
            paths: Norms on what heads or MLPs write, and the final one, which runs last, at the
                end.
        """
        return self._now().inputs_at_last(side, paths)

    def streams_at_last(self, side: Side) -> Tensor:
        """Return the residual stream after each layer at the last token, without interventions.

        Returns:
            Shape ``[n_layers, n, d_model]``.

        Raises:
            InputError: When the model's layers put out no plain residual stream.
        """
        return self._now().streams_at_last(side)

    def _now(self) -> Path:
        """Return the path of the model as it is now."""
        return self._as_it_is() if self.under else self._kept()

    @property
    def precision(self) -> str:
        """The types of the scores that were read since it was last asked for, with the error."""
        types, self._types = sorted(self._types), set()
        error = f" ±{max(self.errors):.2g}" if self.errors else ""
        return ", ".join(name if name.startswith("float") else name + error for name in types)

    def _clean_rows(self, side: Side, rows: Sequence[int], *, half: bool = False) -> Tensor:
        """Return the clean logits of some prompts, kept where all of them take little."""
        path, model = self._kept(half=half), self._model_of(half=half)
        size = len(self._prompts(side)) * model.d_vocab * model.hf.dtype.itemsize
        if size > CLEAN_LOGITS:
            return path.clean_logits(side, rows)
        if (side, half) not in self._clean:
            if 2 * size > CLEAN_LOGITS:
                # Both sides have no room beside each other: the one read last stays.
                self._clean.clear()
            whole = range(len(self._prompts(side)))
            self._clean[side, half] = path.clean_logits(side, whole)
        return self._clean[side, half][list(rows)]

    def _clean_scores(self, side: Side, *, half: bool = False) -> Score:
        [(_, scores)] = self._computed([Request((), side, "last")], half=half)
        return scores

    def _model_of(self, *, half: bool) -> LanguageModel:
        return self._half if half and self._half is not None else self._model

    def _computed(
        self, requests: Sequence[Request], *, half: bool = False
    ) -> Iterator[tuple[Any, Score]]:
        first, runs = requests[0], [request.interventions for request in requests]
        side, dtype = first.side, _dtype(self._model_of(half=half))

        def measure(logits: Tensor, rows: Sequence[int]) -> Tensor:
            return self._measuring.rows(logits, self._clean_rows(side, rows, half=half))

        for index, rows in self._kept(half=half).logits(side, runs, first.position, measure):
            scores = self._measuring.scores(rows, dtype, beside_clean=True)
            yield requests[index].key, scores
        heap.give_back(self._weights)

    def _halved(self, requests: Sequence[Request]) -> Iterator[tuple[Any, Score]]:
        """Yield scores, of many runs in half precision where there is a model in it.

        The strongest are computed again in full. The clean run is in full precision, and what
        half precision says is how far a run is from the clean one. Runs drawn at random are
        computed in both, which is what `errors` holds.
        """
        few = len(requests) <= STRONGEST + SAMPLE
        if self._half is None or few or isinstance(self._kept(), Whole):
            yield from self._computed(requests)
            return
        side = requests[0].side
        base, low = (self._clean_scores(side, half=is_half) for is_half in (False, True))
        found = dict(self._computed(requests, half=True))
        steps = {key: scores.effect - low.effect for key, scores in found.items()}
        order = sorted(steps, key=lambda key: -abs(float(np.mean(steps[key]))))
        drawn = random.Random(self._seed).sample(order[STRONGEST:], SAMPLE)
        again = {*order[:STRONGEST], *drawn}
        exact = dict(self._computed([one for one in requests if one.key in again]))
        for key in drawn:
            self.errors.append(float(np.abs(exact[key].effect - base.effect - steps[key]).max()))
        for key, scores in found.items():
            yield key, exact[key] if key in exact else base.moved(low, scores)


Result = TypeVar("Result")


def _only(results: Iterator[tuple[int, Result]]) -> Result:
    [(_, result)] = results
    return result


def _dtype(model: LanguageModel) -> str:
    return str(model.hf.dtype).removeprefix("torch.")


def _named(changes: Sequence[Change]) -> str:
    return ", ".join(map(str, changes))
