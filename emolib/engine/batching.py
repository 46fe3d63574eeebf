"""Runs that are asked for one by one and computed together.

An experiment asks for one run at a time. Which other runs of its kind are to come is known from
the items that are to run; the first that is asked for is computed in a batch with as many of them
as fit, and what each says is kept, a number per prompt and metric, until it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from emolib.inputs.prompts import Position, Side
from emolib.inputs.targets import TargetSet
from emolib.interventions import Intervention
from emolib.models.snapshot import Change

Kept = TypeVar("Kept")
Companions = Callable[[TargetSet], Sequence[TargetSet]]
"""From heads or units to those of the runs of the same kind that are to come."""


@dataclass(frozen=True)
class Request:
    """One run: what it does, to whose prompts, and where.

    Attributes:
        interventions: Applied together; none for the clean run.
        side: Whose prompts run.
        position: Where in the prompt z is edited.
        under: What of others the model carried when the run was asked for.
    """

    interventions: tuple[Intervention, ...]
    side: Side
    position: Position
    under: tuple[Change, ...] = ()

    @property
    def key(self) -> tuple[Any, ...] | None:
        """What tells the run from others; None where that cannot be told."""
        if any(one.recipe is None for one in self.interventions):
            return None
        what = tuple((one.recipe, one.targets) for one in self.interventions)
        return self.side, self.position, what

    def together(self, companions: Companions) -> list[Request]:
        """Return the runs of the same kind that are to come, this one first."""
        if len(self.interventions) != 1 or (recipe := self.interventions[0].recipe) is None:
            return [self]
        if not recipe.general:
            return [self]
        others = companions(self.interventions[0].targets)
        made = [Request((recipe.of(other),), self.side, self.position) for other in others]
        return [self, *(other for other in made if other.key != self.key)]


@dataclass
class Shelf(Generic[Kept]):
    """What was computed of one kind, and what is on the way."""

    found: dict[Any, Kept] = field(default_factory=dict)
    coming: list[tuple[set[Any], Iterator[tuple[Any, Kept]]]] = field(default_factory=list)

    def expect(
        self,
        requests: Sequence[Request],
        compute: Callable[[Sequence[Request]], Iterator[tuple[Any, Kept]]],
    ) -> None:
        """Have runs computed together, when the first of them is asked for."""
        new = {r.key: r for r in requests if r.key is not None and not self.holds(r.key)}
        if new:
            self.coming.append((set(new), compute(list(new.values()))))

    def get(
        self,
        request: Request,
        companions: Companions,
        compute: Callable[[Sequence[Request]], Iterator[tuple[Any, Kept]]],
    ) -> Kept:
        """Return what a run says, computed with its companions where it was not yet.

        Args:
            request: The run.
            companions: Which others are to come.
            compute: Yields the key of each of some runs with what it says, in any order.
        """
        if (key := request.key) is None:
            return next(compute([request]))[1]
        if not self.holds(key):
            together = request.together(companions)
            requests = {r.key: r for r in together if r is request or not self.holds(r.key)}
            self.coming.append((set(requests), compute(list(requests.values()))))
        try:
            return self._pull(key)
        except BaseException as error:
            # What was interrupted does not go on.
            others = self._drop(key)
            if not (others and isinstance(error, Exception)):
                raise
            # Of those in the batch any may be at fault: alone it is the one that is asked for.
            return next(compute([request]))[1]

    def _pull(self, key: Any) -> Kept:
        for pending, results in self.coming:
            while key in pending:
                done, result = next(results)
                pending.remove(done)
                self.found[done] = result
        self.coming = [entry for entry in self.coming if entry[0]]
        return self.found[key]

    def _drop(self, key: Any) -> bool:
        """Forget the batch that a key is in; return whether there were others in it."""
        others = any(key in pending and len(pending) > 1 for pending, _ in self.coming)
        self.coming = [entry for entry in self.coming if key not in entry[0]]
        return others

    def holds(self, key: Any) -> bool:
        """Tell whether a key was computed or is on the way."""
        return key in self.found or any(key in pending for pending, _ in self.coming)
