"""MLP units, sets of units, and the specs that name them on a command line.

A unit is one coordinate of the input of the MLP down-projection: after the activation, and in
gated MLPs after the product (docs/science.md, "Objects").
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from emolib.errors import InputError
from emolib.inputs.heads import NUMBER, Top

UNIT_FORMS = "3:1021 | 3:1021,3:77 | top:10 | random:10"
_UNIT = re.compile(rf"\s*(?:{NUMBER}:{NUMBER}|L{NUMBER}U{NUMBER})\s*", re.ASCII)
_MANY = re.compile(rf"\s*(top|random):{NUMBER}\s*", re.ASCII)


@dataclass(frozen=True, order=True)
class Unit:
    """Unit ``L{layer}U{index}``, both counted from 0."""

    layer: int
    index: int

    def __str__(self) -> str:
        """Return the unit's name, ``L3U1021``."""
        return f"L{self.layer}U{self.index}"


@dataclass(frozen=True)
class UnitSet:
    """A set of units that one intervention edits together, kept sorted.

    Raises:
        InputError: When the set is empty or names a unit twice.
    """

    units: tuple[Unit, ...]

    def __post_init__(self) -> None:
        """Sort the units and refuse an empty or repeated one."""
        ordered = tuple(sorted(self.units))
        if not ordered:
            raise InputError("a unit set needs at least one unit, got none")
        for left, right in pairwise(ordered):
            if left == right:
                raise InputError(f"unit {left} is named twice in one set; name each unit once")
        object.__setattr__(self, "units", ordered)

    def __str__(self) -> str:
        """Return the units joined, ``L3U77+L3U1021``."""
        return "+".join(map(str, self.units))

    def __iter__(self) -> Iterator[Unit]:
        """Iterate over the units in order."""
        return iter(self.units)

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.units)


@dataclass(frozen=True, order=True)
class LayerUnits:
    """The units of a set that are of one layer: what one call of an edit is given.

    Attributes:
        layer: The layer.
        indices: Which of its units, ascending, k of them.
    """

    layer: int
    indices: tuple[int, ...]

    def __str__(self) -> str:
        """Return the units joined, ``L3U77+L3U1021``."""
        return "+".join(map(str, self))

    def __iter__(self) -> Iterator[Unit]:
        """Iterate over the units in order."""
        return (Unit(self.layer, index) for index in self.indices)


def unit_set(units: Unit | UnitSet | Iterable[Unit]) -> UnitSet:
    """Return `units` as a set, whether one unit, a set or several units were given."""
    if isinstance(units, UnitSet):
        return units
    return UnitSet((units,) if isinstance(units, Unit) else tuple(units))


def parse_unit(text: str) -> Unit:
    """Return the unit that ``3:1021`` or ``L3U1021`` names.

    Raises:
        InputError: When `text` is neither.
    """
    match = _UNIT.fullmatch(text)
    if not match:
        raise InputError(f"expected a unit such as 3:1021 or L3U1021, got {text!r}")
    layer, index = (int(group) for group in match.groups() if group is not None)
    return Unit(layer, index)


def check_unit_spec(spec: str) -> None:
    """Check the form of a unit spec without a model.

    Raises:
        InputError: When `spec` is none of the forms `UNIT_FORMS`.
    """
    if many := _MANY.fullmatch(spec):
        if int(many[2]) == 0:
            raise InputError(f"unit spec {spec!r}: expected a count of at least 1, got 0")
        return
    try:
        UnitSet(tuple(parse_unit(part) for part in spec.split(",")))
    except InputError as error:
        raise InputError(f"unit spec {spec!r}: {error}; the forms are {UNIT_FORMS}") from None


def expand_units(
    spec: str,
    n_layers: int,
    n_units: int,
    *,
    model: str = "the model",
    seed: int = 0,
) -> list[UnitSet] | list[Top]:
    """Return the interventions that a unit spec stands for, each as the set it edits.

    Args:
        spec: One of `UNIT_FORMS`. ``3:5`` and ``0:0,3:5`` give one (joint) set; ``random:10``
            gives one set of one unit per unit, ``top:10`` one rank per unit.
        n_layers: Layers of the model.
        n_units: Units per layer.
        model: The model's name, for messages.
        seed: For ``random:N``; the same seed draws the same units.

    Raises:
        InputError: When the spec is malformed, names a unit the model lacks, or asks for more
            units than there are.
    """
    check_unit_spec(spec)
    shape = f"{model} has {n_layers} layers (0..{n_layers - 1}) of {n_units} units"
    many = _MANY.fullmatch(spec)
    if many is None:
        named = UnitSet(tuple(parse_unit(part) for part in spec.split(",")))
        for unit in named:
            if unit.layer >= n_layers or unit.index >= n_units:
                raise InputError(
                    f"unit spec {spec!r}: {unit} does not exist, {shape} (0..{n_units - 1}); "
                    "name a unit inside that range"
                )
        return [named]
    kind, number = many[1], int(many[2])
    total = n_layers * n_units
    if number > total:
        raise InputError(
            f"unit spec {spec!r}: {number} units asked for, {shape}, {total} in all; ask for fewer"
        )
    match kind:
        case "top":
            return [Top(rank) for rank in range(1, number + 1)]
        case "random":
            # A string seed: hash() of a tuple differs from one process to the next.
            draw = random.Random(f"{seed}:{n_layers}x{n_units} units")
            chosen = sorted(draw.sample(range(total), number))
            return [UnitSet((Unit(*divmod(place, n_units)),)) for place in chosen]
        case _:
            raise AssertionError(f"unit spec {spec!r}: the form {kind} is not expanded here")
