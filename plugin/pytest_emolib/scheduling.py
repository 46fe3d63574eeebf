"""xdist scheduling: the items of one model and emotion run on one worker.

A scheduler of our own, and not ``loadgroup``, since that one suffixes node ids with the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xdist.scheduler import LoadScopeScheduling


class CaseScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Scopes are (file, function, model, emotion); other tests are a scope each."""

    def __init__(
        self, config: Any, log: Any, models: Sequence[str], emotions: Sequence[str]
    ) -> None:
        """Hold the names of models and emotions, by which node ids are read."""
        super().__init__(config, log)
        self._models, self._emotions = models, emotions

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid, self._models, self._emotions)


def scope(nodeid: str, models: Sequence[str], emotions: Sequence[str]) -> str:
    """Return what of an item decides which worker runs it: function, model and emotion.

    >>> scope("exp.py::exp_it[tiny-neo-joy-L0H1]", ["tiny", "tiny-neo"], ["joy"])
    'exp.py::exp_it[tiny-neo][joy]'
    """
    function, bracket, parameters = nodeid.partition("[")
    if not bracket:
        return nodeid
    parts = f"-{parameters.rstrip(']')}-"
    # The longest name first: one may be the beginning of another.
    for names in (models, emotions):
        longest_first = sorted(names, key=len, reverse=True)
        found = next((name for name in longest_first if f"-{name}-" in parts), "")
        function += f"[{found}]"
    return function
