"""``--shard I/N``: which of the collected items are one part of the work, found alike everywhere.

What is computed together stays together. How much work a batch is follows from the items, their
models' sizes and their prompts alone, never from the machine at hand or from what is stored, so
that the parts of several machines are parts of one whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from emolib.errors import InputError
from emolib.inputs.shards import Shard, Task, deal
from emolib.models.sources import Source
from emolib.results.rows import group
from pytest_emolib.items import case_of
from pytest_emolib.plan import LOADING, RECORDING, Group, Plan, runs_of
from pytest_emolib.reports import records
from pytest_emolib.scopes import units

if TYPE_CHECKING:
    from emolib.engine.costs import Speed


@dataclass(frozen=True)
class Part:
    """What became of a shard.

    Attributes:
        shard: Which part.
        items: How many items are of it.
        collected: Of how many.
        batches: In how many batches all of them are.
    """

    shard: Shard
    items: int
    collected: int
    batches: int

    @property
    def is_empty(self) -> bool:
        """Whether there were items, and none of them is of this part."""
        return self.collected > 0 and not self.items

    def told(self) -> dict[str, int]:
        """Return all but the shard as plain data, ready to travel from a worker."""
        return {"items": self.items, "collected": self.collected, "batches": self.batches}

    def line(self, *, dry: bool) -> str:
        """Return what is said of it at the end of a run, or of one that ran nothing."""
        if self.is_empty:
            batches = "one batch" if self.batches == 1 else f"{self.batches} batches"
            return (
                f"shard {self.shard} is empty: all {self.collected} items are {batches}, and none "
                "is split"
            )
        joined = "" if dry else "; `python -m emolib merge` joins the shards"
        return f"shard {self.shard}: {self.items} of {self.collected} items{joined}"


def part_of(items: Sequence[pytest.Item], shard: Shard, plan: Plan) -> tuple[list[bool], Part]:
    """Return which items are of a shard, and what to say of it.

    Args:
        items: All items that were collected, in any order.
        shard: Which part.
        plan: What tells the work of items.
    """
    in_order = sorted(items, key=lambda item: item.nodeid)
    # What is no experiment is a piece of work by itself.
    names = {item.nodeid: item.nodeid for item in in_order}
    names |= units(filter(records, in_order), shard.of, plan.profile)
    batches = group(in_order, lambda item: names[item.nodeid])
    chosen = set(deal(_tasks(batches, plan), shard.of)[shard.number - 1])
    mine = [names[item.nodeid] in chosen for item in items]
    return mine, Part(shard, sum(mine), len(items), len(batches))


def _tasks(batches: Mapping[str, Group], plan: Plan) -> Iterable[Task]:
    weigh = _Scales(plan)
    for name, items in batches.items():
        yield weigh.task(name, items)


class _Scales:
    """How much work batches are, in seconds on a machine that is nobody's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._described = cache(self._describe)
        self._prompts = cache(self._encode)

    def task(self, name: str, items: Group) -> Task:
        """Return a batch of items of one model, emotion and function as work to deal out."""
        case, recording = case_of(items[0]), len(items) * RECORDING
        if (source := case.source) is None:
            return Task(name, recording)
        shape = self._described(source)[2]
        loading = shape.weights * LOADING[source.gguf is not None]
        runs = 0.0 if case.emotion is None else self._runs(source, case.emotion, items)
        return Task(name, recording + runs, source.name, loading)

    def _runs(self, source: Source, emotion: str, items: Group) -> float:
        from emolib.engine import costs

        shape, profile = self._described(source)[2], self._plan.profile
        try:
            prompts = self._prompts(source, emotion)
        except InputError:
            # An error of the items themselves, which are to say so where they run.
            return 0.0
        sizes = source.n_layers, source.n_heads, source.mlp_width
        planned = costs.Planned(prompts, profile, *sizes)
        found = (runs.cost(shape, size=profile.batch_size) for runs in runs_of(planned, items))
        return sum(found, costs.Cost()).seconds(_speed())

    def _describe(self, source: Source) -> tuple[Any, Any, Any]:
        from emolib.engine.shapes import shape_of
        from emolib.models.loading import describe

        config, tokenizer = describe(source)
        return config, tokenizer, shape_of(config, source.mlp_width, self._plan.profile.dtype)

    def _encode(self, source: Source, emotion: str) -> Any:
        config, tokenizer, _ = self._described(source)
        return self._plan.prompts(emotion, tokenizer, config)


def _speed() -> Speed:
    """Return the speeds of a core of a laptop, about: only how they compare decides anything."""
    from emolib.engine.costs import Speed

    return Speed(products=5e10, unembed=2e10, logits=1e8, stepwise=2e10)
