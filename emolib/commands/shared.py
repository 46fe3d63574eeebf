"""What commands share: options that several take, and the type of a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its parser."""
Run = Callable[[argparse.Namespace, Path], int | None]
"""From the options and the results folder of the profile to an exit code, None for 0."""


class Shared(NamedTuple):
    """Options that several commands take, each a parent for their parsers.

    Attributes:
        every: Whose results, and where to.
        scores: Scores files in place of those of the results.
        chosen: One emotion, how many heads.
        history: What one run recorded.
    """

    every: argparse.ArgumentParser
    scores: argparse.ArgumentParser
    chosen: argparse.ArgumentParser
    history: argparse.ArgumentParser


def shared_options() -> Shared:
    """Return the options that several commands take."""
    every, scores, chosen, history = (argparse.ArgumentParser(add_help=False) for _ in range(4))
    every.add_argument("--profile", default="demo", help="whose results (default: demo)")
    every.add_argument("--results-dir", type=Path, default=Path("results"))
    every.add_argument("--output-dir", type=Path, help="default: a folder beside the results")
    scores.add_argument(
        "--head-scores", type=Path, action="append", default=[], help="a scores file; repeatable"
    )
    chosen.add_argument("--emotion", help="this emotion alone")
    chosen.add_argument("--top-n", type=positive, default=10, help="heads shown (default: 10)")
    history.add_argument(
        "--run", dest="of_run", metavar="ID", help="what this run recorded or took from the store, "
        "by how its id begins; default: all that ran under the last settings",
    )  # fmt: skip
    return Shared(every, scores, chosen, history)


def positive(text: str) -> int:
    """Return a whole number from 1 of what was typed."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)
