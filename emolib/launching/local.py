"""Shards on this machine, in processes of submitit's local executor, a few at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.inputs.shards import Shard
from emolib.launching.engines import Needs
from emolib.launching.jobs import Job
from emolib.launching.submitit_jobs import TIMEOUTS, Resumed, ended, submitit


class Local:
    """submitit starts all that it is given at once: here as many as the cores allow.

    Attributes:
        stays: Never: later shards start from here.
    """

    stays = False

    def __init__(self, needs: Needs, folder: Path) -> None:
        """Make the executor.

        Raises:
            InputError: When submitit is not installed, or it is told what it has no use for.
        """
        if needs.settings:
            raise InputError(f"--set {next(iter(needs.settings))}: --on local has no settings")
        package = submitit("local")
        self._executor = package.LocalExecutor(folder=folder, max_num_timeout=TIMEOUTS)
        self._executor.update_parameters(timeout_min=needs.minutes, gpus_per_node=needs.gpus)
        # Its GPUs are the first ones for every job.
        free = 1 if needs.gpus else max(1, _cores() // needs.cpus)
        self._at_once = needs.at_once or free
        self._waiting: deque[Job] = deque()
        self._running: dict[Shard, Any] = {}
        self._ended: dict[Shard, int | str] = {}

    def start(self, jobs: Sequence[Job]) -> str:
        """Take up jobs, and start those that there is room for."""
        self._waiting.extend(jobs)
        self._fill()
        return f"{self._at_once} at a time on this machine"

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._at_once:
            job = self._waiting.popleft()
            self._running[job.shard] = self._executor.submit(Resumed(), job)

    def ended(self) -> dict[Shard, int | str]:
        """Return how shards ended that have, and start others in their place."""
        now = ended(self._running.items())
        for shard in now:
            del self._running[shard]
        self._ended |= now
        self._fill()
        return self._ended

    def stop(self) -> None:
        """End what runs."""
        self._waiting.clear()
        for job in self._running.values():
            job.cancel(check=False)
        self._running.clear()


def _cores() -> int:
    # In a container or under taskset fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
