"""What stands in the lines of a store, checked for its kind: a store may be somebody else's.

Rows, and what is told of runs, go into tables, plots, pages and files; none of these checks again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from math import isfinite
from pathlib import PurePosixPath
from types import NoneType
from typing import Any

# Names of experiments are names of functions, and become names of files.
_NAME = re.compile(r"\w{1,200}")
_SHARD = re.compile(r"[1-9][0-9]{0,5}/[1-9][0-9]{0,5}")
# What SQLite takes for a whole number.
_MOST = 2**63
LARGEST = 1e150
"""The largest number that a row may have: of larger ones squares, and so SDs, are infinite."""
_DEEPEST = 8
# No model that there is has a fifth of it; maps of heads are made of so many cells.
_LARGEST = 1000
_SUMMARY = {"mean", "ci", "n", "sd", "d_z", "g_z"}
# Where the store itself is, which no row's file may be.
_STORE = ("records", "records.jsonl", "records.jsonl.gz")


class Written(str):
    """A number as it is written."""

    __slots__ = ()


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number that tables can hold, or one as it is written."""
    if isinstance(value, float):
        return -LARGEST <= value <= LARGEST
    whole = isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, Written) or (whole and -_MOST <= value < _MOST)


def are_numbers(values: Collection[Any]) -> bool:
    """Tell whether all values are numbers; see `is_number`."""
    kinds = set(map(type, values))
    if kinds <= {float}:
        return not values or _are_small(values)
    return kinds <= {Written} or all(map(is_number, values))


def _are_small(numbers: Collection[float]) -> bool:
    # The sum of what is no number is none.
    return min(numbers) >= -LARGEST and max(numbers) <= LARGEST and isfinite(sum(numbers))


def are_texts(values: Iterable[Any]) -> bool:
    """Tell whether all values are texts."""
    return set(map(type, values)) <= {str}


def lies_inside(path: str) -> bool:
    """Tell whether a path is one of a file below the folder that it is relative to.

    >>> lies_inside("tables/a.csv"), lies_inside("../a.csv"), lies_inside("/a.csv")
    (True, False, False)
    """
    parts = PurePosixPath(path).parts
    is_plain = not path.startswith("/") and "\\" not in path and "\0" not in path
    return bool(parts) and is_plain and ".." not in parts


