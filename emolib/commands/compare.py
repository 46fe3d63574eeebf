"""``python -m emolib compare``: put models side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared
from emolib.errors import InputError


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        parents=[shared.every, shared.out, shared.scores],
        help="put models side by side in a table",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, results: Path) -> None:
    """Print and write what models have in common.

    Raises:
        InputError: When there is nothing to compare.
    """
    from emolib.reporting.comparison import compare, overlap, write_comparison
    from emolib.reporting.experiments import ABLATED, PATCHED
    from emolib.reporting.markdown import plain_table
    from emolib.results.abridged import abridged
    from emolib.results.item_files import read_scores
    from emolib.results.records import Store

    store = Store(results)
    of = ("logit_diff",)
    ablated = list(abridged(store.whole_rows(ABLATED), of, of))
    lines = compare(ablated, list(abridged(store.rows(PATCHED), summaries=of)))
    files = options.head_scores or sorted((results / "alignment").glob("head_scores_*.json"))
    ranks = overlap([read_scores(path) for path in files])
    if not lines and not ranks:
        raise InputError(
            f"{results}: nothing to compare; run `pytest experiments` first, or name scores files "
            "of two models of one shape with --head-scores"
        )
    print(*(plain_table(table) for table in (lines, ranks) if table), sep="\n\n", end="\n\n")
    print(*write_comparison(lines, ranks, options.output_dir or results / "tables"), sep="\n")
