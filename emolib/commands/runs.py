"""``python -m emolib runs``: what was run, and when."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser("runs", parents=[shared.every], help="list what was run, and when")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace, results: Path) -> None:
    """Print the runs."""
    from emolib.reporting.markdown import plain_table
    from emolib.reporting.runs import runs

    print(plain_table(runs(results)))
