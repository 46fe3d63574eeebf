"""``python -m emolib columns``: what columns and settings mean."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from emolib.commands.shared import Commands, Shared, name, place
from emolib.errors import InputError


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser("columns", help="say what columns and settings mean")
    parser.add_argument(
        "name", nargs="*", help="a column or a setting, or a pattern of some ('keyword*'); "
        "default: list them all",
    )  # fmt: skip
    parser.add_argument(
        "--experiment", type=name, help="what they mean in this one, as in head_circuit"
    )
    parser.add_argument("--write", type=place, metavar="FILE", help="write the page, Markdown")
    parser.set_defaults(run=run, profile="demo", results_dir=Path("results"))


def run(options: argparse.Namespace, _: Path) -> None:
    """Print what they mean, or write the page.

    Raises:
        InputError: When a name is none of them, a page is asked for of some, or an experiment is
            named and none of its columns.
    """
    from emolib.reporting.glossary_page import find, listed, told, write_page

    if options.write:
        if options.name:
            raise InputError("--write: the page is of every column; leave the names out")
        print(write_page(options.write))
        return
    width = shutil.get_terminal_size().columns
    if options.experiment and not options.name:
        raise InputError(
            f"--experiment {options.experiment}: expected a column of it, as in `columns top1 "
            f"--experiment {options.experiment}`; name one, or a pattern: '*'"
        )
    if not options.name:
        print(listed(width))
        return
    found = [one for name in options.name for one in find(name, options.experiment)]
    print("\n\n".join(told(one, width) for one in found))
