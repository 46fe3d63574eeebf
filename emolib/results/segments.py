"""The files of the store: segments, plain and packed; who may write, and who is writing.

A segment has one writer, the run whose id is its name; nobody writes to it afterwards.
"""

from __future__ import annotations

import io
import os
import secrets
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from emolib.errors import InputError
from emolib.files import safe, unfinished
from emolib.results.rows import RESTORE

RECORDS = "records"
"""The folder of segments in a results folder."""
OLD = "records.jsonl"
"""The file that held all rows before there were segments."""
OLD_NAME = "0"
"""What it is called among segments; it comes before all of them."""
PLAIN, PACKED = ".jsonl", ".jsonl.gz"
_LOCK = "lock"
_STAMP = "%Y%m%dT%H%M%S%f"
_CHUNK = 1 << 20
_GZIP = 31
# Bytes that a line or a member may have, which is read whole.
_LONGEST = 1 << 28


@dataclass(frozen=True)
class Segment:
    """A file of rows.

    Attributes:
        name: The id of the run that wrote it, `OLD_NAME` for a ``records.jsonl``.
        path: The file.
    """

    name: str
    path: Path

    @property
    def is_packed(self) -> bool:
        """Whether its bytes are in members of gzip."""
        return self.path.name.endswith(PACKED)

    @property
    def is_old(self) -> bool:
        """Whether it holds rows without checksums."""
        return self.name == OLD_NAME

    @cached_property
    def state(self) -> tuple[int, int]:
        """Size of the file in bytes and when it was written last, in ns; once."""
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def lines(self, start: int = 0) -> Iterator[bytes]:
        """Yield the lines of a plain segment from a place on, in bytes."""
        with self.path.open("rb") as file:
            file.seek(start)
            while line := file.readline(_LONGEST + 1):
                if len(line) > _LONGEST:
                    raise InputError(f"{self.path}: a line of more than {_LONGEST >> 20} MiB")
                yield line

    def members(self) -> Iterator[tuple[int, bytes]]:
        """Yield where each member of a packed segment begins in the file, and what it holds.

        Raises:
            InputError: When one is damaged.
        """
        with self.path.open("rb") as file:
            rest, count = b"", 0
            while chunk := rest or file.read(_CHUNK):
                count += 1
                begin = file.tell() - len(chunk)
                data, rest = self._member(file, chunk, count)
                yield begin, data

    def member(self, offset: int) -> bytes:
        """Return what the member holds that begins at an offset in the file."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return self._member(file, file.read(_CHUNK), 0)[0]

    def _member(self, file: IO[bytes], chunk: bytes, number: int) -> tuple[bytes, bytes]:
        """Return a member and what of the file was read beyond it."""
        unpacking, parts = zlib.decompressobj(_GZIP), []
        which, length = f"member {number}" if number else "a member", 0
        try:
            while True:
                parts.append(unpacking.decompress(chunk, _LONGEST + 1 - length))
                length += len(parts[-1])
                if length > _LONGEST:
                    raise InputError(
                        f"{self.path}: {which} is of more than {_LONGEST >> 20} MiB; {RESTORE}"
                    )
                if unpacking.eof:
                    return b"".join(parts), unpacking.unused_data
                if not (chunk := file.read(_CHUNK)):
                    raise InputError(f"{self.path}: {which} is cut off; {RESTORE}")
        except zlib.error as error:
            raise InputError(f"{self.path}: {which} is damaged ({error}); {RESTORE}") from None

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of a plain segment."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    @property
    def is_being_written(self) -> bool | None:
        """Whether a process on this machine has it open for writing; None where none can tell."""
        with self.path.open("rb") as file:
            free = lock(file, exclusive=False)
        return None if free is None else not free


def segments(folder: Path) -> dict[str, Segment]:
    """Return the segments in a results folder by name, in order of their beginning."""
    found: dict[str, Segment] = {}
    for ending in (PACKED, PLAIN):
        # Of a segment that is there twice, packing was broken off: the plain file is whole.
        old = folder / OLD.replace(PLAIN, ending)
        if old.is_file():
            found[OLD_NAME] = Segment(OLD_NAME, old)
        for path in (folder / RECORDS).glob(f"*{ending}"):
            # What is no file, as a pipe, would have who reads it wait.
            if not path.name.startswith(".") and path.is_file():
                name = path.name.removesuffix(ending)
                found[name] = Segment(name, path)
    return dict(sorted(found.items()))


def member_lines(members: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the lines in members; one never goes over the end of its member."""
    for _, data in members:
        yield from io.BytesIO(data)


