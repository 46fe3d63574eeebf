"""Which items a function becomes: one per model, emotion, set of heads or units, and ablation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import pytest

from emolib.errors import InputError
from emolib.files import hash_json
from emolib.inputs.heads import HeadSet, Top, expand
from emolib.inputs.layer_specs import chosen_layers
from emolib.inputs.profiles import Ablation, Profile
from emolib.inputs.units import UnitSet, expand_units
from emolib.models.sources import Source
from pytest_emolib.fixture_table import about_units, needs

NAMED = 6
"""A joint set of more heads or units than this gets a short name in ids and file names."""


@dataclass(frozen=True)
class Case:
    """What one item runs on; None for what its function does not ask for.

    Attributes:
        source: The model.
        emotion: Name of the emotion.
        heads: The heads, or their rank in screening.
        units: The MLP units, or their rank in screening.
        ablation: The kind of ablation.
    """

    source: Source | None = None
    emotion: str | None = None
    heads: HeadSet | Top | None = None
    units: UnitSet | Top | None = None
    ablation: Ablation | None = None

    @property
    def dims(self) -> dict[str, str]:
        """The parts by name, as tables show them."""
        parts = {
            "model": None if self.source is None else self.source.name,
            "emotion": self.emotion,
            "heads": None if self.heads is None else set_name(self.heads, "heads"),
            "units": None if self.units is None else set_name(self.units, "units"),
            "ablation": self.ablation,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def variant(self) -> str:
        """The kind of ablation, ``-mean``; empty for ``zero``, which goes without saying."""
        return f"-{self.ablation}" if self.ablation not in (None, "zero") else ""

    @property
    def id(self) -> str:
        """The part of an item's id in brackets, ``tiny-gpt2-gratitude-L2H1``."""
        parts = [part for name, part in self.dims.items() if name != "ablation"]
        if not parts:
            return self.ablation or ""
        return "-".join(parts) + self.variant


def set_name(chosen: HeadSet | UnitSet | Top, what: str) -> str:
    """Return ``L0H0+L3H5``, ``top1``, or a short name with a hash for a large set."""
    if len(chosen) <= NAMED:
        return str(chosen)
    return f"{len(chosen)}{what}-{hash_json(str(chosen))[:6]}"


class Cases:
    """What functions become items of: a profile's models, emotions, heads, units and ablations.

    Attributes:
        left_out: By model what there are no items on, and why.
    """

    def __init__(self, profile: Profile, sources: Mapping[str, Source]) -> None:
        """Hold the profile, and its models by what the user typed."""
        self._profile, self._sources = profile, sources
        self.left_out: dict[str, str] = {}

    def check(self) -> None:
        """Check that every model has the heads, units and layers that the profile names.

        Raises:
            InputError: When one has not.
        """
        for source in self._sources.values():
            chosen_layers(self._profile.steering_layers, source.n_layers, model=source.name)
            for emotion in self._profile.emotions:
                self._head_sets(source, emotion)
                self._unit_sets(source, emotion)

    def of(self, wanted: Iterable[str], marks: Iterable[pytest.Mark]) -> list[Case]:
        """Return the cases of a function, without doubles.

        Args:
            wanted: Names of the fixtures it asks for, itself or through others.
            marks: Its ``parametrize`` marks; what they name the user provides.

        Raises:
            InputError: When ranks are asked for and no emotion is that would rank.
        """
        asked, profile = set(wanted) - _provided(marks), self._profile
        needed = needs(asked)
        models: list[Source | None] = list(self._sources.values()) if "model" in needed else [None]
        emotions: list[str | None] = list(profile.emotions) if "emotion" in needed else [None]
        kinds: list[Ablation | None] = list(profile.ablations) if "ablation" in needed else [None]
        cases = []
        of_units = about_units(asked)
        for source, emotion in product(models, emotions):
            if source and of_units and source.no_units:
                continue
            heads: Iterable[HeadSet | Top | None] = [None]
            units: Iterable[UnitSet | Top | None] = [None]
            if source and "units" in needed:
                units = self._unit_sets(source, emotion)
            if source and "heads" in needed:
                heads = _as_taken(asked, self._head_sets(source, emotion))
            for chosen, unit_set in product(heads, units):
                cases += [Case(source, emotion, chosen, unit_set, kind) for kind in kinds]
        return list(dict.fromkeys(cases))

    def _head_sets(self, source: Source, emotion: str | None) -> list[HeadSet | Top]:
        sets: list[HeadSet | Top] = []
        for spec in self._profile.heads:
            shape, seed = (source.n_layers, source.n_heads), self._profile.seed
            having = source.head_layers
            found = expand(spec, *shape, model=source.name, seed=seed, having=having)
            _check_ranks(found, emotion, spec, "head")
            sets += found
        return sets

    def _unit_sets(self, source: Source, emotion: str | None) -> list[UnitSet | Top]:
        sets: list[UnitSet | Top] = []
        if source.no_units:
            self._refuse_units(source, source.no_units)
            return sets
        for spec in self._profile.units:
            shape, seed = (source.n_layers, source.n_units), self._profile.seed
            found = expand_units(spec, *shape, model=source.name, seed=seed)
            _check_ranks(found, emotion, spec, "unit")
            sets += found
        return sets

    def _refuse_units(self, source: Source, reason: str) -> None:
        """Refuse units that are named of a model without any; note that others are left out.

        Raises:
            InputError: When a spec names units.
        """
        for spec in self._profile.units:
            if not spec.strip().startswith(("top:", "random:")):
                raise InputError(f"unit spec {spec!r}: {source.name} has no units: {reason}")
        self.left_out[source.name] = f"{source.name}: no items on MLP units: {reason}"


def _provided(marks: Iterable[pytest.Mark]) -> set[str]:
    """Return what ``parametrize`` marks name."""
    own: set[str] = set()
    for mark in marks:
        names = mark.args[0] if mark.args else mark.kwargs["argnames"]
        own |= {n.strip() for n in names.split(",")} if isinstance(names, str) else set(names)
    return own


def _as_taken(wanted: Collection[str], sets: Iterable[HeadSet | Top]) -> Iterator[HeadSet | Top]:
    """Yield head sets as a function takes them: of one head the heads of a joint set one by one."""
    for chosen in sets:
        if isinstance(chosen, HeadSet) and "head" in wanted:
            yield from (HeadSet((head,)) for head in chosen)
        else:
            yield chosen


def _check_ranks(found: Sequence[object], emotion: str | None, spec: str, what: str) -> None:
    """Check that no rank is asked for where there is no emotion that would rank."""
    if emotion is None and any(isinstance(chosen, Top) for chosen in found):
        raise InputError(
            f"{what} spec {spec!r}: the top {what}s are those of an emotion, and a function "
            f"asks for none; let it ask for the fixture emotion, or name {what}s"
        )
