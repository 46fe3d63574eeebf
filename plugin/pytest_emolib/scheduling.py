"""xdist scheduling: the items of one model and emotion run on one worker.

A scheduler of our own, and not ``loadgroup``, since that one suffixes node ids with the group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdist.scheduler import LoadScopeScheduling


class CaseScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Scopes are (file, function, model, emotion); other tests are a scope each."""

    def __init__(self, config: Any, log: Any, scope: Callable[[str], str]) -> None:
        """Hold the function from a node id to its scope."""
        super().__init__(config, log)
        self._scope = scope

    def _split_scope(self, nodeid: str) -> str:
        return self._scope(nodeid)
