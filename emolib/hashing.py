"""Short content hashes, the identity of weights, tokenizers, prompts and code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_LENGTH = 16
_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


def hash_files(paths: Iterable[Path]) -> str:
    """Return a hash (16 hex digits of SHA-256) of the names and the contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_LENGTH]


def hash_tree(root: Path, pattern: str) -> str:
    """Return a hash of the files below a folder that fit a pattern: their paths and contents."""
    digest = hashlib.sha256()
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob(pattern))
    for name in names:
        digest.update(name.encode() + b"\0")
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()[:_LENGTH]


def hash_json(value: Any) -> str:
    """Return a hash (16 hex digits of SHA-256) of a JSON value, whatever its key order."""
    return hashlib.sha256(_JSON.encode(value).encode()).hexdigest()[:_LENGTH]
