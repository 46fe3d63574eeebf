"""Files and what they are called: where data lie, safe names, content hashes, whole writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from emolib.errors import UNSEEN, InputError

PACKAGE = Path(__file__).parent
"""The folder of the library's code."""
_LENGTH = 16
_UNFINISHED = ".part"
# Seconds after which nobody writes to an unfinished file any more.
_ABANDONED = 3600.0
_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs",
}  # fmt: skip
# Ends of lines and controls of ASCII too; bytes of no encoding are halves of characters.
_OBEYED = re.compile(f"[\x00-\x1f\x85\u2028\u2029{UNSEEN}]")
# Lists whose members are written on a line each.
_ENTRIES = ("prompts", "scores", "studies", "effects")


def data_root() -> Path:
    """Return the folder of the project's own data, in a checkout or inside the wheel."""
    installed = PACKAGE / "data"
    return installed if installed.is_dir() else PACKAGE.parent / "data"


def results_folder(base: Path, profile: str) -> Path:
    """Return the folder of a profile's results, whether it goes by its name or its path."""
    return base / safe(profile.rpartition("/")[2].removesuffix(".toml"))


def command(name: str, results: Path) -> str:
    """Return the command of ``python -m emolib`` on the results of a profile, as one types it.

    Args:
        name: The command with its own options: ``view --open``.
        results: What `results_folder` gave.
    """
    typed = f"python -m emolib {name}"
    if results.name != "demo":
        typed += f" --profile {shlex.quote(results.name)}"
    if results.parent.resolve() != Path("results").resolve():
        typed += f" --results-dir {shlex.quote(str(results.parent))}"
    return typed


def cache_folder() -> Path:
    """Return the user's folder for what can be made again at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "emolib"


def is_local(path: Path) -> bool:
    """Tell whether a path is on a disk of this machine, as far as the system says.

    Locks on a network's file systems, and on those that a program serves, are not to be trusted.
    """
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace")
    except OSError:
        return True
    absolute = path.resolve()
    kinds = {
        Path(where.replace("\\040", " ")): kind
        for where, kind in (line.split()[1:3] for line in mounts.splitlines())
    }
    found = next((kinds[place] for place in (absolute, *absolute.parents) if place in kinds), "")
    return not (found.startswith("fuse.") or found in _NETWORK)


def safe(name: str) -> str:
    """Return a name fit for a file: letters, digits and ``._+-`` are kept.

    >>> safe("Eleuther/AI gpt")
    'Eleuther-AI-gpt'
    """
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "unnamed"


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


def unfinished(path: Path) -> Path:
    """Return what a file is called until it is whole; it lies in the same folder, hidden."""
    # A name has room for no more than 255 bytes.
    kept = path.name.encode()[:200].decode(errors="ignore")
    return path.with_name(f".{kept}.{os.getpid()}{_UNFINISHED}")


def sweep(folder: Path) -> list[Path]:
    """Remove what killed processes have left unfinished in a folder, and return it.

    Files younger than an hour may be somebody's who still writes.
    """
    before = time.time() - _ABANDONED
    found = []
    for path in folder.rglob(f".*{_UNFINISHED}"):
        with suppress(OSError):
            if path.is_file() and path.lstat().st_mtime < before:
                path.unlink()
                found.append(path)
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all.

    Raises:
        InputError: When it cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        InputError: When it cannot be written.
    """
    with written(path) as file:
        file.write(content)


def check_place(path: Path) -> None:
    """Check that the name of a place to write to can stand in a line: in messages, in the store.

    Raises:
        InputError: When it has bytes that are no text, or what a terminal obeys.
    """
    if found := _OBEYED.search(str(path)):
        raise InputError(
            f"{path}: has {found[0]!a} in it; name a place without controls, and with no "
            "bytes but UTF-8"
        )


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which takes the place of the one at a path when the block ends.

    Raises:
        InputError: When it cannot be written.
    """
    check_place(path)
    # A file takes the place of a file: not of a device, a FIFO or a link that leads to none.
    if not path.name or (os.path.lexists(path) and not path.is_file()):
        what = "a folder" if path.is_dir() else "no regular file"
        raise InputError(
            f"{path}: cannot be written (there is {what}); move it away, or name another place"
        )
    temporary = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); make room for it, or choose another "
            "--results-dir"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def to_json(value: Any, indent: str = "\n", *, entries: bool = False) -> str:
    """Return JSON for people: a line per key, and per prompt or head, whose entries stay whole.

    >>> print(to_json({"n": 1, "prompts": [{"text": "a", "kl": [0.5, 1]}]}))
    {
     "n": 1,
     "prompts": [
      {"text": "a", "kl": [0.5, 1]}
     ]
    }

    Args:
        value: What `json` takes, without NaN.
        indent: What a line of this depth begins with.
        entries: Whether the members of this list are entries.
    """
    deeper = indent + " "
    if isinstance(value, dict) and value:
        members = [
            f"{_compact(name)}: {to_json(member, deeper, entries=name in _ENTRIES)}"
            for name, member in value.items()
        ]
        return f"{{{deeper}{f',{deeper}'.join(members)}{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        members = [_compact(member) if entries else to_json(member, deeper) for member in value]
        return f"[{deeper}{f',{deeper}'.join(members)}{indent}]"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
