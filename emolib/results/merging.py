"""Results of several folders brought together: whole segments, copied as they are, once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emolib.errors import InputError
from emolib.files import results_folder, unfinished
from emolib.results.records import Store
from emolib.results.rows import RESTORE, Row
from emolib.results.segments import PACKED, PLAIN, RECORDS, Segment, segments

_CHUNK = 1 << 20


def find_results(place: Path, profile: str) -> Path:
    """Return the results folder of a profile that a path names: itself, or the one in it.

    Raises:
        InputError: When there is none.
    """
    for folder in (place, results_folder(place, profile)):
        if segments(folder):
            return folder
    raise InputError(
        f"{place}: no results there, nor any of the profile {profile} in it; name a results "
        "folder, and its profile with --profile"
    )


def bring(source: Path, target: Store) -> list[str]:
    """Copy the segments of a results folder that a store lacks, or has less of; return their names.

    Each appears whole and at once. A store of the older form has no segments: of it the items that
    are not there yet are recorded.

    Args:
        source: The results folder.
        target: A store that is open for writing.

    Raises:
        InputError: When two segments of one run say different things, or one cannot be copied.
    """
    there = segments(target.folder)
    brought = []
    for name, segment in segments(source).items():
        if segment.is_old:
            brought += [name] * _record(source, target)
        elif name not in there or _has_more(segment, there[name]):
            _copy(segment, target.folder)
            brought.append(name)
    return brought


def _record(source: Path, target: Store) -> bool:
    store = Store(source)
    new = [key for key in store if key not in target]
    for key in new:
        target.append(store[key])
    return bool(new)


def _copy(segment: Segment, folder: Path) -> None:
    place = folder / RECORDS / segment.path.name
    # A name with a dot is no segment's: nobody reads what is half there.
    hidden = unfinished(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(segment.path, hidden)
        hidden.replace(place)
        other = place.with_name(segment.name + (PLAIN if segment.is_packed else PACKED))
        other.unlink(missing_ok=True)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise InputError(
            f"{place}: cannot be written ({error.strerror}); choose another folder with --into"
        ) from None


def _has_more(segment: Segment, there: Segment) -> bool:
    """Tell whether a segment goes on where the one of the same run that is there ends.

    Raises:
        InputError: When they are not the same as far as both go.
    """
    mine, theirs = _bytes(segment), _bytes(there)
    left, right = b"", b""
    while True:
        left, right = left or next(mine, b""), right or next(theirs, b"")
        both = min(len(left), len(right))
        if left[:both] != right[:both]:
            raise InputError(
                f"{segment.path} and {there.path} are of one run and say different things; "
                f"{RESTORE}"
            )
        if not both:
            return bool(left)
        left, right = left[both:], right[both:]


def _bytes(segment: Segment) -> Iterator[bytes]:
    if segment.is_packed:
        yield from (data for _, data in segment.members())
        return
    with segment.path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


@dataclass(frozen=True)
class Overlap:
    """What was recorded more than once.

    Attributes:
        items: How many items.
        texts: How many of these have texts that differ.
        most: The largest difference of a number.
        metric: The metric and the item that it is of; empty where none differs.
    """

    items: int = 0
    texts: int = 0
    most: float = 0.0
    metric: str = ""

    def line(self) -> str:
        """Return what is said of it."""
        apart = f"their numbers differ by {self.most:.2g} at most ({self.metric})"
        same = "their numbers are the same"
        texts = f", texts of {self.texts} differ" if self.texts else ""
        plural = "item was" if self.items == 1 else "items were"
        return (
            f"{self.items} {plural} recorded more than once: {apart if self.most else same}{texts}"
        )


def overlap(recorded: Iterable[Sequence[Sequence[Row]]]) -> Overlap:
    """Return how far recordings of the same items are from each other.

    Args:
        recorded: Of each item that was recorded more than once its rows of each time.
    """
    items = texts = 0
    most, where = 0.0, ""
    for first, *others in recorded:
        items += 1
        differing = False
        for rows in others:
            for one, two in zip(first, rows, strict=False):
                differing = differing or one.texts != two.texts
                for metric, apart in _apart(one, two):
                    if apart > most:
                        most, where = apart, f"{metric} of {one.item}"
        texts += differing
    return Overlap(items, texts, most, where)


def _apart(one: Row, two: Row) -> Iterator[tuple[str, float]]:
    for name, vector in one.vectors.items():
        other = two.vectors.get(name, [])
        if len(other) == len(vector):
            yield name, max((abs(a - b) for a, b in zip(vector, other, strict=True)), default=0.0)
    for name in one.values:
        left, right = one.mean(name), two.mean(name)
        if left is not None and right is not None:
            yield name, abs(left - right)
