"""Which items are computed together: those of one function that differ in heads or units alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from emolib.inputs.targets import TargetSet
from pytest_emolib.cases import Case
from pytest_emolib.fixture_table import FIXTURES
from pytest_emolib.items import case_of
from pytest_emolib.loaded import Loaded
from pytest_emolib.scopes import Together, together

if TYPE_CHECKING:
    from emolib.methods.study import Study

_SETS = [name for name, fixture in FIXTURES.items() if fixture.edits]


class Companions:
    """The items of a run by what they have in common."""

    def __init__(
        self,
        items: Iterable[pytest.Item],
        loaded: Loaded,
        stored: Callable[[pytest.Item], bool],
        units: Mapping[str, str],
    ) -> None:
        """Sort the items of a run.

        Args:
            items: The items.
            loaded: Where the heads and units of ranks are looked up.
            stored: Whether an item's rows are in the store.
            units: By id the units in which items are dealt out to workers; those of others are
                not computed here.
        """
        self._loaded, self._stored, self._units = loaded, stored, units
        self._groups: dict[tuple[Together, str], list[pytest.Item]] = {}
        for item in items:
            if "emolib_case" in getattr(item, "fixturenames", ()):
                self._groups.setdefault(self._group(item), []).append(item)
        self._cases: dict[tuple[Together, str], list[Case]] = {}

    def beside(self, item: pytest.Item, study: Study) -> Callable[[Any], Sequence[Any]]:
        """Return the function from heads or units of an item to those of its companions.

        What is in the store is left out. Of targets that are not the item's own nothing is known.
        """
        own = case_of(item)

        def found(targets: TargetSet) -> Sequence[TargetSet]:
            for name in _SETS:
                if self._loaded.edited(name, own, study) == targets:
                    others = (self._loaded.edited(name, c, study) for c in self._to_run(item))
                    return [other for other in others if other]
            return [targets]

        return found

    def _to_run(self, item: pytest.Item) -> list[Case]:
        group = self._group(item)
        if group not in self._cases:
            items = self._groups.get(group, [item])
            self._cases[group] = [case_of(other) for other in items if not self._stored(other)]
        return self._cases[group]

    def _group(self, item: pytest.Item) -> tuple[Together, str]:
        return together(item), self._units.get(item.nodeid, "")
