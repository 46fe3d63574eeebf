"""``emolib``, or ``python -m emolib``: before a run a folder to begin in, after it its results."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emolib.commands import (
    columns,
    compare,
    diff,
    export,
    init,
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
from emolib.documents import refused
from emolib.errors import InputError
from emolib.files import results_folder

# In the order of ``--help``.
_COMMANDS = (
    init, plots, report, view, compare, diff, columns, export, runs, pack, models, merge, launch,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code, 2 for wrong input as argparse does."""
    options = _parser().parse_args(arguments)
    try:
        code: int | None = options.run(
            options, results_folder(options.results_dir, options.profile)
        )
        sys.stdout.flush()
    except InputError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.EPIPE:
            print(f"ERROR: {refused(error)}", file=sys.stderr)
            return 2
        # Who reads has enough, as `head` does; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code or 0


def _parser() -> argparse.ArgumentParser:
    # Of the console command and of `python -m emolib` argparse would say the file's name.
    name = "python -m emolib" if Path(sys.argv[0]).name == "__main__.py" else "emolib"
    parser = argparse.ArgumentParser(
        prog=name, description="Begin a folder of experiments, and work with results after a run."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = shared_options()
    for command in _COMMANDS:
        command.add(commands, shared)
    return parser


if __name__ == "__main__":
    sys.exit(main())
