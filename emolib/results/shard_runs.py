"""What a store knows of shards that wrote into it: which there are of a whole, and which lack."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from emolib.inputs.shards import Shard, parse_shard
from emolib.results.runs import Run

# Of a command line, what shards of one whole may differ in, where a value follows.
_OWN = ("--shard", "--results-dir", "-n", "--numprocesses")


@dataclass(frozen=True)
class ShardSet:
    """The shards of one whole.

    Attributes:
        command: The command line that they have in common, as it would be typed.
        of: How many there are to be.
        runs: By its number the last run of each that there is.
    """

    command: str
    of: int
    runs: dict[int, Run]

    @property
    def missing(self) -> list[int]:
        """The numbers of those that never wrote."""
        return [number for number in range(1, self.of + 1) if number not in self.runs]

    @property
    def unfinished(self) -> list[int]:
        """The numbers of those that did not record all of their items."""
        return [number for number, run in sorted(self.runs.items()) if run.lacks != 0]

    def again(self, number: int) -> str:
        """Return the command that runs one of them, to where all others went."""
        places = {_value(run.command, "--results-dir") for run in self.runs.values()}
        place = places.pop() if len(places) == 1 else None
        into = f" {shlex.join([f'--results-dir={place}'])}" if place else ""
        return f"{self.command}{into} --shard {Shard(number, self.of)}"

    def complaints(self) -> list[str]:
        """Return a line for each that is missing or did not record all of its items."""
        lines = []
        for number in sorted({*self.missing, *self.unfinished}):
            shard, run = Shard(number, self.of), self.runs.get(number)
            if run is None:
                how = "is missing"
            elif run.lacks is None:
                how = f"did not come to its items (on {run.host})"
            else:
                how = f"lacks {run.lacks} of its {run.expected} items (on {run.host})"
            lines.append(f"shard {shard} {how}; run: {self.again(number)}")
        return lines


def shard_sets(runs: Iterable[Run]) -> list[ShardSet]:
    """Return the shards among runs by the whole that they are of, that of each command begun last.

    Args:
        runs: In order of their beginning.
    """
    found: dict[str, ShardSet] = {}
    for run in runs:
        if not run.shard:
            continue
        shard, command = parse_shard(run.shard), common(run.command)
        if command not in found or found[command].of != shard.of:
            found[command] = ShardSet(command, shard.of, {})
        found[command].runs[shard.number] = run
    return list(found.values())


def common(command: str) -> str:
    """Return what a command line has in common with those of the other shards.

    >>> common("/usr/bin/pytest experiments --shard 3/8 --results-dir=/scratch/3 -k joy")
    'pytest experiments -k joy'
    """
    words = shlex.split(command)
    name = PurePath(words[0]).name if words else ""
    # python -m pytest has the path of pytest's __main__.py in the place of its name.
    kept = ["pytest" if name in ("__main__.py", "py.test", "pytest.exe") else name]
    left = iter(words[1:])
    for word in left:
        flag, equals, _ = word.partition("=")
        if flag in _OWN:
            if not equals:
                next(left, None)
        elif word != "--fresh" and not (word.startswith("-n") and word[2:].isdecimal()):
            kept.append(word)
    return shlex.join(kept)


def _value(command: str, flag: str) -> str | None:
    """Return the value of an option in a command line, None where it is not given."""
    words = shlex.split(command)
    found = [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]
    found += [value for word, value in pairwise(words) if word == flag]
    return found[-1] if found else None
