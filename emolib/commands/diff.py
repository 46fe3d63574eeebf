"""``python -m emolib diff``: put two runs beside each other."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from emolib.commands.shared import Commands, Shared, name, place, positive


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="put two runs beside each other: which effects moved, what differs",
        description="Which effects moved from A to B, by the rule of the regression check, and "
        "what differs in what the two stand on.",
    )
    parser.add_argument("a", metavar="A", help="a results folder, or a run of --results-dir by id")
    parser.add_argument("b", metavar="B", help="the other; effects are judged by those of A")
    parser.add_argument(
        "--profile", type=name, default="demo", help="whose results (default: demo)"
    )
    parser.add_argument("--results-dir", type=place, default=Path("results"))
    parser.add_argument(
        "--metric", type=name, action="append", default=[], metavar="NAME",
        help="compare this one wherever it has a value per prompt; repeatable; default: "
        "logit_diff, or what an experiment records in its place",
    )  # fmt: skip
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--html", type=place, metavar="FILE", help="write a page, too")
    parser.add_argument(
        "--top-n", type=positive, default=24, help="effects of a kind shown (default: 24)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 where an effect has drifted"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> int:
    """Print how two runs differ; return 1 where that is asked for and an effect has drifted."""
    from emolib.reporting.run_pairs import diff, side_of
    from emolib.reporting.run_pairs_page import write_page
    from emolib.reporting.run_pairs_told import as_json, lines

    a, b = (side_of(typed, results, options.profile) for typed in (options.a, options.b))
    found = diff(a, b, options.metric)
    if options.format == "json":
        print(as_json(found))
    else:
        width = shutil.get_terminal_size((80, 24)).columns
        print(*lines(found, width, options.top_n), sep="\n")
    if options.html:
        write_page(options.html, found)
        if options.format == "table":
            print(options.html)
    return int(options.strict and "drifted" in found.counts)
