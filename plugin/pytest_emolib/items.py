"""What an item says of itself: what it runs on, what it is called and where it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from emolib.errors import InputError
from emolib.files import safe
from emolib.inputs.emotions import Emotion
from emolib.inputs.folds import check_folds, held_out_of
from emolib.inputs.profiles import Profile
from emolib.results.item_files import OWN, SHAPES
from pytest_emolib.cases import Case
from pytest_emolib.fixture_table import DIMS, needing

_LONGEST_NAME = 40
_PLACES = (*DIMS, "variant")


def case_of(item: pytest.Item) -> Case:
    """Return what an item runs on."""
    callspec = getattr(item, "callspec", None)
    case: Case = callspec.params.get("emolib_case", Case()) if callspec else Case()
    return case


def full_dims(case: Case) -> dict[str, Any]:
    """Return the parts of a case with every head and unit by name."""
    sets = {"heads": case.heads, "units": case.units}
    return case.dims | {name: str(found).split("+") for name, found in sets.items() if found}


def experiment_of(item: pytest.Item) -> str:
    """Return the name of an item's experiment, its function without ``exp_``."""
    name: str = getattr(item, "originalname", None) or item.name
    return name.removeprefix("exp_").removeprefix("test_")


def own_parameters(item: pytest.Item) -> dict[str, str]:
    """Return what the user parametrized an item with, as tables show it."""
    callspec = getattr(item, "callspec", None)
    params = dict(callspec.params) if callspec else {}
    params.pop("emolib_case", None)
    return {n: str(getattr(v, "__name__", v))[:_LONGEST_NAME] for n, v in params.items()}


def output_of(item: pytest.Item) -> dict[str, str]:
    """Return where an item's results file goes and its shape, empty without a marker.

    Raises:
        InputError: When the marker is wrong.
    """
    marker = item.get_closest_marker("results")
    if marker is None:
        return {}
    template = str(marker.args[0]) if marker.args else ""
    shape = marker.kwargs.get("shape", "item")
    if shape not in SHAPES:
        raise InputError(
            f"{item.nodeid}: results marker: shape: expected one of {', '.join(SHAPES)}, "
            f"got {shape!r}"
        )
    case = case_of(item)
    if shape == "scores" and (case.emotion is None or case.heads is None or len(case.heads) > 1):
        got = case.id or "an item of neither"
        raise InputError(
            f"{item.nodeid}: results marker: shape 'scores' takes items of one head and one "
            f"emotion, got {got}; ask for the fixtures head and screening (or emotion), or use "
            "shape 'item'"
        )
    own = own_parameters(item)
    places = (*_PLACES, *own)
    parts = dict.fromkeys(places, "") | {k: safe(v) for k, v in (own | case.dims).items()}
    try:
        path = Path(template.format(**parts | {"variant": case.variant}))
    except (KeyError, IndexError, ValueError):
        path = Path()
    if not path.suffix or path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"{item.nodeid}: results marker: expected a relative path to a file in which "
            f"{', '.join(f'{{{name}}}' for name in places)} may stand, got {template!r}"
        )
    return {"path": path.as_posix(), "shape": shape}


def check_outputs(items: Iterable[pytest.Item]) -> None:
    """Check that every experiment's table and every item's results file has a place of its own.

    Raises:
        InputError: When a results marker is wrong, two functions have one name or two items would
            write one file.
    """
    writers: dict[str, str] = {}
    functions: dict[str, str] = {}
    for item in items:
        function = item.nodeid.partition("[")[0]
        other = functions.setdefault(experiment_of(item), function)
        if other != function:
            raise InputError(
                f"{other} and {function} would both fill tables/{experiment_of(item)}.csv; "
                "rename one, or run them with a --results-dir each"
            )
        output = output_of(item)
        if output.get("shape") not in OWN:
            continue
        other = writers.setdefault(output["path"], item.nodeid)
        if other != item.nodeid:
            names = ", ".join(f"{{{name}}}" for name in (*_PLACES, *own_parameters(item)))
            raise InputError(
                f"{other} and {item.nodeid} would both write {output['path']}; name more of "
                f"{names} in the results marker"
            )


def check_pairs(items: Iterable[pytest.Item]) -> None:
    """Check that items can do with free prompt lists.

    Raises:
        InputError: When one needs aligned pairs.
    """
    for item in items:
        if found := needing("pairs", set(getattr(item, "fixturenames", ()))):
            raise InputError(
                f"{item.nodeid} needs aligned pairs ({found[0]}), got free prompt lists; drop "
                "--emotion-prompts/--neutral-prompts, or name experiments that need none, as "
                "experiments/exp_head_ablation.py"
            )


def check_emotions(items: Iterable[pytest.Item], profile: Profile) -> None:
    """Check that items can do with the emotions of the profile.

    Raises:
        InputError: When one compares emotions and there is one only.
    """
    if len(profile.emotions) > 1:
        return
    for item in items:
        if found := needing("emotions", set(getattr(item, "fixturenames", ()))):
            raise InputError(
                f"{item.nodeid} compares emotions ({found[0]}), and the profile {profile.name} has "
                f"{profile.emotions[0]} alone; add one to its emotions, or leave the experiment "
                f"out with --ignore={item.nodeid.partition('::')[0]}"
            )


def check_probes(
    items: Iterable[pytest.Item], profile: Profile, emotions: Mapping[str, Emotion]
) -> None:
    """Check that there are as many templates, or prompts of a side, as folds of probes.

    Raises:
        InputError: When there are fewer.
    """
    for item in items:
        emotion = case_of(item).emotion
        if "probe" in getattr(item, "fixturenames", ()) and emotion is not None:
            check_folds(*held_out_of(emotions[emotion]), profile.probe_folds, item.nodeid)
