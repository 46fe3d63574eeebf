"""``python -m emolib plots``: draw the results."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plots",
        parents=[shared.every, shared.out, shared.scores, shared.chosen, shared.history],
        help="draw the results",
    )
    for name in ("--ablation-file", "--patching-file"):
        parser.add_argument(
            name, type=Path, action="append", default=[], help="a results file; repeatable"
        )
    parser.add_argument("--score", default="atp_ig", help="which score (default: atp_ig)")
    parser.add_argument("--format", default="png", help="png (default), pdf or svg")
    parser.add_argument(
        "--style", default="screen", help="screen (default); paper: as wide as columns are, 7–8 pt"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> None:
    """Draw, and print the files."""
    from emolib.reporting.plots import draw

    made = draw(
        results,
        options.output_dir,
        head_scores=options.head_scores,
        ablation_files=options.ablation_file,
        patching_files=options.patching_file,
        emotion=options.emotion,
        top_n=options.top_n,
        score=options.score,
        run=options.of_run,
        kind=options.format,
        style=options.style,
    )
    print(*made, sep="\n")
