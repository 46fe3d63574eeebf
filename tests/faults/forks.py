"""Runs that end as nobody planned: started, struck and watched from outside; see `zygote`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_UGLY = re.compile(
    r"Traceback \(most recent|INTERNALERROR|Exception ignored|Segmentation|^E  ", re.M
)


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: Its exit code; of one that a signal ended, the signal's number below 0.
        out: All that it printed.
        seconds: How long it ran.
        hung: Whether it had to be ended.
        struck: How many of the signals that it was to get found it still running.
        left: How many of its processes were there still, five seconds after it.
    """

    code: int
    out: str
    seconds: float
    hung: bool
    struck: int
    left: int

    @property
    def errors(self) -> list[str]:
        """The lines in which it says what it refuses."""
        return [line for line in self.out.splitlines() if line.startswith("ERROR: ")]

    @property
    def ugly(self) -> str:
        """What of a traceback or a crash it printed; nothing where it printed none."""
        found = _UGLY.search(self.out)
        return self.out[max(0, found.start() - 200) : found.start() + 3000] if found else ""


def rude(done: Ended) -> Iterator[str]:
    """Yield what no run may do, whatever befell it."""
    if done.hung:
        yield f"hung: {done.out[-1000:]}"
    if done.left:
        yield f"{done.left} processes were left"
    if done.ugly:
        yield done.ugly


@dataclass
class Forks:
    """Starts runs in a folder.

    Attributes:
        env: The environment that they get.
    """

    env: dict[str, str]
    _process: subprocess.Popen[str]
    _count: int = field(default=0)

    def run(
        self,
        cwd: Path,
        *args: str,
        program: str = "pytest",
        limit: float = 60,
        strike: Sequence[tuple[float, int, str]] = (),
        point: tuple[Sequence[str], int, int] | None = None,
        met: Path | None = None,
        user: int = 0,
        limits: dict[str, int] | None = None,
        env: dict[str, str] | None = None,
    ) -> Ended:
        """Run a program to its end.

        Args:
            cwd: The folder to run in.
            args: What is typed behind its name.
            program: ``pytest`` or ``emolib``.
            limit: Seconds after which it counts as hung.
            strike: Signals that it gets: after how many seconds, which, and whom it hits
                (``main``, ``all``, or the number of a worker).
            point: Files, by how their paths end; at which of the lines run in them (0: none); and
                the signal that the run sends itself there.
            met: A file for the lines that were run in those files.
            user: The user that it is run as, by number; 0 is this one, -1 this one too, to whom
                permissions of files apply as to any other.
            limits: Limits of the system, ``{"RLIMIT_FSIZE": 1000}``.
            env: Variables beside those that all runs get.
        """
        out = cwd.parent / f".{cwd.name}.out"
        out.unlink(missing_ok=True)
        told: dict[str, Any] = {
            "cwd": str(cwd), "args": args, "program": program, "limit": limit,
            "strike": sorted(strike), "point": point, "met": met and str(met), "user": user,
            "limits": limits or {}, "env": self.env | {"PWD": str(cwd)} | (env or {}),
            "out": str(out),
        }  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(told), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        text = out.read_text("utf-8", "replace") if out.exists() else ""
        out.unlink(missing_ok=True)
        return Ended(out=text, **answer)


@contextmanager
def forks(*, heavy: bool = False) -> Iterator[Forks]:
    """Give a starter of runs.

    Args:
        heavy: Whether runs are to find torch and transformers imported.
    """
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    env = {name: os.environ[name] for name in kept if name in os.environ} | {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugin'}",
        # Others' plugins take longer to load than most runs here to run.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "xdist.plugin,pytest_emolib",
    }
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("zygote.py")), *["heavy"] * heavy],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        try:
            yield Forks(env, process)
        finally:
            process.stdin.close()
