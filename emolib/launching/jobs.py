"""What is started on an engine: a shard's run, plain data that any machine can take up."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emolib.inputs.shards import Shard

_ATTACHED = "emolib.launching.attached"


@dataclass(frozen=True)
class Job:
    """The run of one shard.

    Attributes:
        shard: Which one.
        arguments: Those of pytest, without the shard.
        folder: Where it runs.
        log: Where what it prints goes, behind what is there.
        environment: Variables that are set for it over those of the machine that it runs on.
    """

    shard: Shard
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """What a person would type to run it alone."""
        return ["pytest", *self.arguments, "--shard", str(self.shard)]

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data, for who has no emolib to unpack it with yet."""
        return {
            "shard": (self.shard.number, self.shard.of),
            "arguments": self.arguments,
            "folder": str(self.folder),
            "log": str(self.log),
            "environment": dict(self.environment),
        }

    def run(self) -> int:
        """Run it here and return pytest's exit code.

        Raises:
            FileNotFoundError: When its folder is not on this machine.
        """
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"{self.folder} is not on {platform.node()}: shards need a folder that all "
                "machines see"
            )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", _ATTACHED, *self.command[1:]],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as child,
        ):
            return child.wait()


def run_plain(job: dict[str, Any]) -> int:
    """Run a job here that has come as `Job.to_plain` gives it; return pytest's exit code."""
    places = {name: Path(job[name]) for name in ("folder", "log")}
    return Job(**job | places | {"shard": Shard(*job["shard"])}).run()
