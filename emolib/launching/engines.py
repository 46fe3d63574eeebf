"""What an engine is, and which there are: a class in a module of its own, and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from emolib.inputs.shards import Shard
from emolib.launching.jobs import Job

ENGINES = {
    "local": "emolib.launching.local.Local",
    "slurm": "emolib.launching.slurm.Slurm",
    "ray": "emolib.launching.ray_tasks.RayTasks",
}
"""Engines by the name that they are asked for."""


@dataclass(frozen=True)
class Needs:
    """What each shard is to have, and how many may have it at once.

    Attributes:
        cpus: Cores.
        gpus: GPUs.
        minutes: How long it may take.
        at_once: How many shards run at the same time; None leaves that to the engine.
        settings: What else the engine is told, by its own names.
    """

    cpus: int = 1
    gpus: int = 0
    minutes: int = 24 * 60
    at_once: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs jobs, here or elsewhere.

    Its constructor takes the `Needs` and a folder for files of its own, and raises an `InputError`
    where it is not installed or cannot be reached.
    """

    stays: bool
    """Whether what was started goes on without this process."""

    def start(self, jobs: Sequence[Job]) -> str:
        """Start jobs, or see to it that they start when there is room; say what they are called."""
        ...

    def ended(self) -> dict[Shard, int | str]:
        """Return of the shards that have ended pytest's exit code, or why there is none."""
        ...

    def stop(self) -> None:
        """End what still runs, and let go of what was taken."""
        ...


def engine(name: str, needs: Needs, folder: Path) -> Engine:
    """Return an engine by its name.

    Args:
        name: One of `ENGINES`.
        needs: What each shard is to have.
        folder: For files of the engine's own.

    Raises:
        InputError: When it is not installed or cannot be reached.
    """
    module, _, kind = ENGINES[name].rpartition(".")
    made: Engine = getattr(import_module(module), kind)(needs, folder)
    return made