def wrong_in_row(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong inside the fields of a row, all of which are of their kinds.

    Args:
        data: The fields, what they refer to in the place of references.
    """
    if not _NAME.fullmatch(data["experiment"]):
        yield f"experiment {data['experiment'][:80]!r} is no name of a function"
    if data["row"] < 0 or data["of"] < 1 or {bool} & {type(data["row"]), type(data["of"])}:
        yield f"row {data['row']} of {data['of']}"
    for name in ("dims", "labels", "output"):
        if not are_texts(data[name].values()):
            yield f"{name} has what is no text"
    if output := data["output"]:
        yield from _wrong_in_output(output)
    if not _are_summaries(data["values"].values()):
        for name, value in data["values"].items():
            if not _is_value(value):
                yield f"values.{name[:80]} is no number and no summary of some"
    yield from _wrong_columns(data, "vectors", are_numbers)
    yield from _wrong_columns(data, "texts", are_texts)
    yield from _wrong_columns(data, "pairs", are_texts)
    yield from _wrong_columns(data, "lists", _are_lists)
    yield from wrong_in_provenance(data["provenance"])


def _wrong_columns(
    data: Mapping[str, Any], name: str, fits: Callable[[Collection[Any]], bool]
) -> Iterator[str]:
    for column in data[name].values():
        if not isinstance(column, list):
            yield f"{name} has what is no list"
        elif not fits(column):
            yield f"{name} has a list of other things"


def _are_lists(values: Iterable[Any]) -> bool:
    return all(
        isinstance(value, list) and all(type(one) is str or is_number(one) for one in value)
        for value in values
    )


def _wrong_in_output(output: Mapping[str, Any]) -> Iterator[str]:
    if not {"path", "shape"} <= output.keys():
        yield "output has no path or no shape"
    elif not lies_inside(path := str(output["path"])):
        yield f"output.path {path[:80]!r} leads out of the results folder"
    elif PurePosixPath(path).parts[0].lower() in _STORE:
        yield f"output.path {path[:80]!r} leads into the store"


def _are_summaries(values: Collection[Any]) -> bool:
    """Tell whether values are summaries of vectors as nearly all are; if not, see one by one."""
    numbers: list[Any] = []
    for value in values:
        if type(value) is not dict or value.keys() != _SUMMARY:
            return False
        ends = value["ci"]
        if type(ends) is not list or len(ends) != 2:
            return False
        if type(value["n"]) is not int or not 0 <= value["n"] < _MOST:
            return False
        numbers += (*ends, value["mean"], value["sd"], value["d_z"], value["g_z"])
    return set(map(type, numbers)) <= {float} and (not numbers or _are_small(numbers))


def _is_value(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None or is_number(value)
    ends = value.get("ci", 0)
    return (
        {"mean", "ci", "n", "d_z"} <= value.keys()
        and is_number(value["mean"])
        and (ends is None or _are_ends(ends))
        and all(one is None or type(one) is str or is_number(one) for one in _others(value))
    )


def _others(summary: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in summary.items():
        # As tables show them they are numbers.
        is_text = isinstance(value, str) and not isinstance(value, Written)
        if name in ("n", "sd", "d_z", "g_z") and is_text:
            yield ()
        elif name != "ci":
            yield value


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and set(map(type, value.values())) <= {str, NoneType}


def _is_shape(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(size) is int and 0 < size <= _LARGEST for size in value.values()
    )


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and are_texts(value)


def _are_reasons(value: Any) -> bool:
    return isinstance(value, list) and all(
        _is_list_of_texts(one) and len(one) == 2 for one in value
    )


_TOLD: dict[str, Callable[[Any], bool]] = {
    "model": _are_names,
    "versions": _are_names,
    "shape": _is_shape,
    "left_out": _are_reasons,
    "in_pieces": _is_list_of_texts,
    **dict.fromkeys(
        ("under", "heads", "units"), lambda value: value is None or _is_list_of_texts(value)
    ),
    "clean_gap": lambda value: value is None or is_number(value),
    "seed": lambda value: value is None or is_number(value),
    **dict.fromkeys(
        ("prompts", "position", "device", "dtype", "commit", "run", "ablation"), _is_text_or_none
    ),
}
"""What of a provenance is read, and what it is; the rest is shown as it is."""


def wrong_in_provenance(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in the provenance of a row."""
    for name, value in told.items():
        if name in _TOLD and not _TOLD[name](value):
            yield f"provenance.{name} is not what that is"
        elif type(value) is not str and not _is_plain(value, _DEEPEST):
            yield f"provenance.{name[:80]} has no number, or is nested too deep"


def wrong_in_run(about: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in what is told of a run."""
    for name in ("started", "command", "host", "commit", "shard"):
        if not _is_text_or_none(about.get(name)):
            yield f"{name} is no text"
    if (shard := about.get("shard")) and not _SHARD.fullmatch(str(shard)):
        yield f"shard {str(shard)[:80]!r} is none"
    if not isinstance(about.get("settings", {}), dict):
        yield "settings are none"
    expected = about.get("expected")
    if expected is not None and not (type(expected) is int and 0 <= expected < _MOST):
        yield "expected is no count"
    for name, value in about.items():
        if not _is_plain(value, _DEEPEST):
            yield f"{name[:80]} has no number, or is nested too deep"


def wrong_in_scores(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in the content of a scores file."""
    shape = [content["layers"], content["heads_per_layer"]]
    if not all(type(size) is int and 0 < size <= _LARGEST for size in shape):
        yield f"a model of {shape[0]!r:.40} layers of {shape[1]!r:.40} heads"
        return
    if not isinstance(content["model"], str):
        yield "model is no text"
    if not isinstance(content["scores"], list) or not content["scores"]:
        yield "scores are no list of any"
        return
    for number, entry in enumerate(content["scores"]):
        if why := _why_no_score(entry, shape):
            yield f"scores[{number}] {why}"
    rankings = content.get("rankings", {})
    if not isinstance(rankings, dict) or not all(
        isinstance(ranking, dict)
        and all(one is None or type(one) is str or is_number(one) for one in ranking.values())
        and not isinstance(ranking.get("reliability"), str)
        for ranking in rankings.values()
    ):
        yield "rankings are not what they are"


def _why_no_score(entry: Any, shape: list[int]) -> str:
    if not isinstance(entry, dict) or not {"layer", "head", "emotion"} <= entry.keys():
        return "has no layer, head or emotion"
    for name, size in zip(("layer", "head"), shape, strict=True):
        if type(entry[name]) is not int or not 0 <= entry[name] < size:
            return f"has {name} {entry[name]!r:.40} of {size}"
    if not isinstance(entry["emotion"], str):
        return "has no emotion"
    for name, value in entry.items():
        if name.endswith("_ci"):
            fits = value is None or _are_ends(value)
        else:
            fits = name == "emotion" or value is None or is_number(value)
        if not fits:
            return f"has {name[:80]} that is no number"
    return ""


def wrong_in_attention(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in the content of a file of attention patterns."""
    if not is_number(content["summary"]["delta_slot"]["mean"]):
        yield "delta_slot is no number"
    if not are_texts(content[name] for name in ("model", "emotion", "heads")):
        yield "model, emotion or heads is no text"
    prompts = content["prompts"]
    if not isinstance(prompts, list) or not prompts:
        yield "no prompts"
        return
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, dict) or not _is_attended(prompt):
            yield f"prompts[{number}] has other tokens than attention, or a slot that is none"


def _is_attended(prompt: Mapping[str, Any]) -> bool:
    tokens = [prompt.get(f"{side}_tokens") for side in ("emotion", "neutral")]
    weights = [prompt.get(f"{side}_attention") for side in ("emotion", "neutral")]
    slot = prompt.get("slot")
    if not all(isinstance(column, list) for column in (*tokens, *weights, slot)):
        return False
    count = len(tokens[0] or ())
    return (
        all(len(column or ()) == count for column in (*tokens, *weights))
        and all(are_texts(column or ()) for column in tokens)
        and all(are_numbers(column or ()) for column in weights)
        and isinstance(prompt.get("template", ""), str)
        and isinstance(slot, list)
        and list(map(type, slot)) == [int, int]
        and 0 <= slot[0] < slot[1] <= count
    )


def _are_ends(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and are_numbers(value)


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether a value of JSON is shallow, and has no numbers but finite ones."""
    if isinstance(value, dict):
        return depth > 0 and all(_is_plain(member, depth - 1) for member in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(member, depth - 1) for member in value)
    return value is None or isinstance(value, (str, bool)) or is_number(value)
