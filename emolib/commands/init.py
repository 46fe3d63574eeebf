"""``emolib init``: a folder to begin in, with one experiment, a profile and pytest's settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from emolib.commands.shared import Commands, Shared, place
from emolib.errors import InputError
from emolib.files import data_root, write_text

_PROFILE = "mine"
# Behind the name of a file of code, which as data is no module of the package.
_SUFFIX = ".txt"


def add(commands: Commands, _: Shared) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "init", help="begin a folder of your own: one experiment, a profile, pytest's settings"
    )
    parser.add_argument("folder", type=place, metavar="DIR", help="made where it is not there")
    parser.set_defaults(run=run, results_dir=Path("results"), profile=_PROFILE)


def run(options: argparse.Namespace, _: Path) -> None:
    """Write the files, and print what to type next.

    Raises:
        InputError: When one of the files is there already, or they cannot be written.
    """
    folder: Path = options.folder
    source = data_root() / "start"
    files = sorted(path for path in source.rglob("*") if path.is_file())
    names = [str(path.relative_to(source)).removesuffix(_SUFFIX) for path in files]
    if there := [str(folder / name) for name in names if (folder / name).exists()]:
        raise InputError(
            f"{folder}: expected a folder without {', '.join(names)}, got one with "
            f"{', '.join(there)}; name another folder, or move them away"
        )
    for name, path in zip(names, files, strict=True):
        write_text(folder / name, path.read_text(encoding="utf-8"))
        print(folder / name)
    print(f"\nnext:\n  cd {folder}\n  pytest --profile {_PROFILE}")
