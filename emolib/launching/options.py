"""``python -m emolib launch``: its options, and what it does with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emolib.errors import InputError
from emolib.launching.command import RunCommand, read_command
from emolib.launching.engines import ENGINES, Needs
from emolib.launching.launch import launch

_MOST = 999_999
"""Shards that a run is cut into, minutes, cores: what --shard takes, and more than there are."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``launch`` to its parser."""
    parser.add_argument("--shards", type=_count, required=True, metavar="N", help="how many parts")
    parser.add_argument(
        "--on", choices=ENGINES, default="local", help="where they run (default: this machine)"
    )
    parser.add_argument("--cpus", type=_count, default=1, help="cores of a shard (default: 1)")
    parser.add_argument("--gpus", type=_count_from_none, default=0, help="GPUs of a shard")
    parser.add_argument(
        "--minutes", type=_count, default=24 * 60, help="how long a shard may take (default: a day)"
    )
    parser.add_argument(
        "--at-once",
        type=_count,
        metavar="N",
        help="how many run at a time (default: as many as there is room for)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="slurm: any option of sbatch, as partition=gpu; ray: address=HOST:PORT; repeatable",
    )
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="default: a folder launch among the results"
    )
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="hand the array to slurm and end; merge when it is done",
    )
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="-- pytest …", help="the command of the run"
    )


def run(options: argparse.Namespace) -> tuple[RunCommand, list[str] | None]:
    """Run the shards that were asked for.

    Args:
        options: As `add_options` has them read.

    Returns:
        The command, and a line for each shard that did not end well; None in their place where
        nobody waited for them.

    Raises:
        InputError: When the command is none, or the engine cannot be had.
    """
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    command = read_command(words, Path.cwd())
    needs = Needs(
        options.cpus, options.gpus, options.minutes, options.at_once, _settings(options.set)
    )
    logs = (options.logs or command.results / "launch").absolute()
    lines = launch(
        command, options.shards, options.on, needs, logs, sys.stdout, wait=not options.no_wait
    )
    return command, lines


def _settings(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise InputError(f"--set: expected NAME=VALUE, as in partition=gpu, got {text!r}")
        found[name] = value if equals else "true"
    return found


def _count(text: str) -> int:
    return _from(1, text)


def _count_from_none(text: str) -> int:
    return _from(0, text)


def _from(least: int, text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST))
    if not is_number or not least <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {least} to {_MOST}, got {text[:40]!r}"
        )
    return int(text)
