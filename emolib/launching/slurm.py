"""Shards as the tasks of one array job of SLURM, by submitit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.inputs.shards import Shard
from emolib.launching.engines import Needs
from emolib.launching.jobs import Job
from emolib.launching.submitit_jobs import TIMEOUTS, Resumed, ended, submitit


class Slurm:
    """An array job; a task that is preempted or runs out of time is queued again.

    Attributes:
        stays: The array goes on without this process.
    """

    stays = True

    def __init__(self, needs: Needs, folder: Path) -> None:
        """Make the executor.

        Raises:
            InputError: When submitit is not installed, or there is no SLURM here.
        """
        package = submitit("slurm")
        if not all(map(shutil.which, ("sbatch", "srun"))):
            raise InputError(
                "--on slurm: no sbatch on this machine: run this on a login node of the cluster, "
                "or take --on local"
            )
        self._executor = package.SlurmExecutor(folder=folder, max_num_timeout=TIMEOUTS)
        self._executor.update_parameters(
            job_name="emolib",
            time=needs.minutes,
            cpus_per_task=needs.cpus,
            # Options of sbatch by their own names; one that is true is given without a value.
            additional_parameters={
                name: True if value == "true" else value for name, value in needs.settings.items()
            },
            **({"gpus_per_node": needs.gpus} if needs.gpus else {}),
            **({"array_parallelism": needs.at_once} if needs.at_once else {}),
        )
        self._running: dict[Shard, Any] = {}
        self._ended: dict[Shard, int | str] = {}
        errors = package.core.utils
        self._refusals = errors.FailedJobError, errors.FailedSubmissionError

    def start(self, jobs: Sequence[Job]) -> str:
        """Submit jobs as one array.

        Raises:
            InputError: When SLURM refuses it.
        """
        try:
            made = self._executor.map_array(Resumed(), list(jobs))
        except self._refusals as error:
            said = (str(error).strip().splitlines() or ["no reason given"])[-1]
            raise InputError(
                f"--on slurm: sbatch refused the array: {said}; its options are given with --set, "
                "as in --set partition=gpu"
            ) from None
        self._running = {job.shard: task for job, task in zip(jobs, made, strict=True)}
        return f"array job {str(made[0].job_id).partition('_')[0]}"

    def ended(self) -> dict[Shard, int | str]:
        """Return how shards ended that have."""
        now = ended(self._running.items())
        for shard in now:
            del self._running[shard]
        self._ended |= now
        return self._ended

    def stop(self) -> None:
        """Cancel what is left."""
        for task in self._running.values():
            task.cancel(check=False)
        self._running.clear()
