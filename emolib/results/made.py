"""Files that were made of rows: whether they are still what would be made of them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from emolib.results.provenance import package_hash


def made_of(items: array[int], files: Iterable[Path]) -> str:
    """Return what to note of files that were made of items.

    Args:
        items: The numbers of the items in the index.
        files: The files.
    """
    return json.dumps({"of": _hash(items), "files": {str(path): _stat(path) for path in files}})


def is_made_of(noted: str, items: array[int], files: Iterable[Path]) -> bool:
    """Tell whether files were made of items, by this code, and are as they were.

    Args:
        noted: What `made_of` returned of them, perhaps with others.
        items: The items as they are now.
        files: The files.
    """
    state = json.loads(noted)
    now = {str(path): _stat(path) for path in files}
    then = {name: tuple(stat) for name, stat in state["files"].items() if stat}
    return bool(state["of"] == _hash(items)) and now.items() <= then.items()


def _hash(items: array[int]) -> str:
    # What makes files of the same rows may be other code by now.
    return sha256(items.tobytes()).hexdigest() + package_hash()


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
