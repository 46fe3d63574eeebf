"""``python -m emolib launch``: run shards on an engine, then join them."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared
from emolib.launching.options import add_options


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser("launch", help="run shards on an engine, then join them")
    add_options(parser)
    parser.set_defaults(run=run, results_dir=Path(), profile="")


def run(options: argparse.Namespace, _: Path) -> int:
    """Run them, and print what came of it; 1 where a shard failed."""
    from emolib.launching.options import run as launched

    command, lines = launched(options)
    if lines is None:
        print(f"when it is done: {command.merge}")
        return 0
    print(*lines, sep="\n", end="\n" * bool(lines))
    from emolib.reporting.merge import merge

    print(*merge([], command.results, command.profile, mixed=False), sep="\n")
    return 1 if lines else 0
