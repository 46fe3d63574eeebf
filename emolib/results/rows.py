"""One record of one item as a row, and the sorting of what an experiment records into it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, TypeVar

from emolib.errors import InputError
from emolib.notebook import facts, stacked, table
from emolib.results.members import LARGEST, are_numbers, is_number, wrong_in_row

RESTORE = "restore the file from a copy or move it away to start afresh"
"""What to do with a damaged store."""
Summarize = Callable[[Sequence[float]], dict[str, Any]]
_Member = TypeVar("_Member")
_Name = TypeVar("_Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Row:
    """One record of one item.

    Attributes:
        item: The item's id, ``experiments/exp_x.py::exp_x[tiny-gpt2-gratitude-L2H1]``.
        experiment: Its name without ``exp_``.
        key: Hash of all that determines the numbers; the store finds the row by it.
        context: The same without what tells the item from its siblings: rows of one context
            can stand in one table.
        row: Number of the record in the item, from 0.
        of: How many records the item made.
        dims: What it ran on: model, emotion, heads, ablation.
        labels: Texts recorded beside the numbers.
        values: Per metric a number, None, or the summary of a vector
            (`emolib.stats.summary.summarize`).
        vectors: Per metric the values per prompt.
        texts: Per name the texts per prompt.
        lists: Per name a list per prompt, of any length: tokens, attention over them.
        pairs: ``ids`` and ``templates`` of the pairs that vectors and texts go along with; empty
            for free prompts and where they are of another number.
        output: Where its results file goes, relative to the results folder, and its shape.
        provenance: Model, weights, tokenizer, prompts, settings, versions, commit.
        time: When it was recorded, ISO 8601 in UTC.
    """

    item: str
    experiment: str
    key: str
    row: int
    of: int
    dims: dict[str, str]
    context: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[list[str | float]]] = field(default_factory=dict)
    pairs: dict[str, list[str]] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    time: str = ""

    def _repr_html_(self) -> str:
        """Return what it ran on and its metrics for a notebook."""
        told = {**self.dims, **self.labels, "recorded": self.time, "item": self.item}
        return stacked(
            facts(told, self.experiment), table([_told(*value) for value in self.values.items()])
        )._repr_html_()

    def mean(self, metric: str) -> float | None:
        """Return a metric as one number, the mean of a vector; None where it has none."""
        return mean_of(self.values.get(metric))

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the 95 % CI of a metric's mean, None where there is none."""
        value = self.values.get(metric)
        ends = value["ci"] if isinstance(value, dict) else None
        return (ends[0], ends[1]) if ends else None


def _told(metric: str, value: Any) -> dict[str, object]:
    """Return a metric as a line for reading."""
    if not isinstance(value, dict):
        return {"metric": metric, "mean": value}
    ends = [f"{end:.3g}" for end in value["ci"] or ()]
    told = {"metric": metric, "mean": value["mean"], "95 % CI": f"[{', '.join(ends)}]"}
    return {**told, "n": value["n"], "d_z": value["d_z"]}


# How much of what is wrong with a row is told.
_TOLD = 3
_TYPES = {f.name: {"str": str, "int": int}.get(str(f.type), dict) for f in fields(Row)}


def mean_of(value: Any) -> float | None:
    """Return a value of a row as one number: itself, or the mean of a vector's summary.

    >>> mean_of(2), mean_of({"mean": 0.5, "ci": None}), mean_of(None)
    (2, 0.5, None)
    """
    mean: float | None = value["mean"] if isinstance(value, dict) else value
    return mean


def group(members: Iterable[_Member], by: Callable[[_Member], _Name]) -> dict[_Name, list[_Member]]:
    """Return rows, or what is made of them, by a name, in the order in which names first come."""
    groups: dict[_Name, list[_Member]] = {}
    for member in members:
        groups.setdefault(by(member), []).append(member)
    return groups


