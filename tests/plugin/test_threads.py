"""Threads under ``-n``: the share of a worker, and who is told of it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from pytest_emolib.threads import limit_threads, share

THREADS = """
import os


def exp_threads(model_source, request, record):
    import torch

    before = torch.get_num_threads()
    request.getfixturevalue("model")
    pools = ("OMP", "MKL", "OPENBLAS", "RAYON")
    told = {name: int(os.environ[f"{name}_NUM_THREADS"]) for name in pools}
    record(torch=before, after=torch.get_num_threads(), **told)
"""


LIGHT_THREADS = """
import os


def exp_threads(emotion, heads, record):
    pools = ("OMP", "MKL", "OPENBLAS", "RAYON")
    record(**{name: int(os.environ[f"{name}_NUM_THREADS"]) for name in pools})
"""


IN_WORKERS = """
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    import torch
"""


def test_each_worker_tells_its_pools_of_its_share_of_the_cores(light, monkeypatch):
    for pool in POOLS:
        monkeypatch.delenv(pool, raising=False)
    light.write("exp_effect.py", LIGHT_THREADS)
    light.pytest("-n", "2").stdout.fnmatch_lines(["*8 recorded*"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for row in light.rows():
        assert set(row["values"].values()) == {max(1, cores // 2)} and len(row["values"]) == 4


@pytest.mark.slow
def test_each_worker_keeps_to_its_share_of_the_cores(folder):
    """Where torch is loaded by a conftest.py it is there before the session begins."""
    for pool in ("OMP", "MKL", "OPENBLAS", "RAYON"):
        folder.env.pop(f"{pool}_NUM_THREADS", None)
    folder.write("conftest.py", IN_WORKERS)
    folder.write("exp_effect.py", THREADS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    done = folder.process("-n", "2")
    assert done.returncode == 0, done.stdout
    assert folder.rows()
    for row in folder.rows():
        assert set(row["values"].values()) == {max(1, cores // 2)}


@pytest.mark.slow
def test_fewer_threads_that_the_user_asked_for_stay_fewer(folder):
    folder.write("exp_effect.py", THREADS)
    folder.env |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "4096"}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert folder.process("-n", "1").returncode == 0
    (row,) = folder.rows()
    assert row["values"].pop("RAYON") == cores
    assert set(row["values"].values()) == {1}


WAITING = """
import os


def exp_waiting(model, record):
    record(policy=os.environ.get("OMP_WAIT_POLICY", "none"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["serial", "n1"])
def test_threads_wait_asleep_unless_the_user_says_otherwise(folder, workers):
    """OpenMP reads it when torch is loaded, which is when the item asks for its model."""
    folder.env.pop("OMP_WAIT_POLICY", None)
    folder.write("exp_effect.py", WAITING)
    assert folder.process(*workers).returncode == 0
    folder.env["OMP_WAIT_POLICY"] = "ACTIVE"
    assert folder.process("--fresh", *workers).returncode == 0
    assert [row["labels"]["policy"] for row in folder.rows()] == ["PASSIVE", "ACTIVE"]


POOLS = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "OPENBLAS", "RAYON"))


@pytest.fixture
def machine(monkeypatch):
    """Give a function that says of how many cores and workers this process is, and its torch."""
    for name in (*POOLS, "PYTEST_XDIST_WORKER_COUNT"):
        # Set first: what is deleted where it was not is not put back.
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)

    def of(cores, workers=None, torch=8):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        if workers is not None:
            monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(workers))
        told = []
        module = SimpleNamespace(get_num_threads=lambda: torch, set_num_threads=told.append)
        monkeypatch.setitem(sys.modules, "torch", module)
        return told

    return of


def pools():
    return [os.environ.get(name) for name in POOLS]


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(8, None, None), (8, 0, None), (8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (2, 16, 1)],
)
def test_a_share_is_of_the_cores_that_this_process_may_use(machine, cores, workers, expected):
    machine(cores, workers)
    assert share() == expected


@pytest.mark.parametrize(("count", "expected"), [(6, 3), (1, 1), (None, 1)])
def test_where_affinity_is_not_known_all_cores_are_shared(machine, monkeypatch, count, expected):
    machine(64, 2)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert share() == expected


def test_outside_workers_nothing_is_limited(machine):
    told = machine(8)
    limit_threads()
    assert pools() == [None] * 4 and told == []


def test_in_a_worker_every_pool_is_told(machine):
    told = machine(8, 2)
    limit_threads()
    assert pools() == ["4"] * 4 and told == [4]


def test_fewer_threads_stay_fewer_and_more_do_not(machine, monkeypatch):
    told = machine(8, 2, torch=3)
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    monkeypatch.setenv("RAYON_NUM_THREADS", "4096")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "many")
    limit_threads()
    assert pools() == ["4", "2", "4", "4"] and told == [3]


def test_what_openmp_is_given_is_that_of_pools_that_are_given_nothing(machine, monkeypatch):
    machine(8, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    limit_threads()
    assert pools() == ["1", "3", "1", "1"]


def test_torch_is_not_loaded_for_it(machine, monkeypatch):
    machine(8, 2)
    monkeypatch.delitem(sys.modules, "torch")
    limit_threads()
    assert pools() == ["4"] * 4 and "torch" not in sys.modules
