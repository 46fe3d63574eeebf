"""What an intervention edits: heads, MLP units, or the residual stream after layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet, head_set, parse_head
from emolib.inputs.units import LayerUnits, Unit, UnitSet, parse_unit, unit_set


@dataclass(frozen=True, order=True)
class Stream:
    """The residual stream after layer ``layer``, counted from 0: ``resid:2``."""

    layer: int

    def __str__(self) -> str:
        """Return the place's name, ``resid:2``."""
        return f"resid:{self.layer}"


@dataclass(frozen=True)
class StreamSet:
    """Places of the residual stream that one intervention edits together, kept sorted.

    Raises:
        InputError: When the set is empty, names a place twice or a layer below 0.
    """

    streams: tuple[Stream, ...]

    def __post_init__(self) -> None:
        """Sort the places and refuse an empty or repeated one."""
        ordered = tuple(sorted(self.streams))
        if not ordered:
            raise InputError("a set of places needs at least one layer, got none")
        if len(set(ordered)) < len(ordered):
            raise InputError(f"{self} names a layer twice; name each once")
        if ordered[0].layer < 0:
            raise InputError(f"{ordered[0]}: layers are counted from 0")
        object.__setattr__(self, "streams", ordered)

    def __str__(self) -> str:
        """Return the places joined, ``resid:2+resid:3``."""
        return "+".join(map(str, self.streams))

    def __iter__(self) -> Iterator[Stream]:
        """Iterate over the places in order."""
        return iter(self.streams)

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.streams)


Targets = (
    Head
    | HeadSet
    | Unit
    | UnitSet
    | Stream
    | StreamSet
    | Iterable[Head]
    | Iterable[Unit]
    | Iterable[Stream]
)
"""What an intervention edits: heads, units or streams, one, a set or several."""
TargetSet = HeadSet | UnitSet | StreamSet
"""The same as a set."""
Part = Head | LayerUnits | Stream
"""What one call of an edit is given: one head, all units of a set in one layer, or one stream."""
Member = TypeVar("Member", Head, Unit, Stream)


def target_set(targets: Targets) -> TargetSet:
    """Return `targets` as a set of heads, of units or of streams.

    Raises:
        InputError: When they are mixed: each is an intervention of its own.
    """
    if isinstance(targets, (HeadSet, UnitSet, StreamSet)):
        return targets
    if isinstance(targets, (Head, Unit, Stream)):
        return target_set([targets])  # type: ignore[arg-type]
    members: list[Head | Unit | Stream] = list(targets)
    if heads := _all_of(members, Head):
        return head_set(heads)
    if units := _all_of(members, Unit):
        return unit_set(units)
    if streams := _all_of(members, Stream):
        return StreamSet(tuple(streams))
    return head_set(())


def _all_of(members: list[Head | Unit | Stream], kind: type[Member]) -> list[Member]:
    """Return the members that are of a kind, where one is: all have to be."""
    found = [member for member in members if isinstance(member, kind)]
    if found and len(found) < len(members):
        raise InputError(
            f"expected heads, units or streams, got more than one of these "
            f"({', '.join(map(str, members))}); give an intervention on each"
        )
    return found


def parts(targets: TargetSet) -> list[Part]:
    """Return what the edit of a set is called for: head by head, or the units of each layer."""
    if isinstance(targets, UnitSet):
        return [
            LayerUnits(layer, tuple(unit.index for unit in members))
            for layer, members in groupby(targets, key=lambda unit: unit.layer)
        ]
    return list(targets)


def parse_set(text: str) -> HeadSet | UnitSet:
    """Return the heads or units that ``L0H2``, ``0:2``, ``L0H2+L3H5`` or ``L3U77`` names.

    Raises:
        InputError: When `text` is none of these.
    """
    names = re.split(r"[+,]", text)
    try:
        if any("U" in name for name in names):
            return UnitSet(tuple(map(parse_unit, names)))
        return HeadSet(tuple(map(parse_head, names)))
    except InputError as error:
        raise InputError(
            f"{text!r}: {error}; name heads as L0H2, a joint set as L0H2+L3H5, units as L3U77"
        ) from None
