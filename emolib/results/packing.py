"""Packing: closed segments become gzip files, in members that can be read each by itself."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zlib import crc32

from emolib.errors import InputError
from emolib.files import is_local
from emolib.results.events import Walk
from emolib.results.index import Index
from emolib.results.segments import PACKED, PLAIN, Segment, lock, segments

# Bytes in a member: what is unpacked for one item, and the less the larger it is to be.
_MEMBER = 1 << 18
_LEVEL = 6


@dataclass(frozen=True)
class Packed:
    """What became of a segment.

    Attributes:
        name: The segment.
        before: Bytes it had.
        after: Bytes it has.
        why_not: Why it stays as it is; empty where it was packed.
    """

    name: str
    before: int
    after: int
    why_not: str = ""


def pack(folder: Path) -> Iterator[Packed]:
    """Pack the segments of a store that nobody writes to, and yield what became of each.

    Each is there whole at every moment: the packed file is written beside it, read back and
    compared before it takes its place. What a killed run left half-written is left out.

    Args:
        folder: The results folder.

    Raises:
        InputError: When there is no store, a line is damaged, or a file cannot be written.
    """
    if not segments(folder):
        raise InputError(f"{folder}: no records to pack; run `pytest experiments` first")
    index = Index(folder)
    try:
        ended = {state.name for state in index.ask.states() if state.ended}
        for segment in list(index.segments.values()):
            if segment.is_packed:
                continue
            size = segment.state[0]
            if why := _why_not(segment, segment.name in ended):
                yield Packed(segment.name, size, size, why)
            else:
                yield Packed(segment.name, size, _pack(index, segment))
    finally:
        index.close()


def _why_not(segment: Segment, ended: bool) -> str:
    if ended:
        return ""
    is_being_written = segment.is_being_written
    if is_being_written:
        return "a run is writing to it"
    if is_being_written is None:
        return "its run did not end, and there are no locks here to tell whether it goes on"
    if segment.is_old or is_local(segment.path):
        return ""
    # On a network's file system a run on another machine may have it open.
    return "its run did not end, and may go on on another machine"


def _pack(index: Index, segment: Segment) -> int:
    """Pack a segment and return how many bytes it has then."""
    target = segment.path.with_name(segment.path.name.removesuffix(PLAIN) + PACKED)
    temporary = target.with_name(f".{target.name}")
    try:
        if temporary.is_symlink():
            temporary.unlink()
        with temporary.open("ab") as file:
            if lock(file, exclusive=True) is False:
                raise InputError(f"{target}: another process is packing it; wait for it")
            # What a killed process has left.
            file.truncate(0)
            file.seek(0)
            starts, check = _write(file, segment)
            if check != _check(Segment(segment.name, temporary)):
                raise InputError(f"{target}: it does not read back as written; see to the disk")
            temporary.replace(target)
            packed = Segment(segment.name, target)
            index.packed(segment, packed, starts)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{target}: cannot be written ({error.strerror}); {segment.path} is as it was"
        ) from None
    return packed.state[0]


def _write(file: IO[bytes], segment: Segment) -> tuple[dict[int, int], int]:
    """Write the members of a segment; return where they begin, before and after, and a checksum."""
    starts: dict[int, int] = {}
    place = check = 0
    for data in _parts(segment):
        starts[place] = file.tell()
        place += len(data)
        check = crc32(data, check)
        file.write(gzip.compress(data, _LEVEL, mtime=0))
    file.flush()
    os.fsync(file.fileno())
    return starts, check


def _check(packed: Segment) -> int:
    """Return the checksum of all that a packed segment holds."""
    check = 0
    for _, data in packed.members():
        check = crc32(data, check)
    return check


def _parts(segment: Segment) -> Iterator[bytes]:
    """Yield what goes into each member, cut between items."""
    walk = Walk(str(segment.path), old=segment.is_old)
    with segment.path.open("rb") as file:
        begin = 0
        for _ in walk.through(segment.lines()):
            if walk.read - begin >= _MEMBER:
                yield file.read(walk.read - begin)
                begin = walk.read
        if walk.read > begin:
            yield file.read(walk.read - begin)
