"""``python -m emolib export``: frames for other tools, or a run's results files."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared, name
from emolib.errors import InputError
from emolib.reporting.export import FORMATS


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        parents=[shared.every, shared.out, shared.history],
        help="write frames for other tools, or a run's results files",
    )
    parser.add_argument("--format", choices=FORMATS, default="csv", help="default: csv")
    parser.add_argument("--experiment", type=name, help="this one alone, as in head_ablation")
    parser.add_argument(
        "--columns", type=name, action="append", metavar="NAMES",
        help="these alone, in this order: names or patterns with commas between them, as in "
        "'heads,logit_diff*'; repeatable. default: all; in latex what a paper prints",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> None:
    """Write them, and print where.

    Raises:
        InputError: When columns are asked for of a run's results files.
    """
    from emolib.reporting.export import write_export

    if options.columns is not None and options.format == "files":
        raise InputError("--columns: results files have all of them; leave it out, or take csv")
    asked = {"experiment": options.experiment, "run": options.of_run}
    asked |= {"columns": options.columns or ()}
    made = write_export(results, options.format, options.output_dir, **asked)
    if options.format == "files":
        print(f"{len(made)} files in {options.output_dir or results}")
    else:
        print(*made, sep="\n")
