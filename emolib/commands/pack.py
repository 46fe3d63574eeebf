"""``python -m emolib pack``: make the records smaller."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared


def add(commands: Commands, shared: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pack", parents=[shared.every], help="make the records smaller, with gzip"
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace, results: Path) -> None:
    """Pack, and print what that saved."""
    from emolib.reporting.markdown import plain_table
    from emolib.results.packing import pack
    from emolib.results.segments import segments

    found = list(pack(results))
    if not found:
        print(f"nothing to pack: {len(segments(results))} segments are packed already")
        return
    lines = [
        {"segment": one.name, "MB": one.before / 1e6, "packed": one.why_not or one.after / 1e6}
        for one in found
    ]
    print(plain_table(lines), end="\n\n")
    packed = [one for one in found if not one.why_not]
    before, after = sum(one.before for one in packed), sum(one.after for one in packed)
    print(f"{len(packed)} segments packed: {before / 1e6:.1f} MB are {after / 1e6:.1f} MB now")
