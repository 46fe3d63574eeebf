"""The runs that wrote into a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.results.catalogue import SegmentState


@dataclass(frozen=True)
class Run:
    """A run that wrote into a store.

    Attributes:
        id: Its segment's name; runs sort by it in order of their beginning.
        started: When it began, ISO 8601 in UTC; empty for a store older than runs.
        ended: When it ended; empty where it was killed or goes on.
        command: Its command line.
        host: The machine.
        commit: The commit of the user's folder.
        shard: Which part of a larger run, ``3/8``; empty for a whole one.
        settings: By name what decided its numbers, and what it ran on.
        items: How many items it recorded.
        replayed: How many it took from the store.
        expected: How many items a shard was to record; None where that is not told.
    """

    id: str
    started: str
    ended: str
    command: str
    host: str
    commit: str
    shard: str
    settings: dict[str, Any]
    items: int
    replayed: int
    expected: int | None = None

    @property
    def lacks(self) -> int | None:
        """How many of its items have no rows; None where its number of items is not told."""
        if self.expected is None:
            return None
        return max(0, self.expected - self.items - self.replayed)


def run_of(state: SegmentState) -> Run:
    """Return the run that wrote a segment."""
    about = state.run
    return Run(
        id=state.name,
        started=about.get("started", ""),
        ended=state.ended,
        command=about.get("command", ""),
        host=about.get("host", ""),
        commit=about.get("commit") or "",
        shard=about.get("shard") or "",
        settings=about.get("settings") or {},
        items=state.items,
        replayed=state.replayed,
        expected=about.get("expected"),
    )


def chosen(runs: Sequence[Run], name: str, place: Path) -> Run:
    """Return a run by its id, or by how that begins.

    Args:
        runs: The runs of a store.
        name: The id or its beginning.
        place: Where the store is, for messages.

    Raises:
        InputError: When there is none, or several.
    """
    found = [run for run in runs if run.id.startswith(name)]
    exact = [run for run in found if run.id == name]
    if len(only := exact or found) == 1:
        return only[0]
    got = f"{len(found)} runs begin with it" if found else "there is no such run"
    raise InputError(
        f"--run {name}: expected the id of a run in {place}, or how it begins, but {got}; "
        "`python -m emolib runs` lists them"
    )
