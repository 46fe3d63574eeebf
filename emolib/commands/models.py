"""``python -m emolib models``: what holds of every architecture, or of one model."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared, name, place
from emolib.errors import InputError


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser("models", help="verify every architecture, or one model")
    parser.add_argument(
        "--profile", type=name, default="demo", help="whose rows by hand (default: demo)"
    )
    parser.add_argument("model", nargs="?", help="verify this model; default: every architecture")
    parser.add_argument("--write", type=place, metavar="FILE", help="write the page, Markdown")
    parser.set_defaults(run=run, results_dir=Path("results"))


def run(options: argparse.Namespace, _: Path) -> None:
    """Print what was verified.

    Raises:
        InputError: When a page is asked for of one model.
    """
    from emolib.methods.verification import HEADERS, verify, verify_types, write_page
    from emolib.reporting.markdown import plain_table

    if options.model is None:
        found = list(verify_types())
        if options.write:
            print(write_page(options.write, found))
            return
        lines = [dict(zip(HEADERS, one.cells(), strict=True)) for one in found]
        print(plain_table(lines))
        counts = [sum(one.runs == kind for one in found) for kind in ("refused", "not built")]
        print(f"{len(found) - sum(counts)} supported, {counts[0]} refused, {counts[1]} not built")
        return
    if options.write:
        raise InputError("--write: the page is of every architecture; leave the model out")
    from emolib.inputs.profiles import load_profile
    from emolib.models.architectures import register_all
    from emolib.models.loading import load
    from emolib.models.sources import find

    register_all(load_profile(options.profile).architectures)
    one = verify(load(find(options.model)))
    print(f"{one.name}: {one.runs}{f' ({one.reason})' if one.reason else ''}", one.row, sep="\n")
    print(*(f"{'ok ' if proof.holds else 'no '} {proof}" for proof in one.proofs), sep="\n")
    print(f"heads: {one.heads}", f"units: {one.units}", f"dla: {one.dla}", sep="\n")
