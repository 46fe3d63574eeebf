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
Need = Literal[Dim, "pairs", "emotions"]
"""What a fixture needs: a dimension of its items, aligned pairs in place of free prompts, or a
profile of several emotions."""


@dataclass(frozen=True)
class Fixture:
    """What is to be known of a fixture before it is made.

    Costs are functions of `emolib.methods`, by module and name: ``screening.costs``.

    Attributes:
        needs: What it needs, itself or through the fixtures that it asks for.
        edits: Of a set that an item edits the dimension that it is of, or is like.
        once: What making it costs, once for a model and an emotion, whoever else needs that too.
        ranked: The same, of a set that is named by its rank.
        each: What the items of one function cost that ask for it.
        settings: Fields of the profile, and kinds of its files, that nothing reads but this.
        across: Whether it reads the prompts of every emotion of the profile.
        kind: Whether it takes the profile's first kind of ablation, whatever the item is for.
    """

    needs: frozenset[Need] = frozenset()
    edits: Literal["heads", "units"] | None = None
    once: tuple[str, ...] = ()
    ranked: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    across: bool = False
    kind: bool = False


_MODEL: frozenset[Need] = frozenset({"model"})
_STUDY: frozenset[Need] = _MODEL | {"emotion"}
_PAIRS: frozenset[Need] = _STUDY | {"pairs"}
FIXTURES = {
    "emolib_case": Fixture(),
    "profile": Fixture(),
    "record": Fixture(),
    "model": Fixture(_MODEL),
    "model_source": Fixture(_MODEL),
    "traced": Fixture(_MODEL),
    "emotion": Fixture(frozenset({"emotion"})),
    "ablation_kind": Fixture(frozenset({"ablation"})),
    "head": Fixture(_MODEL | {"heads"}),
    "heads": Fixture(_MODEL | {"heads"}, edits="heads", ranked=("attribution.costs",)),
    "units": Fixture(_MODEL | {"units"}, edits="units", ranked=("unit_scores.costs",)),
    "matched_units": Fixture(
        _STUDY | {"units"}, edits="units", once=("unit_scores.activity_costs",)
    ),
    "study": Fixture(_STUDY, once=("study.costs",)),
    "prompts": Fixture(_STUDY),
    "pairs": Fixture(_PAIRS),
    "run": Fixture(_STUDY, each=("readouts.costs",)),
    "ablation": Fixture(_STUDY | {"ablation"}, each=("readouts.costs", "optimal_ablation.costs")),
    "patched": Fixture(_PAIRS, each=("patching.costs",)),
    "attention": Fixture(_PAIRS, once=("attention.costs",)),
    "screening": Fixture(_PAIRS, once=("attribution.costs", "screening.costs")),
    "unit_screening": Fixture(_PAIRS, once=("unit_scores.costs", "unit_screening.costs")),
    "steering": Fixture(
        _STUDY,
        once=("steering.costs",),
        settings=("steering_doses", "steering_layers", "steering_heads", "steering_prompts"),
    ),
    "self_repair": Fixture(_STUDY, each=("repair.costs",)),
    "paths": Fixture(_PAIRS, once=("attribution.costs", "paths.costs")),
    "controls": Fixture(_PAIRS, once=("attribution.costs", "controls.costs")),
    "circuit": Fixture(
        _PAIRS,
        once=("attribution.costs", "circuits.costs"),
        settings=("circuit_ablation", "circuit_draws", "circuit_greedy", "ranking"),
    ),
    "specificity": Fixture(
        _STUDY | {"heads", "emotions"}, each=("specificity.costs",), across=True, kind=True
    ),
    "probe": Fixture(
        _STUDY,
        each=("probes.costs",),
        settings=("probe_folds", "probe_swaps", "probe_test"),
        across=True,
    ),
}


# A pass or two over the prompts, which any process that runs items on them makes.
_LITTLE = frozenset({"study.costs", "unit_scores.activity_costs"})


def shares_much(names: Iterable[str]) -> bool:
    """Tell whether fixtures make once, for a model and an emotion, what takes some computing."""
    return any(set(FIXTURES[name].once) - _LITTLE for name in names if name in FIXTURES)


def needs(names: Iterable[str]) -> frozenset[Need]:
    """Return what fixtures need together; those that are not of emolib need nothing of it."""
    return frozenset().union(*(FIXTURES[name].needs for name in names if name in FIXTURES))


def needing(need: Need, names: Iterable[str]) -> list[str]:
    """Return those of some fixtures that need one thing, in order of their names."""
    return sorted(n for n in names if n in FIXTURES and need in FIXTURES[n].needs)


def about_units(names: Iterable[str]) -> bool:
    """Tell whether any of some fixtures edits MLP units or measures them all."""
    found = [FIXTURES[name] for name in names if name in FIXTURES]
    return any("units" in one.needs or _of_units(one.once) for one in found)


def _of_units(costs: Iterable[str]) -> bool:
    return any(cost.startswith("unit_") for cost in costs)


@dataclass(frozen=True)
class Reads:
    """What of a profile an item can read, beside what any item can.

    Attributes:
        without: Settings and kinds of files that it cannot: no number of it follows from them.
        across: Whether it reads the prompts of every emotion.
        kind: Whether it takes the first kind of ablation.
    """

    without: frozenset[str] = frozenset()
    across: bool = False
    kind: bool = False


def reads(closure: Iterable[str], given: Iterable[str]) -> Reads:
    """Return what of a profile an item can read.

    Settings of fixtures that it does not ask for it cannot. A function that is given the profile,
    a study or ``request`` may read any, and so may fixtures that are not of emolib.

    Args:
        closure: All fixtures of the item, those that others ask for too.
        given: The names of its function's arguments.
    """
    # Fixtures of emolib's own ask for it too.
    asked = set(closure) - {"request"}
    found = [FIXTURES[name] for name in asked if name in FIXTURES]
    across, kind = any(one.across for one in found), any(one.kind for one in found)
    if asked - FIXTURES.keys() or {"profile", "study", "request"} & set(given):
        return Reads(across=across, kind=kind)
    others = (fixture for name, fixture in FIXTURES.items() if name not in asked)
    without = frozenset(name for fixture in others for name in fixture.settings)
    return Reads(without, across, kind)
