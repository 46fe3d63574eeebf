"""The prompts of a study: pairs, texts, tokens, and where the two sides of a pair differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from emolib.reporting.experiments import ATTENTION
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, study_of

Side = Literal["emotion", "neutral"]
SIDES: tuple[Side, Side] = ("emotion", "neutral")
PROMPT, CLEAN = "prompt", "clean_text"


def side_of(row: Row) -> Side:
    """Return which prompts a row ran on: what goes into neutral ones is denoising."""
    said = row.labels.get("direction"), row.labels.get("on")
    return "neutral" if "denoise" in said or "neutral" in said else "emotion"


def after_of(row: Row) -> str | None:
    """Return the name of the texts that an intervention gave, None where a row has none."""
    if CLEAN not in row.texts:
        return None
    others = [name for name in row.texts if name not in (PROMPT, CLEAN)]
    return next((name for name in others if name.endswith("_text")), None)


@dataclass
class StudyPrompts:
    """What is known of the prompts of one study.

    Attributes:
        ids: Of the pairs, in the order of every vector on the page.
        templates: Of the pairs, empty where they have none.
        prompts: Per side the prompts by the id of their pair.
        clean: Per side the clean continuations by the id of their pair.
        tokens: Per side the tokens by the id of their pair.
        slots: Spans of tokens by the id of their pair.
        position: Where interventions of the study act.
        gap: The clean gap, logits.
        limit: Of the pairs, how many are kept.
    """

    ids: list[str] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    prompts: dict[Side, dict[str, str]] = field(default_factory=lambda: {s: {} for s in SIDES})
    clean: dict[Side, dict[str, str]] = field(default_factory=lambda: {s: {} for s in SIDES})
    tokens: dict[Side, dict[str, list[Any]]] = field(default_factory=lambda: {s: {} for s in SIDES})
    slots: dict[str, list[Any]] = field(default_factory=dict)
    position: str = ""
    gap: float | None = None

    def places(self, row: Row, count: int) -> list[int] | None:
        """Return which pair each of so many values of a row belongs to; None where none does."""
        ids = row.pairs.get("ids", [])
        if len(ids) != count:
            return list(range(count)) if not ids and count == len(self.ids) else None
        if ids == self.ids:
            return list(range(count))
        known = {name: place for place, name in enumerate(self.ids)}
        return [known.get(name, -1) for name in ids]

    def told(self) -> dict[str, Any]:
        """Return it as the blob of the study has it."""
        templates = self.templates or [""] * len(self.ids)
        pairs = [
            {"id": name, "template": template}
            for name, template in zip(self.ids, templates, strict=True)
        ]
        columns: dict[str, list[Any]] = {s: self._column(self.prompts[s]) for s in SIDES}
        spans = [differing(a, b) for a, b in zip(*columns.values(), strict=True)]
        return {
            "pairs": pairs,
            **columns,
            "differ": {side: [span[i] for span in spans] for i, side in enumerate(SIDES)},
            "clean": {side: self._column(self.clean[side]) for side in SIDES},
            "tokens": {side: self._column(self.tokens[side]) for side in SIDES}
            if any(self.tokens.values())
            else None,
            "slot": self._column(self.slots) if self.slots else None,
        }

    def _column(self, values: Mapping[str, Any]) -> list[Any]:
        return [values.get(name) for name in self.ids]


class Prompts:
    """The prompts of every study, from rows seen one by one."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._studies: dict[StudyKey, StudyPrompts] = {}
        self._longest: dict[StudyKey, int] = {}

    def __getitem__(self, study: StudyKey) -> StudyPrompts:
        """Return what is known of a study."""
        return self._studies.setdefault(study, StudyPrompts())

    def see(self, row: Row) -> None:
        """Take note of a whole row."""
        known = self[study_of(row)]
        self._take_pairs(known, row)
        known.position = known.position or str(row.provenance.get("position", ""))
        gap = row.provenance.get("clean_gap")
        known.gap = gap if isinstance(gap, (int, float)) else known.gap
        side = side_of(row)
        for column, texts in ((PROMPT, known.prompts[side]), (CLEAN, known.clean[side])):
            if column in row.texts:
                self._keep(known, row, row.texts[column], texts)
        if row.experiment == ATTENTION:
            lists: tuple[tuple[str, dict[str, Any]], ...] = (
                ("emotion_tokens", known.tokens["emotion"]),
                ("neutral_tokens", known.tokens["neutral"]),
                ("slot", known.slots),
            )
            for name, kept in lists:
                self._keep(known, row, row.lists.get(name, ()), kept)

    def _take_pairs(self, known: StudyPrompts, row: Row) -> None:
        """Take the pairs of the row that has the most of them; of free prompts their number."""
        ids = row.pairs.get("ids") or [str(i) for i in range(_count(row))]
        if len(ids) > len(known.ids):
            known.ids = list(ids)
            templates = row.pairs.get("templates", [])
            known.templates = list(templates) if len(templates) == len(ids) else []

    def _keep(
        self, known: StudyPrompts, row: Row, values: Sequence[Any], kept: dict[str, Any]
    ) -> None:
        if len(kept) == len(known.ids):
            return
        places = known.places(row, len(values))
        for place, value in zip(places or (), values, strict=False):
            if place >= 0:
                kept.setdefault(known.ids[place], value)


def _count(row: Row) -> int:
    """Return how many free prompts a row has texts of; 0 where it has none."""
    return len(row.texts.get(PROMPT, ()))


def differing(left: str | None, right: str | None) -> tuple[list[int] | None, list[int] | None]:
    """Return where two prompts differ, whole words, each as a half-open span of its characters.

    Characters are counted as a browser does, in units of UTF-16.

    >>> differing("He thanked me.", "He saw me.")
    ([3, 10], [3, 6])
    """
    if left is None or right is None or left == right:
        return None, None
    start = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    while start and not left[start - 1].isspace():
        start -= 1
    while end and left[len(left) - end].isalnum():
        end -= 1
    return _span(left, start, len(left) - end), _span(right, start, len(right) - end)


def _span(text: str, start: int, end: int) -> list[int]:
    return [_units(text[:start]), _units(text[:end])]


def _units(text: str) -> int:
    """Return the length of a text in units of UTF-16."""
    return len(text) + sum(char > "\uffff" for char in text)
