"""The fixtures of experiments, one table. Loaded with pytest itself, so it imports next to nothing.

How a fixture is made stands in `pytest_emolib.fixtures`, under the same name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Dim = Literal["model", "emotion", "heads", "units", "ablation"]
"""What the items of a function may differ in."""
DIMS: tuple[Dim, ...] = get_args(Dim)
Need = Literal[Dim, "pairs"]
"""What a fixture needs: a dimension of its items, or aligned pairs in place of free prompts."""


@dataclass(frozen=True)
class Fixture:
    """What is to be known of a fixture before it is made.

    Attributes:
        needs: What it needs, itself or through the fixtures that it asks for.
        edits: Of a set that an item edits the dimension that it is of, or is like.
    """

    needs: frozenset[Need] = frozenset()
    edits: Literal["heads", "units"] | None = None


def _needing(*needs: Need, edits: Literal["heads", "units"] | None = None) -> Fixture:
    return Fixture(frozenset(needs), edits)


FIXTURES = {
    "emolib_case": Fixture(),
    "profile": Fixture(),
    "record": Fixture(),
    "model": _needing("model"),
    "model_source": _needing("model"),
    "traced": _needing("model"),
    "emotion": _needing("emotion"),
    "ablation_kind": _needing("ablation"),
    "head": _needing("model", "heads"),
    "heads": _needing("model", "heads", edits="heads"),
    "units": _needing("model", "units", edits="units"),
    "matched_units": _needing("model", "emotion", "units", edits="units"),
    "study": _needing("model", "emotion"),
    "prompts": _needing("model", "emotion"),
    "pairs": _needing("model", "emotion", "pairs"),
    "run": _needing("model", "emotion"),
    "ablation": _needing("model", "emotion", "ablation"),
    "patched": _needing("model", "emotion", "pairs"),
    "attention": _needing("model", "emotion", "pairs"),
    "screening": _needing("model", "emotion", "pairs"),
    "unit_screening": _needing("model", "emotion", "pairs"),
    "controls": _needing("model", "emotion", "pairs"),
}


def needs(names: Iterable[str]) -> frozenset[Need]:
    """Return what fixtures need together; those that are not of emolib need nothing of it."""
    return frozenset().union(*(FIXTURES[name].needs for name in names if name in FIXTURES))


def needing(need: Need, names: Iterable[str]) -> list[str]:
    """Return those of some fixtures that need one thing, in order of their names."""
    return sorted(n for n in names if n in FIXTURES and need in FIXTURES[n].needs)
