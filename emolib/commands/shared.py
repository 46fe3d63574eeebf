"""What commands share: options that several take, and the type of a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from emolib.errors import InputError
from emolib.files import check_place

_DIGITS = 18
"""Digits beyond which no whole number is one that anybody asks for."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its parser."""
Run = Callable[[argparse.Namespace, Path], int | None]
"""From the options and the results folder of the profile to an exit code, None for 0."""


class Shared(NamedTuple):
    """Options that several commands take, each a parent for their parsers.

    Attributes:
        every: Whose results.
        out: Where to.
        scores: Scores files in place of those of the results.
        chosen: One emotion, how many heads.
        history: What one run recorded.
    """

    every: argparse.ArgumentParser
    out: argparse.ArgumentParser
    scores: argparse.ArgumentParser
    chosen: argparse.ArgumentParser
    history: argparse.ArgumentParser


def shared_options() -> Shared:
    """Return the options that several commands take."""
    every, out, scores, chosen, history = (
        argparse.ArgumentParser(add_help=False) for _ in range(5)
    )
    every.add_argument("--profile", type=name, default="demo", help="whose results (default: demo)")
    every.add_argument("--results-dir", type=place, default=Path("results"))
    out.add_argument("--output-dir", type=place, help="default: a folder beside the results")
    scores.add_argument(
        "--head-scores", type=Path, action="append", default=[], help="a scores file; repeatable"
    )
    chosen.add_argument("--emotion", type=name, help="this emotion alone")
    chosen.add_argument("--top-n", type=positive, default=10, help="heads shown (default: 10)")
    history.add_argument(
        "--run", type=name, dest="of_run", metavar="ID",
        help="what this run recorded or took from the store, by how its id begins; default: all "
        "that ran under the last settings",
    )  # fmt: skip
    return Shared(every, out, scores, chosen, history)


def name(text: str) -> str:
    """Return what was typed for a name; nothing would pass for the default."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a name, got nothing; leave the option out")
    return text


def place(text: str) -> Path:
    """Return where to write, of what was typed."""
    try:
        check_place(Path(name(text)))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def positive(text: str) -> int:
    """Return a whole number from 1 of what was typed."""
    if not text.isdecimal() or len(text) > _DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)
