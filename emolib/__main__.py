"""``python -m emolib``: what can be done with results after a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from emolib.commands import (
    columns,
    compare,
    export,
    launch,
    merge,
    models,
    pack,
    plots,
    report,
    runs,
    view,
)
from emolib.commands.shared import shared_options
from emolib.errors import InputError
from emolib.files import results_folder

# In the order of ``--help``.
_COMMANDS = (plots, report, view, compare, columns, export, runs, pack, models, merge, launch)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code, 2 for wrong input as argparse does."""
    options = _parser().parse_args(arguments)
    try:
        code: int | None = options.run(
            options, results_folder(options.results_dir, options.profile)
        )
    except InputError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m emolib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = shared_options()
    for command in _COMMANDS:
        command.add(commands, shared)
    return parser


if __name__ == "__main__":
    sys.exit(main())
