"""Shards: one part of a plan's work, and how tasks are dealt out to parts that weigh alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from emolib.errors import InputError

_HALVINGS = 40
"""How often the most that a part may weigh is halved on."""
_FORM = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


@dataclass(frozen=True, order=True)
class Shard:
    """The I-th of N parts of the work.

    Attributes:
        number: Which part, from 1.
        of: How many parts there are.
    """

    number: int
    of: int

    def __str__(self) -> str:
        """Return it as it is typed, ``3/8``."""
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Task:
    """Work that is not divided.

    Attributes:
        name: What it is called; no two have one name.
        weight: How much it is.
        needs: What has to be there before it, as a model, shared by tasks that need the same;
            empty where it needs nothing.
        setup: How much work that is.
    """

    name: str
    weight: float
    needs: str = ""
    setup: float = 0.0


def parse_shard(text: str) -> Shard:
    """Return the shard that a text names.

    >>> parse_shard("3/8")
    Shard(number=3, of=8)

    Raises:
        InputError: When it names none.
    """
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise InputError(
            f"--shard: expected I/N, the I-th of N parts counted from 1, as in 3/8, got {text!r}"
        )
    return Shard(int(found[1]), int(found[2]))


def deal(tasks: Iterable[Task], parts: int) -> list[list[str]]:
    """Return the names of the tasks of each part, the parts as alike in work as whole tasks allow.

    The order of the tasks decides nothing, so that who deals the same tasks elsewhere finds the
    same parts.

    >>> deal([Task("a", 3), Task("b", 2), Task("c", 2)], 2)
    [['a'], ['b', 'c']]

    Args:
        tasks: The tasks.
        parts: How many parts.
    """
    heavy_first = sorted(tasks, key=lambda task: (-task.weight, task.name))
    # Where what tasks need is dear, it is had in few parts; where it is not, loads are evener so.
    ways = [_to_the_least_loaded(heavy_first, parts), _in_a_row(heavy_first, parts)]
    best = min(ways, key=lambda way: max(map(_load, way)))
    return [[task.name for task in part] for part in best]


def _load(part: Sequence[Task]) -> float:
    """Return the work of a part, with what its tasks need."""
    setups = {task.needs: task.setup for task in part if task.needs}
    return sum(task.weight for task in part) + sum(setups.values())


def _to_the_least_loaded(tasks: Sequence[Task], parts: int) -> list[list[Task]]:
    """Deal tasks out one by one, each to the part that is the least loaded with it."""
    dealt: list[list[Task]] = [[] for _ in range(parts)]
    loads, there = [0.0] * parts, [set[str]() for _ in range(parts)]

    def after(part: int, task: Task) -> float:
        setup = task.setup if task.needs and task.needs not in there[part] else 0.0
        return loads[part] + task.weight + setup

    for task in tasks:
        part = min(range(parts), key=lambda part: (after(part, task), part))
        loads[part] = after(part, task)
        there[part].add(task.needs)
        dealt[part].append(task)
    return dealt


def _in_a_row(tasks: Sequence[Task], parts: int) -> list[list[Task]]:
    """Cut the row of tasks, those that need the same side by side, so that no part is heavy."""
    row = sorted(tasks, key=lambda task: task.needs)
    low, high = 0.0, _load(row)
    best = [row, *([] for _ in range(parts - 1))]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        cut = _cut(row, middle)
        if len(cut) <= parts:
            best, high = cut + [[] for _ in range(parts - len(cut))], middle
        else:
            low = middle
    return best


def _cut(row: Sequence[Task], most: float) -> list[list[Task]]:
    """Cut a row where the load of a part would be above the most, one task in each at least."""
    cut: list[list[Task]] = []
    load, there = 0.0, set[str]()
    for task in row:
        setup = task.setup if task.needs and task.needs not in there else 0.0
        if not cut or load + task.weight + setup > most:
            cut.append([])
            load, there, setup = 0.0, set(), task.setup if task.needs else 0.0
        cut[-1].append(task)
        load += task.weight + setup
        there.add(task.needs)
    return cut
