"""``python -m emolib view``: write the page to explore a study in, and show it."""

from __future__ import annotations

import argparse
import math
import webbrowser
from pathlib import Path

from emolib.commands.shared import Commands, Shared, name


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "view",
        parents=[shared.every, shared.out, shared.history],
        help="write one HTML page to explore the results in",
    )
    parser.add_argument("--emotion", type=name, help="this emotion alone")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument(
        "--max-mb", type=_megabytes, default=10.0, metavar="MB", help="how large it may become: "
        "beyond, the texts that changed least are left out (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="of the regression check (default: the one "
        "in the results)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> None:
    """Write it, print where, and open it where that is asked for."""
    from emolib.reporting.page.page_writer import write_page

    path = write_page(
        results,
        options.output_dir,
        max_mb=options.max_mb,
        run=options.of_run,
        emotion=options.emotion,
        baseline=options.baseline,
    )
    print(path)
    if options.open and not webbrowser.open(path.resolve().as_uri()):
        print(f"no browser to open it with; its address is {path.resolve().as_uri()}")


def _megabytes(text: str) -> float:
    """Return a size above 0 of what was typed."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"expected megabytes above 0, as in 10, got {text!r}")
    return found
