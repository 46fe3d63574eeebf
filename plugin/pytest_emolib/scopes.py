"""Which items are one piece of work: computed together, and dealt out to one worker of ``-n``.

Items of one function, model and emotion are a scope. Where one is more than its share of a run it
is cut, where nothing is computed twice by that: into kinds of ablation and parameters of its own,
which are computed apart anyway, and these into blocks of layers, since a sweep is resumed from the
first layer that it edits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from emolib.inputs.heads import Top
from emolib.inputs.profiles import Profile
from emolib.results.rows import group
from pytest_emolib.cases import Case
from pytest_emolib.fixture_table import FIXTURES, shares_much
from pytest_emolib.items import case_of, own_parameters

PIECES = 2
"""A scope is cut where it is more than a worker's part of a run divided by this."""
FEWEST = 8
"""Items that a piece has on average: fewer are done before a worker has the model in memory."""
POSITIONS = 8
"""Runs of an item that patches, both ways at four positions."""
FITS = 25
"""About how many runs fitting the constants of an item takes as long as."""


class Together(NamedTuple):
    """What items have in common that are computed together."""

    function: str
    model: str | None
    emotion: str | None
    ablation: str | None
    own: tuple[tuple[str, str], ...]

    @property
    def scope(self) -> str:
        """What they have in common with the other kinds of their function."""
        return f"{self.function}[{self.model or ''}][{self.emotion or ''}]"

    @property
    def kind(self) -> str:
        """What sets them apart from these."""
        return "".join(f"[{part}]" for part in (self.ablation, *(v for _, v in self.own)) if part)


def together(item: pytest.Item) -> Together:
    """Return with what others an item is computed: those that differ in heads or units alone."""
    case = case_of(item)
    function = item.nodeid.partition("[")[0]
    model = case.source.name if case.source else None
    own = tuple(own_parameters(item).items())
    return Together(function, model, case.emotion, case.ablation, own)


@dataclass(frozen=True)
class _Piece:
    """An item as a piece of work.

    Attributes:
        name: Its id.
        of: What it is computed with.
        runs: About how many runs it takes.
        layer: The first layer that it edits; None where that is not known, or where a block of
            layers would compute again what all items share.
        depth: How many layers its model has.
    """

    name: str
    of: Together
    runs: float
    layer: int | None
    depth: int

    @property
    def cost(self) -> float:
        """Its runs in units of a whole one: the deeper the layer the less there is to compute.

        Texts and statistics take as long for every layer.
        """
        return self.runs * (1.5 - (self.layer or 0) / max(1, self.depth))


def units(items: Iterable[pytest.Item], workers: int, profile: Profile) -> dict[str, str]:
    """Return by id of each item the name of its unit: the items that one worker runs in one go.

    Args:
        items: All items of a run.
        workers: How many processes they are dealt out to.
        profile: The settings. In half precision the strongest runs of a whole sweep are computed
            again in full, so that a sweep is not cut into layers.
    """
    layers = profile.dtype != "bfloat16"
    pieces = [_piece(item, profile, layers=layers) for item in items]
    most = sum(piece.cost for piece in pieces) / (PIECES * workers)
    if workers < 2:
        most = math.inf
    found: dict[str, str] = {}
    for scope, members in group(pieces, lambda piece: piece.of.scope).items():
        found |= dict.fromkeys((piece.name for piece in members), scope)
        is_long = len(members) >= 2 * FEWEST and _cost(members) > most
        if is_long and all(piece.depth for piece in members):
            found |= _cut(members, most)
    return found


def _cut(members: Sequence[_Piece], most: float) -> Mapping[str, str]:
    """Return the units of the items of one scope: its kinds, or blocks of layers of these."""
    found: dict[str, str] = {}
    for of, alike in group(members, lambda piece: piece.of).items():
        name = of.scope + of.kind
        found |= dict.fromkeys((piece.name for piece in alike), name)
        # Rounded: what is a whole number may come out a float above it.
        count = min(math.ceil(round(_cost(alike) / most, 9)), len(alike) // FEWEST)
        if count < 2 or any(piece.layer is None for piece in alike):
            continue
        share, done = _cost(alike) / count, 0.0
        by_layer = group(sorted(alike, key=lambda p: p.layer or 0), lambda piece: piece.layer)
        for of_layer in by_layer.values():
            block = min(count - 1, int((done + _cost(of_layer) / 2) / share))
            found |= dict.fromkeys((piece.name for piece in of_layer), f"{name}/{block}")
            done += _cost(of_layer)
    return found


def _cost(pieces: Iterable[_Piece]) -> float:
    return sum(piece.cost for piece in pieces)


def _piece(item: pytest.Item, profile: Profile, *, layers: bool) -> _Piece:
    case = case_of(item)
    names: Sequence[str] = getattr(item, "fixturenames", ())
    each = {cost for name in names if name in FIXTURES for cost in FIXTURES[name].each}
    draws = {"resample": profile.draws, "optimal": FITS}.get(case.ablation or "", 1)
    runs = 1.0 + draws * ("readouts.costs" in each) + POSITIONS * ("patching.costs" in each)
    # What is made once for all items of a scope would be made once for each part of it.
    whole = shares_much(names) or _has_own(item)
    depth = case.source.n_layers if case.source and not whole else 0
    layer = _first(case) if layers and not whole else None
    return _Piece(item.nodeid, together(item), runs, layer, depth)


def _first(case: Case) -> int | None:
    chosen = case.heads or case.units
    if chosen is None or isinstance(chosen, Top):
        return None
    return min(target.layer for target in chosen)


def _has_own(item: pytest.Item) -> bool:
    """Tell whether an item has a fixture of the user's own that several items share."""
    info: Any = getattr(item, "_fixtureinfo", None)
    found = info.name2fixturedefs if info else {}
    return any(
        definition.scope != "function"
        and definition.func.__module__.partition(".")[0] not in ("_pytest", "xdist")
        for name, definitions in found.items()
        for definition in definitions[-1:]
    )
