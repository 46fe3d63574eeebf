"""Shards as tasks of Ray, each with its cores and GPUs, again elsewhere where a node dies."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.inputs.shards import Shard
from emolib.launching.engines import Needs
from emolib.launching.jobs import Job

_TIMES = 10
"""How often a task is run again whose node or process died."""
_PATIENCE = 10.0
"""Seconds in which a cluster has to answer."""


class RayTasks:
    """A task a shard, on the cluster that RAY_ADDRESS or ``--set address=…`` names.

    Without either it is the one that runs on this machine, and where none does, one is started for
    as long as the shards run.

    Attributes:
        stays: Never: Ray ends the tasks of a process that ends.
    """

    stays = False

    def __init__(self, needs: Needs, folder: Path) -> None:
        """Reach the cluster.

        Raises:
            InputError: When Ray is not installed, no cluster is there, or no node of it has what a
                shard needs.
        """
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise InputError(
                "--on ray: needs Ray, which is not installed: pip install 'emolib[ray]'"
            ) from None
        self._settings = dict(needs.settings)
        self._address = self._settings.pop("address", None)
        if self._settings:
            raise InputError(
                f"--set {next(iter(self._settings))}: --on ray has one setting, address=HOST:PORT"
            )
        self._needs = needs
        self._connect()
        self._check_room()
        self._running: dict[Any, Shard] = {}
        self._waiting: list[Job] = []
        self._ended: dict[Shard, int | str] = {}

    def _connect(self) -> None:
        place = self._address or os.environ.get("RAY_ADDRESS")
        if place and (why := _no_answer(place)):
            raise self._unreached(place, why)
        try:
            self._ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")
        # Which error it is depends on what is wrong with the address, and on Ray's version.
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise self._unreached(place or "the one of this machine", said) from None

    @staticmethod
    def _unreached(place: str, why: str) -> InputError:
        return InputError(
            f"--on ray: no cluster can be reached at {place} ({why}); start one with `ray start "
            "--head`, or leave RAY_ADDRESS and --set address=… out to have one started"
        )

    def _check_room(self) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus, gpus = self._needs.cpus, self._needs.gpus
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            most = max(
                ((int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes),
                default=(0, 0),
            )
            self.stop()
            raise InputError(
                f"--on ray: no node has {cpus} CPUs and {gpus} GPUs for a shard, the largest has "
                f"{most[0]} and {most[1]}; ask for less with --cpus and --gpus, or add a node"
            )

    def start(self, jobs: Sequence[Job]) -> str:
        """Hand over jobs; Ray starts each where there is room."""
        self._waiting = list(jobs)
        self._fill()
        return f"{len(self._ray.nodes())} nodes of Ray"

    def _fill(self) -> None:
        most = self._needs.at_once or len(self._waiting)
        while self._waiting and len(self._running) < most:
            job = self._waiting.pop(0)
            self._running[self._remote.remote(job.environment, job.to_plain())] = job.shard

    @property
    def _remote(self) -> Any:
        made = self._ray.remote(_at_node())
        return made.options(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            # A run that ends badly says so by its code: what is run again is what was lost.
            max_retries=_TIMES,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
        )

    def ended(self) -> dict[Shard, int | str]:
        """Return how shards ended that have, and start others in their place."""
        if self._running:
            left = list(self._running)
            done, _ = self._ray.wait(left, num_returns=len(left), timeout=0)
            for task in done:
                self._ended[self._running.pop(task)] = self._outcome(task)
        self._fill()
        return self._ended

    def _outcome(self, task: Any) -> int | str:
        try:
            return int(self._ray.get(task))
        # Whatever it was, the shard has not run to its end, and the others go on.
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            return said[-1]

    def stop(self) -> None:
        """End what runs, and leave the cluster; one that was started for this ends."""
        self._ray.shutdown()


def _no_answer(address: str) -> str | None:
    """Return why nothing answers at ``HOST:PORT``, None where something does.

    Ray itself goes on trying for minutes and says nothing. Other forms of an address, as ``auto``
    or ``ray://HOST:PORT``, are left to it.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not host or "/" in host:
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE):
            return None
    except (OSError, OverflowError) as error:
        return str(error).strip() or type(error).__name__


def _at_node() -> Any:
    """Return what runs on a node.

    It is a function within this one so that Ray sends it as it stands: where emolib is found there
    is only known once the path of this process is taken over.
    """

    def at_node(environment: dict[str, str], job: dict[str, Any]) -> int:
        before = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
        sys.path[:0] = [place for place in before if place not in sys.path]
        from emolib.launching.jobs import run_plain

        return run_plain(job)

    return at_node