def new_name(after: str | None) -> str:
    """Return an id for a run that begins now: its time in UTC, its host, four random digits.

    Args:
        after: The last segment that there is; the id comes after it although clocks differ.
    """
    now = datetime.now(UTC)
    if after and after != OLD_NAME:
        now = max(now, _time_of(after) + timedelta(microseconds=1))
    host = safe(socket.gethostname())[:20].replace("_", "-")
    return f"{now.strftime(_STAMP)}-{host}-{secrets.token_hex(2)}"


def _time_of(name: str) -> datetime:
    try:
        return datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


class Writer:
    """The one writer of a segment, while its run lasts.

    Attributes:
        segment: Its segment.
        size: Bytes written.
        line: Lines written.
        failed: Whether it could not be written to the last time, or nobody can tell: nothing more
            is.
    """

    def __init__(self, folder: Path, first: bytes, name: str) -> None:
        """Begin a segment.

        Args:
            folder: The results folder.
            first: Its first line.
            name: The id of the run.

        Raises:
            InputError: When it cannot be written.
        """
        self.segment = Segment(name, folder / RECORDS / f"{name}{PLAIN}")
        self.size, self.line, self.failed = 0, 0, False
        # Nobody sees it before it is locked and has its first line; but where there are no locks
        # (Windows), what is open cannot be given another name.
        visible = self.segment.path
        path = visible if os.name == "nt" else unfinished(visible)
        with _writable(path):
            # Without a buffer: what cannot be written now must not be tried again later.
            self._file = path.open("xb", buffering=0)
            try:
                lock(self._file, exclusive=True)
                self.write(first, 1)
                if path != visible:
                    path.rename(visible)
            except BaseException:
                self._file.close()
                path.unlink()
                raise

    def write(self, data: bytes, lines: int) -> None:
        """Append lines, so that they outlive this process; all of them or none.

        Raises:
            InputError: When they cannot be written.
        """
        before = self.size, self.line
        with _writable(self.segment.path):
            try:
                written = 0
                while written < len(data):
                    written += self._file.write(data[written:])
                self.size, self.line = self.size + len(data), self.line + lines
            except BaseException:
                # Ctrl-C too: what was recorded before stays whole.
                self.failed = True
                self.size, self.line = before
                with suppress(OSError):
                    self._file.truncate(self.size)
                raise

    def close(self) -> None:
        """Let go of the segment, its content on the disk.

        Raises:
            InputError: When it does not get there.
        """
        try:
            with _writable(self.segment.path):
                # Once a run: rows outlive the process without it, a power cut they do not.
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


class Gate:
    """Who may write into a results folder: one run, or any number of shards side by side.

    Where the file system knows no locks, everybody may: segments have one writer each.
    """

    def __init__(self, folder: Path) -> None:
        """Hold where; lock nothing yet."""
        self._folder = folder
        self._file: IO[bytes] | None = None

    def check(self, *, shared: bool = False) -> None:
        """Check that nobody writes who does not write side by side with us.

        Raises:
            InputError: When somebody does.
        """
        path = self._folder / RECORDS / _LOCK
        if path.is_file() and os.access(path, os.W_OK):
            with path.open("r+b") as file:
                self._enter(file, shared)

    def enter(self, *, shared: bool) -> None:
        """Begin to write.

        Raises:
            InputError: When another run is writing, or the folder cannot be written.
        """
        path = self._folder / RECORDS / _LOCK
        with _writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b")
        try:
            self._enter(file, shared)
        except InputError:
            file.close()
            raise
        self._file = file

    def _enter(self, file: IO[bytes], shared: bool) -> None:
        if lock(file, exclusive=not shared) is False:
            raise InputError(
                f"{self._folder / RECORDS}: another run is writing to it; wait for it, or choose "
                "another folder with --results-dir"
            )

    def leave(self) -> None:
        """End writing."""
        if self._file is not None:
            self._file.close()
            self._file = None


def lock(file: IO[Any], *, exclusive: bool) -> bool | None:
    """Lock a file until it is closed and tell whether that is allowed: nobody else holds it.

    None where there are no locks.
    """
    try:
        import fcntl
    except ImportError:  # No such locks on Windows: two runs at once are the user's to avoid.
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # None on this file system.
        return None
    return True


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Say that a file cannot be written in the words of the project."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be written ({error.strerror}); make room for "
            "it, or choose another folder with --results-dir"
        ) from None
