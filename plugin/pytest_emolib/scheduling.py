"""xdist scheduling: the items of one unit run on one worker, and none runs twice.

A scheduler of our own, and not ``loadgroup``, since that one suffixes node ids with the group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadScopeScheduling


class CaseScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out units (`pytest_emolib.scopes`), which workers tell; other tests one by one."""

    def __init__(self, config: Any, log: Any, folder: Path) -> None:
        """Hold where workers write the units of the items that they have collected."""
        super().__init__(config, log)
        self._folder = folder
        self._units: dict[str, str] = {}

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Take what a worker has collected; all have the same, in the same units."""
        if not self._units:
            self._units = told(self._folder, node.gateway.id)
        super().add_node_collection(node, collection)

    def _split_scope(self, nodeid: str) -> str:
        return self._units.get(nodeid, nodeid)

    def _reschedule(self, node: Any) -> None:
        super()._reschedule(node)
        # A worker begins an item when it knows of the next one, and units may be of one alone.
        while self.workqueue and not node.shutting_down and self._pending(node) < 2:
            super()._reschedule(node)

    def _pending(self, node: Any) -> int:
        return int(self._pending_of(self.assigned_work[node]))

    def remove_node(self, node: Any) -> str | None:
        """Deal out again what a worker has left, but for the item that it died in; return that.

        xdist would run that one again, when it has been reported as failed.
        """
        workload = self.assigned_work.pop(node)
        if self.collection is None:
            # Nothing is dealt out yet; what it has collected must not stand in for its successor's.
            self.registered_collections.pop(node, None)
        if not self._pending_of(workload):
            return None
        left = {
            scope: [name for name, is_done in unit.items() if not is_done]
            for scope, unit in workload.items()
        }
        died_in: str = next(name for names in left.values() for name in names)
        for scope, names in left.items():
            if died_in in names:
                workload[scope][died_in] = True
            if set(names) - {died_in}:
                self.workqueue[scope] = workload[scope]
        for other in self.assigned_work:
            # A successor that is still collecting is dealt something when it has collected.
            if other in self.registered_collections:
                self._reschedule(other)
        return died_in


def tell(folder: Path, worker: str, units: Mapping[str, str]) -> None:
    """Write the units of the items of a worker, by their ids."""
    (folder / f"{worker}.json").write_text(json.dumps(units), encoding="utf-8")


def told(folder: Path, worker: str) -> dict[str, str]:
    """Return the units that a worker has written, none where it has no experiment."""
    path = folder / f"{worker}.json"
    found: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found
