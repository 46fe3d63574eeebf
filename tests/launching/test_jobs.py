"""A job runs its shard where it is told to, and ends with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emolib.inputs.shards import Shard
from emolib.launching.jobs import Job

ARGUMENTS = ("--profile", "small", "-p", "no:cacheprovider")
SLOW = """
import os, pathlib, time


def exp_slow(record):
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(60)
    record(n=1)
"""
STARTER = """
import sys
from pathlib import Path
from emolib.inputs.shards import Shard
from emolib.launching.jobs import Job
Job(Shard(1, 1), tuple(sys.argv[1:]), Path.cwd(), Path("log")).run()
"""


def job(folder, **fields):
    made = {"arguments": ARGUMENTS, "folder": folder, "log": folder / "logs/one.log"} | fields
    return Job(Shard(1, 2), **made)


def test_a_job_runs_its_shard_and_keeps_what_it_prints(folder):
    (folder / "exp_light.py").write_text(
        "import os\ndef exp_light(emotion, heads, record): record(n=int(os.environ['NUMBER']))\n"
    )
    made = job(folder, environment={"NUMBER": "7"})
    assert made.run() == 0
    assert "shard 1/2: 4 of 8 items" in made.log.read_text()
    assert made.command == ["pytest", *ARGUMENTS, "--shard", "1/2"]
    assert made.run() == 0
    assert made.log.read_text().count("test session starts") == 2


def test_how_pytest_ends_is_how_the_job_does(folder):
    assert job(folder, arguments=(*ARGUMENTS, "--head-spec", "99:0")).run() == 4


def test_a_folder_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match="shards need a folder that all machines see"):
        job(folder / "elsewhere").run()


def test_a_run_ends_with_its_starter(folder):
    """Killed, it has no time to say goodbye: the run notices by itself."""
    (folder / "exp_light.py").write_text(SLOW)
    starter = subprocess.Popen([sys.executable, "-c", STARTER, *ARGUMENTS], cwd=folder)
    pid = folder / "pid"
    until(lambda: pid.exists() and pid.read_text())
    run = int(pid.read_text())
    assert run != starter.pid and is_alive(run)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    until(lambda: not is_alive(run))


def until(holds, seconds=30.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One whose parent was killed may wait for another to take note of its end.
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
