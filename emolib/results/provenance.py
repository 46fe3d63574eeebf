"""Where a number came from: versions, machine settings and the commit of the working tree."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from emolib.files import PACKAGE, hash_files, hash_tree

_LIBRARIES = (
    "emolib",
    "torch",
    "transformers",
    "tokenizers",
    "gguf",
    "numpy",
    "scipy",
    "vaderSentiment",
)


@cache
def versions() -> dict[str, str]:
    """Return the versions of python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def git_commit(folder: Path) -> str | None:
    """Return the commit checked out in a folder, with ``+`` when files differ from it."""
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


@cache
def package_hash(folder: Path | None = None) -> str:
    """Return the content hash of all code of a package, emolib's own by default.

    Modules of every folder below count, by their paths: an edit anywhere makes other numbers
    possible, and rows of the code before must not stand in for them.
    """
    return hash_tree(folder or PACKAGE, "*.py")


def code_hash(files: Iterable[Path]) -> str:
    """Return the content hash of an experiment's files."""
    return hash_files(path for path in files if path.is_file())
