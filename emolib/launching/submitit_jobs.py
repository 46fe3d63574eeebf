"""Jobs as submitit runs them, on this machine or under SLURM."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from emolib.errors import InputError
from emolib.inputs.shards import Shard
from emolib.launching.jobs import Job

TIMEOUTS = 3
"""How often a shard that ran out of its time goes on in a job after it."""


class Resumed:
    """Runs a job; one that is put off, by preemption or its time's end, is run again.

    The run after goes on from what the one before has stored.
    """

    def __call__(self, job: Job) -> int:
        """Run a job where this is called."""
        return job.run()

    def checkpoint(self, job: Job) -> Any:
        """Return what submitit is to put in the queue in place of a job that was put off."""
        return submitit("slurm").helpers.DelayedSubmission(self, job)


def submitit(name: str) -> Any:
    """Return the package.

    Args:
        name: Of the engine that it is for.

    Raises:
        InputError: When it is not installed.
    """
    try:
        return import_module("submitit")
    except ImportError:
        raise InputError(
            f"--on {name}: needs submitit, which is not installed: pip install 'emolib[slurm]'"
        ) from None


def ended(running: Iterable[tuple[Shard, Any]]) -> dict[Shard, int | str]:
    """Return how jobs of submitit ended that have: pytest's exit code, or why there is none.

    Args:
        running: Shards with the jobs that submitit made of them.
    """
    return {shard: _outcome(job) for shard, job in running if job.done()}


def _outcome(job: Any) -> int | str:
    try:
        return int(job.result())
    # Whatever it was, the shard has not run to its end, and the others go on.
    except Exception as error:
        last = str(error).strip().splitlines() or [type(error).__name__]
        return f"{last[-1]} ({job.paths.stderr})"
