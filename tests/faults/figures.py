"""Writes the table of docs/reliability.md from the figures that whole campaigns have left.

`make faults` runs them and then this.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from campaign import FIGURES, ROOT
from tabulate import tabulate

PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"


def table(found: Iterable[dict[str, Any]]) -> str:
    """Return the table of campaigns: what was tried, how much, what went wrong."""
    lines = [
        (
            one["name"],
            f"{one['tried']:,}",
            len(one["bad"]),
            ", ".join(f"{name} {count:,}" for name, count in one["said"].items()),
        )
        for one in sorted(found, key=lambda one: one["name"])
    ]
    head = ("campaign", "tried", "went wrong", "of them")
    return tabulate(lines, head, tablefmt="github", disable_numparse=True)


def main() -> None:
    """Put the table into the page."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(FIGURES.glob("*.json"))]
    if not found:
        sys.exit(f"{FIGURES}: no figures; run `make faults`")
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    total = sum(one["tried"] for one in found)
    said = f"Last run: {when}, {total:,} cases.\n\n{table(found)}\n"
    PAGE.write_text(f"{before}{BEGIN}{said}{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
