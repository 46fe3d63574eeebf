"""``python -m emolib``: what can be done with results after a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emolib.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code, 2 for wrong input as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m emolib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    plots = commands.add_parser("plots", help="draw the results of a profile")
    plots.add_argument("--profile", default="demo", help="whose results (default: demo)")
    plots.add_argument("--results-dir", type=Path, default=Path("results"))
    plots.add_argument(
        "--head-scores", type=Path, action="append", help="a scores file; repeatable"
    )
    plots.add_argument("--output-dir", type=Path, help="default: plots/heads beside the results")
    plots.add_argument("--score", default="atp_ig", help="which score (default: atp_ig)")
    options = parser.parse_args(arguments)
    try:
        _plots(options)
    except InputError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return 0


def _plots(options: argparse.Namespace) -> None:
    from emolib.outputs import results_folder
    from emolib.plots import head_reaction_heatmap

    results = results_folder(options.results_dir, options.profile)
    files = options.head_scores or sorted((results / "alignment").glob("head_scores_*.json"))
    if not files:
        raise InputError(
            f"{results / 'alignment'}: no head_scores_*.json; run `pytest "
            "experiments/exp_head_screening.py` first, or name a file with --head-scores"
        )
    folder: Path = options.output_dir or results / "plots/heads"
    print(head_reaction_heatmap(files, folder / "head_reaction_heatmap.png", score=options.score))


if __name__ == "__main__":
    sys.exit(main())
