"""``python -m emolib report``: write the report."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        parents=[shared.every, shared.out, shared.chosen, shared.history],
        help="write the report",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> None:
    """Write it, and print where."""
    from emolib.reporting.report import write_report

    asked = {"emotion": options.emotion, "top_n": options.top_n, "run": options.of_run}
    print(write_report(results, options.output_dir, **asked))
