"""What ``record`` is given, checked: a value for every prompt, and calls that fill one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emolib.methods.study import Study

# What of a row has a column: labels tell rows apart, they are not what is measured.
_MEASURED = ("values", "texts", "lists")


def check_lengths(vectors: Mapping[str, Sequence[float]], study: Study, *, named: bool) -> None:
    """Check that vectors have a value for every pair of a study; free prompts are not counted.

    Args:
        vectors: By name what is a row's; without those that say that they are of something else
            (`emolib.methods.scores.Apart`).
        study: Whose prompts the values are of.
        named: Whether ``record(study=…)`` named it.

    Raises:
        ValueError: When one has another number of values: mean and interval would be of
            something else than pairs, and no table would say so.
    """
    if study.emotion.pairs is None:
        return
    count = len(study.pairs)
    for name, vector in vectors.items():
        if len(vector) == count:
            continue
        whose = "that study" if named else f"{study.emotion.name} under {study.model.name}"
        other = "the study" if named else "another study whose prompts they are of"
        raise ValueError(
            f"record({name}=…): expected {count} values, one for each pair of {whose}, got "
            f"{len(vector)}; record a number in their place (their mean, say), a list for each "
            f"pair, or name {other}: record(study=…, {name}=…)"
        )


def check_alike(before: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> None:
    """Check that a row measures something that an earlier one of its item measured too.

    Args:
        before: The rows of the item so far.
        row: The next one.

    Raises:
        ValueError: When it does not: in their table each would be empty where the other is not.
    """
    earlier = dict.fromkeys(name for one in before for name in _measured(one))
    now = _measured(row)
    if earlier and now and not earlier.keys() & set(now):
        raise ValueError(
            f"record({', '.join(f'{name}=…' for name in now)}): an earlier call of this item "
            f"recorded {', '.join(earlier)} and none of these; each call is a row of one table, "
            "where each would be empty half the way: record all of them in one call, or in an "
            "experiment each"
        )


def _measured(row: Mapping[str, Any]) -> list[str]:
    return [name for part in _MEASURED for name in row[part]]