def checked(data: dict[str, Any], where: str, common: Mapping[str, Any] | None = None) -> Row:
    """Return the row that has these fields.

    Args:
        data: A value for every field of `Row`, as JSON gives it.
        where: What they were read from, for messages.
        common: What its provenance goes over, checked before.

    Raises:
        InputError: When one is missing, unknown or of another type.
    """
    missing, unknown = sorted(_TYPES.keys() - data.keys()), sorted(data.keys() - _TYPES.keys())
    wrong = [f"no {', '.join(missing)}"] * bool(missing)
    wrong += [f"unknown {', '.join(unknown)[:80]}"] * bool(unknown)
    wrong += [
        f"{name} is {type(data[name]).__name__}, not {kind.__name__}"
        for name, kind in _TYPES.items()
        if name in data and not isinstance(data[name], kind)
    ]
    wrong = wrong or list(islice(wrong_in_row(data), _TOLD))
    if wrong:
        raise InputError(f"{where}: not a row ({'; '.join(wrong)}); {RESTORE}")
    return Row(**data | {"provenance": {**common, **data["provenance"]}} if common else data)


def sort_values(recorded: Mapping[str, Any], summarize: Summarize) -> dict[str, Any]:
    """Return recorded values sorted into a row's labels, values, vectors, texts and lists.

    Args:
        recorded: Per name a number, None, a text, a vector of numbers ``[n]`` (list, array or
            tensor), a list of texts, or a list of n lists.
        summarize: Makes the summary of a vector.

    Raises:
        TypeError: When a value is none of these.
        ValueError: When a vector is not one-dimensional or a number is not finite.
    """
    row: dict[str, Any] = {"labels": {}, "values": {}, "vectors": {}, "texts": {}, "lists": {}}
    for name, value in recorded.items():
        if value is None or isinstance(value, (int, float)):
            # Counts and ranks stay whole numbers.
            row["values"][name] = value if value is None else _finite(name, +value)
        elif isinstance(value, str):
            row["labels"][name] = value
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            row["texts"][name] = _texts(name, value)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
            row["lists"][name] = [_list(name, entry) for entry in value]
        else:
            vector = _vector(name, value)
            if isinstance(vector, float):
                row["values"][name] = vector
            else:
                row["vectors"][name] = vector
                row["values"][name] = summarize(vector)
    return row


def _texts(name: str, values: Sequence[Any]) -> list[str]:
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(
                f"record({name}=…): expected texts throughout, got {type(value).__name__} at "
                f"[{index}]"
            )
    return [str(value) for value in values]


def _list(name: str, values: Any) -> list[str | float]:
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"record({name}=…): expected lists throughout, got {type(values).__name__}")
    for value in values:
        if not isinstance(value, (str, int, float)):
            raise TypeError(
                f"record({name}=…): expected lists of numbers or texts, got {type(value).__name__}"
            )
    _all_finite(name, [value for value in values if not isinstance(value, str)])
    return list(values)


def _vector(name: str, value: Any) -> float | list[float]:
    # Imported here: who only reads rows does without it.
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    expected = f"record({name}=…): expected a number, a vector of shape [n] or texts"
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{expected}, got {type(value).__name__}") from None
    if array.ndim == 0:
        return _finite(name, float(array))
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{expected}, got an array of shape {list(array.shape)}")
    return _all_finite(name, array.tolist())


def _finite(name: str, value: float) -> float:
    return value if is_number(value) else _all_finite(name, [value])[0]


def _all_finite(name: str, values: list[float]) -> list[float]:
    if are_numbers(values):
        return values
    # Of whole numbers of any size too.
    bad = sum(not -math.inf < value < math.inf for value in values)
    if bad:
        raise ValueError(
            f"record({name}=…): {bad} of {len(values)} values are not finite; "
            "leave them out, or record None where the metric is undefined"
        )
    large = sum(not is_number(value) for value in values)
    raise ValueError(
        f"record({name}=…): {large} of {len(values)} values are larger than {LARGEST:g} or a whole "
        "number of 64 bits; record them in another unit, or their logarithms"
    )
