"""Threads, before anything is computed: how they wait, and each worker's share of the cores."""

from __future__ import annotations

import os
import sys

# OpenMP's first: where the others are not given it is theirs too.
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")

_WAITING = "OMP_WAIT_POLICY"


def share() -> int | None:
    """Return how many threads a worker may use, ``cores // workers``; None outside workers."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    return max(1, _cores() // workers) if workers else None


def set_threads() -> None:
    """Have threads wait asleep, and keep a worker to its share of the cores.

    Awake, as they are unless told, they wait for each other on cores that others need: on a busy
    machine the products of a model of width 64 took a hundred times the CPU with two threads that
    they take with one. Asleep they take as much as one.
    """
    os.environ.setdefault(_WAITING, "PASSIVE")
    limit_threads()


def limit_threads() -> None:
    """Keep this worker to its share; otherwise each starts as many threads as there are cores.

    Pools read the environment when their library is loaded, and torch is told where it is loaded
    already. Fewer threads that the user asked for stay fewer.
    """
    if (most := share()) is None:
        return
    for name in _POOLS:
        given = os.environ.get(name) or os.environ.get(_POOLS[0], "")
        os.environ[name] = str(min(most, int(given)) if given.isdecimal() else most)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(min(most, torch.get_num_threads()))


def _cores() -> int:
    # In a container or under taskset fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
