"""What the effects of a study stand on, and whether two runs can be compared by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emolib.inputs.profiles import compared_in
from emolib.results.rows import Row


@dataclass(frozen=True)
class Ground:
    """What the effects of a study stand on.

    Attributes:
        model: The model's name.
        emotion: The emotion.
        type: The model's architecture.
        weights: Hash of its weights and configuration.
        tokenizer: Hash of its tokenizer.
        prompts: Hash of prompts and lexicons.
        settings: Those of `emolib.inputs.profiles.COMPARED`.
        device: Where it ran.
        gap: Clean gap of ``logit_diff`` between the sides, logits; None of free prompts.
        ids: Ids of the pairs.
        versions: Of python and the libraries.
        commit: Of the project, ``+`` behind it where the tree was changed.
        time: When, ISO 8601 in UTC.
    """

    model: str
    emotion: str
    type: str
    weights: str
    tokenizer: str
    prompts: str
    settings: dict[str, Any]
    device: str
    gap: float | None = None
    ids: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    time: str = ""

    @property
    def study(self) -> tuple[str, str]:
        """(model, emotion)."""
        return self.model, self.emotion


def ground_of(row: Row, count: int) -> Ground:
    """Return what a row stands on.

    Args:
        row: A whole row.
        count: Number of its pairs; they are numbered where the row does not have their ids.
    """
    told = row.provenance
    ids = tuple(row.pairs.get("ids", ()))
    return Ground(
        row.dims["model"],
        row.dims["emotion"],
        told["model"]["type"],
        f"{told['model']['weights']}-{told['model']['config']}",
        told["model"]["tokenizer"],
        told["prompts"],
        compared_in(told),
        told["device"],
        told["clean_gap"],
        ids if len(ids) == count else tuple(map(str, range(count))),
        told.get("versions", {}),
        told.get("commit"),
        row.time,
    )


def differs(old: Ground, new: Ground) -> list[str]:
    """Return what makes two runs incomparable, each as ``what: before -> now``."""
    found = [
        f"{name}: {before} -> {now}"
        for name, before, now in (
            ("model type", old.type, new.type),
            ("tokenizer", old.tokenizer, new.tokenizer),
            ("prompt set", old.prompts, new.prompts),
        )
        if before != now
    ]
    before = compared_in(old.settings)
    found += [
        f"{name}: {before[name]} -> {now}"
        for name, now in compared_in(new.settings).items()
        if before[name] != now
    ]
    if old.ids and new.ids and old.ids != new.ids:
        found.append(f"pairs: {len(old.ids)} -> {len(new.ids)}, of other ids")
    return found


def moved(old: Ground, new: Ground) -> bool:
    """Tell whether weights or device have changed, so that numbers may too."""
    return (old.weights, old.device) != (new.weights, new.device)


def replayable(old: Ground, new: Ground) -> bool:
    """Tell whether two runs must give equal numbers: weights and device too are the same."""
    return not moved(old, new) and compared_in(old.settings)["dtype"] in ("float32", "float64")
