"""``python -m emolib merge``: join the results of shards, or of several folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared, name, place


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser("merge", help="join the results of shards, or of several folders")
    parser.add_argument(
        "places", type=Path, nargs="*", metavar="DIR",
        help="a results folder to bring over; none where all shards wrote into one",
    )  # fmt: skip
    parser.add_argument(
        "--profile", type=name, default="demo", help="whose results (default: demo)"
    )
    parser.add_argument(
        "--into", type=place, dest="results_dir", default=Path("results"), metavar="DIR",
        help="the results folder where all is to be (default: results)",
    )  # fmt: skip
    parser.add_argument(
        "--mixed", action="store_true", help="even where they stand on different things"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> None:
    """Join them, and print what came."""
    from emolib.reporting.merge import merge

    lines = merge(options.places, results, options.profile, mixed=options.mixed)
    print(*lines, sep="\n")
