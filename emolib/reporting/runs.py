"""The runs that wrote into a store, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.results.records import Store
from emolib.results.runs import Run


def runs(results: Path) -> list[dict[str, Any]]:
    """Return a line for each run: its id, when, what, how many items, in what it differs.

    Args:
        results: The results folder of a profile.

    Raises:
        InputError: When there are none.
    """
    store = Store(results)
    found = store.runs()
    if not found:
        raise InputError(f"{store.path}: no runs; run `pytest experiments` first")
    differing = list(_differing(found))
    several = {run.host for run in found if run.host} or {""}
    return [
        {
            "run": run.id,
            "started": time_of(run.started),
            "ended": time_of(run.ended),
            "command": run.command,
            "items": run.items,
            "replayed": run.replayed,
            "settings": ", ".join(
                f"{name}={_value(run.settings[name])}" for name in differing if name in run.settings
            ),
            "commit": run.commit,
        }
        | ({"host": run.host} if len(several) > 1 else {})
        | ({"shard": run.shard} if any(run.shard for run in found) else {})
        for run in found
    ]


def _differing(found: Sequence[Run]) -> Iterator[str]:
    """Yield the settings in which runs differ."""
    told = [run.settings for run in found if run.settings]
    for name in dict.fromkeys(name for settings in told for name in settings):
        if any(settings.get(name) != told[0].get(name) for settings in told):
            yield name


def _value(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def time_of(text: str) -> str:
    """Return a time in UTC as people write it."""
    return text.replace("T", " ").removesuffix("+00:00")
