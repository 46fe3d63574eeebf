"""Rows by what they are about: the studies, the tables within them, their strongest rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, get_args

from emolib.inputs.heads import parse_head
from emolib.inputs.profiles import Ablation
from emolib.results.rows import Row, group

ABLATIONS: tuple[str, ...] = get_args(Ablation)
"""Kinds of ablation in the order of tables and legends."""
DIRECTIONS = ("denoise", "noise")
"""Directions of patching in that order."""
_TARGETS = ("heads", "units")


class StudyKey(NamedTuple):
    """What the rows of a study share; empty where an item has none."""

    model: str
    emotion: str


class KindKey(NamedTuple):
    """What the rows of a table within a study share; empty where a row has none."""

    ablation: str
    direction: str
    position: str

    @property
    def name(self) -> str:
        """What the intervention is called: the kind of ablation or the direction of patching."""
        return self.ablation or self.direction


def study_of(row: Row) -> StudyKey:
    """Return the study a row belongs to."""
    return StudyKey(row.dims.get("model", ""), row.dims.get("emotion", ""))


def kind_of(row: Row) -> KindKey:
    """Return which table within its study a row belongs to."""
    named = row.dims | row.labels
    return KindKey(*(named.get(name, "") for name in KindKey._fields))


def subject(row: Row) -> str:
    """Return what a row is about: heads or units, else the parts of its item."""
    found = next((row.dims[name] for name in _TARGETS if name in row.dims), None)
    known = (*StudyKey._fields, *KindKey._fields)
    others = [value for name, value in row.dims.items() if name not in known]
    return found or ", ".join(others) or row.item.rpartition("::")[2]


def is_joint(row: Row) -> bool:
    """Tell whether a row is of several heads or units edited together."""
    return "+" in subject(row)


def is_named(row: Row) -> bool:
    """Tell whether a row is of heads or units that its item names."""
    return any(name in row.dims for name in _TARGETS)


def layer_of(row: Row) -> int | None:
    """Return the layer of a row on a single head, None of any other."""
    heads = row.dims.get("heads", "")
    return parse_head(heads).layer if heads.startswith("L") and "+" not in heads else None


def depth_of(row: Row) -> float | None:
    """Return where the layer of a row on a single head lies: 0 the first of its model, 1 the last.

    None of any other row, and where the row does not say how many layers its model has.
    """
    layer, layers = layer_of(row), row.provenance.get("shape", {}).get("layers")
    return None if layer is None or layers is None else layer / max(1, layers - 1)


def is_at_home(row: Row) -> bool:
    """Tell whether a row is of the position that its run asks for, or of none.

    Patching at other positions is a study of places.
    """
    position = row.labels.get("position", "")
    return position in ("", row.provenance.get("position", position))


def chosen_by_rank(row: Row) -> bool:
    """Tell whether screening of the same prompts chose what a row is about (``top:N``)."""
    return any(row.labels.get(name, "").startswith("top") for name in ("spec", "unit_spec"))


def studies(rows: Iterable[Row]) -> dict[StudyKey, list[Row]]:
    """Return rows by study, in order of model and emotion."""
    return dict(sorted(group(rows, study_of).items()))


def kinds(rows: Iterable[Row]) -> dict[KindKey, list[Row]]:
    """Return rows of one study by kind of ablation, direction and position, zero first.

    Heads that a rank (``top1``) and a name stand for alike are one row, the named one: counted
    twice they would be two tests of one effect.
    """
    found: dict[KindKey, dict[tuple[str, int], Row]] = {}
    for row in sorted(rows, key=chosen_by_rank):
        found.setdefault(kind_of(row), {}).setdefault((subject(row), row.row), row)
    place = {ablation: index for index, ablation in enumerate(ABLATIONS)}
    order = sorted(found, key=lambda kind: place.get(kind.ablation, len(place)))
    return {kind: list(found[kind].values()) for kind in order}


def strongest(rows: Iterable[Row], metric: str, count: int | None = None) -> list[Row]:
    """Return the rows with the largest absolute mean of a metric, all of them by default."""
    order = sorted(rows, key=lambda row: (-abs(row.mean(metric) or 0.0), row.item, row.row))
    return order[:count]


def strongest_subjects(rows: Iterable[Row], metric: str, count: int | None = None) -> list[str]:
    """Return what the strongest rows are about, each once, by the largest of its rows."""
    return list(dict.fromkeys(map(subject, strongest(rows, metric))))[:count]


def clean_gap(rows: Sequence[Row]) -> float | None:
    """Return a study's clean gap ``M_emo − M_neu``, logits, or None where it is not known.

    Args:
        rows: Rows of patching, whose ``recovery`` is their mean ``logit_diff`` over the gap. The
            largest one tells the gap with the least rounding.
    """
    known = [
        (abs(recovery), effect / recovery)
        for row in rows
        if (recovery := row.mean("recovery")) and (effect := row.mean("logit_diff")) is not None
    ]
    return max(known)[1] if known else None
