"""A process that has imported what runs need, and forks one for each run that it is told of.

Started by `forks`. It reads a JSON object a line, and answers each with one when that run has
ended. Importing takes longer than most runs here, and a run that forks from this is a process like
any other: it can be killed, be another user, hang and crash.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

LIGHT = (
    "pytest", "_pytest.terminal", "_pytest.junitxml", "_pytest.assertion.rewrite", "numpy",
    "pytest_emolib.session", "pytest_emolib.lab", "pytest_emolib.reports",
    "pytest_emolib.writing", "emolib.__main__", "emolib.results.records", "emolib.stats.summary",
    "emolib.reporting.tables", "emolib.reporting.findings",
)  # fmt: skip
HEAVY = ("torch", "transformers", "emolib.models.loading", "emolib.methods.screening")
_PAUSE = 0.002


def main() -> None:
    """Import, then serve until there is nothing more to read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in LIGHT + (HEAVY if "heavy" in sys.argv else ()):
        importlib.import_module(name)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), file=answers, flush=True)


def serve(told: dict[str, Any]) -> dict[str, Any]:
    """Run what is told in a process of its own, and tell how it ended."""
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        run(told)
    strike = told["strike"]
    killed, hung, status = 0, False, 0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        passed = time.monotonic() - begin
        if killed < len(strike) and passed >= strike[killed][0]:
            aim(strike[killed], pid)
            killed += 1
        if passed > told["limit"]:
            hung = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
    seconds = time.monotonic() - begin
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "hung": hung,
        "struck": killed,
        "left": left(pid),
    }


def aim(strike: list[Any], pid: int) -> None:
    """Send a signal to the run, to all its processes, or to one of its workers."""
    _, number, whom = strike
    if whom == "all":
        os.killpg(pid, number)
    elif whom == "main":
        os.kill(pid, number)
    else:
        workers = of_group(pid) - {pid}
        if workers:
            chosen = sorted(workers)
            os.kill(chosen[int(whom) % len(chosen)], number)


def of_group(group: int) -> set[int]:
    """Return the processes of a group that are not dead."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(its_group) == group and state not in "ZX":
                found.add(int(entry.name))
    return found


def left(group: int) -> int:
    """Return how many processes of a run are there still, five seconds after it; end them."""
    end = time.monotonic() + 5
    while (there := of_group(group)) and time.monotonic() < end:
        time.sleep(0.02)
    if there:
        os.killpg(group, signal.SIGKILL)
    return len(there)


def run(told: dict[str, Any]) -> None:
    """Become the run."""
    code, at = 99, None
    try:
        os.setsid()
        out = os.open(told["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(told["cwd"])
        os.environ.clear()
        os.environ.update(told["env"])
        sys.path[0] = told["cwd"]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name, most in told["limits"].items():
            resource.setrlimit(getattr(resource, name), (most, most))
        if told["user"] < 0:
            powerless()
        elif told["user"]:
            os.setgroups([])
            os.setgid(told["user"])
            os.setuid(told["user"])
        if told["point"]:
            at = At(*told["point"])
            sys.settrace(at)
        code = entered(told["program"], told["args"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.settrace(None)
        if at is not None and told["met"]:
            Path(told["met"]).write_text("\n".join(at.met))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 120
        os._exit(code)


def powerless() -> None:
    """Have permissions of files apply to this process, whoever it is run as."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = (ctypes.c_uint32 * 2)(0x20080522, 0)
    # Effective, permitted and inheritable rights, the lower halves of all three first.
    rights = (ctypes.c_uint32 * 6)()
    assert libc.capget(version, rights) == 0
    for at in range(2):
        # To override permissions, to search and read, to act as the owner.
        rights[at] &= ~0b1110
    assert libc.capset(version, rights) == 0


def entered(program: str, args: list[str]) -> int:
    """Enter a program as its command does."""
    sys.argv = [program, *args]
    if program == "emolib":
        from emolib.__main__ import main as command

        return command()
    import pytest

    return int(pytest.main())


class At:
    """Sends this process a signal at the n-th line that is run of some files; of n = 0, counts.

    Attributes:
        met: The lines that were run, in order: ``records.py:120``.
    """

    def __init__(self, files: list[str], n: int, number: int) -> None:
        """Count from 1.

        Args:
            files: How their paths end.
            n: At which line.
            number: The signal.
        """
        self._files, self._n, self._number = tuple(files), n, number
        self.met: list[str] = []

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        """Trace the functions of these files."""
        return self._line if frame.f_code.co_filename.endswith(self._files) else None

    def _line(self, frame: Any, event: str, arg: Any) -> Any:
        if event == "line":
            self.met.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
            if len(self.met) == self._n:
                sys.settrace(None)
                os.kill(os.getpid(), self._number)
        return self._line


if __name__ == "__main__":
    main()
