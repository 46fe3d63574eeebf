"""Options of xdist: what is refused in a line, and how often workers are replaced."""

from __future__ import annotations

import os
import sys
import tempfile
from types import SimpleNamespace

import pytest
from pytest_emolib.workers import RESTARTS, Workers

from emolib.errors import InputError


def config(dist="load", tx=("popen",), restart=None):
    return SimpleNamespace(option=SimpleNamespace(dist=dist, tx=list(tx), maxworkerrestart=restart))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-n", "2", "--dist", "each"], "--dist each runs every item on every worker"),
        (["-n", "2", "--dist", "loadgroup"], "--dist loadgroup puts groups into the names"),
        (["--dist", "load", "--tx", "ssh=cluster"], "--tx ssh=cluster: experiments are dealt out"),
        (["-d", "--tx", "2*popen//chdir=elsewhere"], "--tx popen//chdir=elsewhere: experiments"),
    ],
)
def test_what_does_not_go_with_experiments_is_one_line(light, args, said):
    done = light.process(*args)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith(f"ERROR: {said}") and ("leave it out" in line or "--shard" in line)
    assert "Traceback" not in done.stdout + done.stderr and not light.results().exists()


@pytest.mark.parametrize(
    "tx", ["popen", "3*popen", "popen//python=python3.11", "popen//id=a//env:X=1//nice=5"]
)
def test_workers_on_this_machine_are_taken(tx):
    Workers(config(tx=["popen", tx])).check()


@pytest.mark.parametrize(
    "tx", ["ssh=host", "socket=host:8888", "2*popen//via=far", "vagrant_ssh=x"]
)
def test_others_are_refused(tx):
    with pytest.raises(InputError, match="--shard 1/N"):
        Workers(config(tx=["popen", tx])).check()


@pytest.mark.parametrize("alone", [config("no", ["ssh=host"]), SimpleNamespace(option=object())])
def test_without_workers_nothing_is_checked(alone):
    workers = Workers(alone)
    workers.check()
    workers.limit_restarts()
    assert not (workers.there_are or workers.are_dealt_units)
    assert workers.tell_units([], None) == {}


@pytest.mark.parametrize(
    ("dist", "tx", "given", "expected"),
    [
        ("load", ["popen", "2*popen"], None, str(3 * RESTARTS)),
        ("load", ["popen"], "0", "0"),
        ("no", [], None, None),
    ],
)
def test_a_worker_is_replaced_a_few_times(dist, tx, given, expected):
    of = config(dist, tx, given)
    Workers(of).limit_restarts()
    assert of.option.maxworkerrestart == expected


def test_what_killed_runs_have_left_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new = (tmp_path / f"emolib-units-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "gw0.json").write_text("{}", "utf-8")
    os.utime(old, (0, 0))
    cleanups = []
    of = SimpleNamespace(option=SimpleNamespace(), add_cleanup=cleanups.append)
    made = Workers(of).folder
    assert made.is_dir() and new.is_dir() and not old.exists()
    for cleanup in cleanups:
        cleanup()
    assert sorted(tmp_path.iterdir()) == [new]


def test_a_host_without_the_environment_is_given_up(light):
    """A python without site-packages has no pytest: every worker dies as it starts."""
    done = light.process("-d", "--tx", f"popen//python={sys.executable} -S")
    assert done.returncode not in (0, None)
    assert f"maximum crashed workers reached: {RESTARTS}" in done.stdout, done.stdout + done.stderr
