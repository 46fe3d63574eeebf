"""Which items a function becomes: one per model, emotion, set of heads or units, and ablation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from emolib.files import hash_json
from emolib.inputs.heads import HeadSet, Top
from emolib.inputs.profiles import Ablation, Profile
from emolib.inputs.units import UnitSet
from emolib.models.sources import Source
from pytest_emolib.fixture_table import needs

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
        """``-mean`` or ``-resample``; empty for ``zero``, the kind that goes without saying."""
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


def make_cases(
    wanted: Collection[str],
    profile: Profile,
    sources: Mapping[str, Source],
    heads: Callable[[Source, str | None], Iterable[HeadSet | Top]],
    units: Callable[[Source, str | None], Iterable[UnitSet | Top]],
) -> list[Case]:
    """Return the cases of a function, without doubles.

    Args:
        wanted: Names of the fixtures it asks for, itself or through others.
        profile: Models, emotions and kinds of ablation.
        sources: The profile's models by what the user typed.
        heads: From a model and an emotion to the head sets asked for.
        units: From a model and an emotion to the unit sets asked for.
    """
    needed = needs(wanted)
    models: list[Source | None] = list(sources.values()) if "model" in needed else [None]
    emotions: list[str | None] = list(profile.emotions) if "emotion" in needed else [None]
    kinds: list[Ablation | None] = list(profile.ablations) if "ablation" in needed else [None]
    cases = []
    for source in models:
        for emotion in emotions:
            of_units: Iterable[UnitSet | Top | None] = (
                units(source, emotion) if source and "units" in needed else [None]
            )
            of_heads: Iterable[HeadSet | Top | None] = (
                _heads(wanted, heads(source, emotion)) if source and "heads" in needed else [None]
            )
            for chosen, unit_set in product(of_heads, of_units):
                cases += [Case(source, emotion, chosen, unit_set, kind) for kind in kinds]
    return list(dict.fromkeys(cases))


def _heads(wanted: Collection[str], sets: Iterable[HeadSet | Top]) -> Iterator[HeadSet | Top]:
    """Yield head sets as a function takes them: of one head the heads of a joint set one by one."""
    for chosen in sets:
        if isinstance(chosen, HeadSet) and "head" in wanted:
            yield from (HeadSet((head,)) for head in chosen)
        else:
            yield chosen
