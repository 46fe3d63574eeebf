"""What the command of a run says of itself: pytest's arguments, and where its results go."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from emolib.errors import InputError
from emolib.files import results_folder

_PYTEST = (["pytest"], ["py.test"], ["python", "-m", "pytest"], ["python3", "-m", "pytest"])
# What has no sense in a part of a run.
_REFUSED = {
    "--shard": "launch gives each run its own",
    "--plan": "run it without launch",
    "--collect-only": "run it without launch",
    "--effects-save": "give it to a run of all items, after merge",
    "--effects-compare": "give it to a run of all items, after merge",
}


@dataclass(frozen=True)
class RunCommand:
    """A command of pytest.

    Attributes:
        arguments: Those of pytest, where results go named among them by a whole path.
        base: Where results go, a folder per profile inside.
        profile: The profile's name.
        workers: Processes of pytest-xdist; 1 where it has none.
    """

    arguments: tuple[str, ...]
    base: Path
    profile: str
    workers: int

    @property
    def results(self) -> Path:
        """The results folder of the profile."""
        return results_folder(self.base, self.profile)

    @property
    def merge(self) -> str:
        """The command that joins the shards of the run."""
        return shlex.join(
            ["python", "-m", "emolib", "merge", "--profile", self.profile, "--into", str(self.base)]
        )


def read_command(words: Sequence[str], here: Path) -> RunCommand:
    """Return what a command says.

    Args:
        words: The command, ``pytest experiments …``.
        here: Where it would be typed.

    Raises:
        InputError: When it is none of pytest, or asks for what only a whole run can give.
    """
    start = next((name for name in _PYTEST if list(words[: len(name)]) == name), None)
    if start is None:
        got = " ".join(words) or "nothing"
        raise InputError(
            f"launch: expected the command of a run behind --, as in -- pytest experiments, "
            f"got {got!r}"
        )
    arguments = list(words[len(start) :])
    for flag, instead in _REFUSED.items():
        if any(word == flag or word.startswith(f"{flag}=") for word in arguments):
            raise InputError(f"launch: {flag} is not for a part of a run: {instead}")
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--profile")
    parser.add_argument("-n", "--numprocesses")
    known, others = parser.parse_known_args(arguments)
    base, profile, workers = here / known.results_dir, known.profile, known.numprocesses
    others += [f"--profile={profile}"] * (profile is not None)
    others += [f"--numprocesses={workers}"] * (workers is not None)
    return RunCommand(
        (*others, f"--results-dir={base}"),
        base,
        profile or "demo",
        int(workers) if workers and workers.isdecimal() and int(workers) else 1,
    )


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong as an InputError."""
        raise InputError(f"launch: {message}")
