"""Which items are computed together: those of one function that differ in heads or units alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_emolib.cases import Case
from pytest_emolib.items import case_of, own_parameters

if TYPE_CHECKING:
    from emolib.inputs.heads import HeadSet
    from emolib.inputs.units import UnitSet
    from emolib.methods.study import Study
    from pytest_emolib.lab import Lab


class Companions:
    """The items of a run by what they have in common."""

    def __init__(self, lab: Lab, items: Iterable[pytest.Item]) -> None:
        """Sort the items that will run in this process."""
        self._lab = lab
        self._groups: dict[tuple[Any, ...], list[pytest.Item]] = {}
        for item in items:
            if "emolib_case" in getattr(item, "fixturenames", ()):
                self._groups.setdefault(_group(item), []).append(item)
        self._cases: dict[tuple[Any, ...], list[Case]] = {}

    def beside(self, item: pytest.Item, study: Study) -> Callable[[Any], Sequence[Any]]:
        """Return the function from heads or units of an item to those of its companions.

        What is in the store is left out. Of targets that are not the item's own nothing is known.
        """
        case = case_of(item)

        def found(targets: HeadSet | UnitSet) -> Sequence[HeadSet | UnitSet]:
            for of_case in self._roles(study):
                if of_case(case) == targets:
                    return [other for c in self._to_run(item) if (other := of_case(c))]
            return [targets]

        return found

    def _roles(self, study: Study) -> list[Callable[[Case], HeadSet | UnitSet | None]]:
        lab = self._lab

        def matched(case: Case) -> UnitSet | None:
            return lab.bench.matched_units(study, lab.units(case)) if case.units else None

        return [
            lambda case: lab.heads(case) if case.heads else None,
            lambda case: lab.units(case) if case.units else None,
            matched,
        ]

    def _to_run(self, item: pytest.Item) -> list[Case]:
        group = _group(item)
        if group not in self._cases:
            items = self._groups.get(group, [item])
            running = [other for other in items if not self._lab.holds(self._lab.key(other))]
            self._cases[group] = [case_of(other) for other in running]
        return self._cases[group]


def _group(item: pytest.Item) -> tuple[Any, ...]:
    case = case_of(item)
    function = item.nodeid.partition("[")[0]
    source = case.source and case.source.name
    return function, source, case.emotion, case.ablation, tuple(own_parameters(item).items())
