"""From a command to its shards on an engine, their progress in a line, and how they ended."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from emolib.errors import InputError
from emolib.inputs.shards import Shard
from emolib.launching.command import RunCommand
from emolib.launching.engines import Engine, Needs, engine
from emolib.launching.jobs import Job

# What an engine whose machines have an environment of their own is to take over from here.
_TAKEN = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "PYTEST_ADDOPTS",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
    "PYTEST_PLUGINS",
    "PYTHONPATH",
)
_EVERY = 1.0
"""Seconds between two looks at the shards."""
_LOGGED = 8192
"""Bytes at the end of a log in which the reason of its end is looked for."""


def launch(
    command: RunCommand,
    shards: int,
    on: str,
    needs: Needs,
    logs: Path,
    shown: TextIO,
    *,
    wait: bool = True,
) -> list[str] | None:
    """Run the shards of a run on an engine; return a line for each that did not end well.

    Args:
        command: The run.
        shards: How many.
        on: The engine's name.
        needs: What each shard has.
        logs: Where what they print goes, and files of the engine's own.
        shown: Where their progress is told.
        wait: Whether to wait for them; without, None is returned once they are handed over.

    Raises:
        InputError: When the engine is not installed or cannot be reached, or ends its jobs with
            this process and is not to be waited for.
    """
    jobs = jobs_of(command, shards, needs, logs)
    for job in jobs:
        # Of a launch before: by its log a shard is known to have begun.
        job.log.unlink(missing_ok=True)
    made = engine(on, needs, logs / on)
    if not wait and not made.stays:
        made.stop()
        raise InputError(f"--no-wait: --on {on} ends its shards with this process; leave it out")
    try:
        shown.write(f"{shards} shards on {made.start(jobs)}; logs: {logs}\n")
        if not wait:
            return None
        lines = complaints(watch(made, jobs, shown), jobs)
    except BaseException:
        made.stop()
        raise
    made.stop()
    return lines


def jobs_of(command: RunCommand, shards: int, needs: Needs, logs: Path) -> list[Job]:
    """Return the jobs of a run's shards.

    Args:
        command: The run.
        shards: How many.
        needs: What each has.
        logs: Where what they print goes.
    """
    environment = {name: os.environ[name] for name in _TAKEN if name in os.environ}
    # More threads than cores that it was given would stand in each other's way.
    threads = max(1, needs.cpus // command.workers)
    environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
    digits = len(str(shards))
    return [
        Job(
            Shard(number, shards),
            command.arguments,
            Path.cwd(),
            logs / f"shard-{number:0{digits}}-of-{shards}.log",
            environment,
        )
        for number in range(1, shards + 1)
    ]


def watch(engine: Engine, jobs: Sequence[Job], shown: TextIO) -> dict[Shard, int | str]:
    """Wait until all jobs have ended, a line telling how many have; return how they did.

    Args:
        engine: It has started them.
        jobs: The jobs.
        shown: Where the line goes.
    """
    started, last = time.monotonic(), ""
    in_place = shown.isatty()
    while True:
        ended = engine.ended()
        line = progress(ended, jobs)
        if in_place:
            clock = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - started))
            shown.write(f"\r{line} · {clock}".ljust(78))
        elif line != last:
            shown.write(line + "\n")
        last = line
        shown.flush()
        if len(ended) == len(jobs):
            shown.write("\n" * in_place)
            return ended
        time.sleep(_EVERY)


def progress(ended: Mapping[Shard, int | str], jobs: Sequence[Job]) -> str:
    """Return how many shards have ended, run and wait.

    Args:
        ended: How those ended that have.
        jobs: All of them; the log of one that has begun is there.
    """
    well = sum(code == 0 for code in ended.values())
    begun = sum(job.shard not in ended and job.log.exists() for job in jobs)
    counts = {
        "running": begun,
        "waiting": len(jobs) - len(ended) - begun,
        "failed": len(ended) - well,
    }
    others = [f"{count} {name}" for name, count in counts.items() if count]
    return ", ".join([f"{well}/{len(jobs)} shards done", *others])


def complaints(ended: Mapping[Shard, int | str], jobs: Sequence[Job]) -> list[str]:
    """Return a line for each shard that did not end well, with what runs it again.

    Args:
        ended: How they ended.
        jobs: All of them.
    """
    lines = []
    for job in jobs:
        code = ended[job.shard]
        if code == 0:
            continue
        how = f"ended with {code}" if isinstance(code, int) else f"was lost: {code}"
        said = _reason(job.log)
        lines.append(
            f"shard {job.shard} {how}{f' ({said})' if said else ''}; {job.log}; again: "
            f"{shlex.join(job.command)}"
        )
    return lines


def _reason(log: Path) -> str:
    """Return the last line of a log that begins with ERROR, empty where there is none."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOGGED))
        lines = file.read().decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.startswith("ERROR")), "")
    return ""
