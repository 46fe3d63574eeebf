"""What a head does, prompt by prompt: effects on pairs, texts before and after, where it looks."""

from __future__ import annotations

import json
import math
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from emolib.reporting.experiments import ABLATED, ATTENTION, PATCHED
from emolib.reporting.page.map_scores import Score, by_pair, kind_name
from emolib.reporting.page.page_words import is_head
from emolib.reporting.page.study_prompts import CLEAN, Side, StudyPrompts, after_of, side_of
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, chosen_by_rank, study_of

# Pairs whose attention is shown of a head.
_LOOKS = 6
# Significant digits of the largest value of a vector; the others have as many decimals.
_DIGITS = 4
_GAP = float("nan")
# By how much a text counts less than the one before it, so that of texts that are changed alike
# some of every head stay.
_RANK = 1e-3
_TITLES = {ABLATED: "ablation", PATCHED: "patching"}


@dataclass
class Changed:
    """The texts that one intervention on a head changed, packed, the most changed first.

    Attributes:
        title: What the intervention is called.
        side: Whose clean texts they were: emotion or neutral.
        of: How many texts there are, changed or not.
        sizes: By how much each was changed, falling: the share of its words, less something for
            its rank.
        packed: JSON of a list a text: pair, text after, and the text before where it is not the
            clean text of the study.
    """

    title: str
    side: Side
    of: int
    sizes: array[float]
    packed: bytes

    def rows(self, least: float) -> list[list[Any]]:
        """Return the texts that were changed by so much at least."""
        count = sum(size >= least for size in self.sizes)
        return list(json.loads(zlib.decompress(self.packed))[:count])

    @property
    def cost(self) -> float:
        """About how many bytes one of the texts takes on the page."""
        return len(self.packed) * 4 / 3 / max(1, len(self.sizes))


@dataclass
class Detail:
    """What is known of one head.

    Attributes:
        effects: By score the values, pair by pair, NaN where a pair has none.
        texts: What each intervention changed.
        looks: Pair, and attention from the last token over the tokens of both sides.
    """

    effects: dict[Score, array[float]] = field(default_factory=dict)
    texts: dict[str, Changed] = field(default_factory=dict)
    looks: list[tuple[int, list[float], list[float]]] = field(default_factory=list)

    def told(self, least: float) -> dict[str, Any]:
        """Return it as its blob has it, texts no less changed than `least`."""
        return {
            "effects": [
                {"score": score.id, "values": _told(values)}
                for score, values in self.effects.items()
            ],
            "attention": [
                {"pair": pair, "emotion": own, "neutral": other} for pair, own, other in self.looks
            ],
            "texts": [
                {
                    "title": changed.title,
                    "side": changed.side,
                    "of": changed.of,
                    "changed": len(changed.sizes),
                    "rows": changed.rows(least),
                }
                for changed in self.texts.values()
                if changed.of
            ],
        }


class HeadDetails:
    """The details of every head of every study, from rows seen one by one.

    Rows of attention come last: the pairs that are shown are those that the head moves most.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.heads: dict[StudyKey, dict[str, Detail]] = {}

    def see(self, row: Row, prompts: StudyPrompts) -> None:
        """Take note of a whole row; of one that is on no single head, of nothing."""
        head = row.dims.get("heads", "")
        if not is_head(head):
            return
        detail = self.heads.setdefault(study_of(row), {}).setdefault(head, Detail())
        score = by_pair(row)
        if score is not None and not (chosen_by_rank(row) and score in detail.effects):
            vector = row.vectors[score.metric]
            if places := prompts.places(row, len(vector)):
                values = array("d", [_GAP]) * len(prompts.ids)
                for place, value in zip(places, vector, strict=True):
                    if place >= 0:
                        values[place] = value
                detail.effects[score] = values
        if row.experiment == ATTENTION:
            detail.looks = list(_looks(row, detail, prompts))
        if (after := after_of(row)) is not None:
            title = f"{kind_name(row)} {_TITLES.get(row.experiment, row.experiment)}".strip()
            if not (chosen_by_rank(row) and title in detail.texts):
                detail.texts[title] = _changed(row, after, title, prompts)


def _changed(row: Row, after: str, title: str, prompts: StudyPrompts) -> Changed:
    side = side_of(row)
    befores, afters = row.texts[CLEAN], row.texts[after]
    places = prompts.places(row, len(afters)) or []
    found: list[tuple[float, list[Any]]] = []
    for place, before, text in zip(places, befores, afters, strict=False):
        if place < 0 or before == text:
            continue
        known = prompts.clean[side].get(prompts.ids[place])
        line = [place, text] if before == known else [place, text, before]
        found.append((_share_changed(before, text), line))
    found.sort(key=lambda one: -one[0])
    packed = json.dumps([line for _, line in found], ensure_ascii=False, separators=(",", ":"))
    sizes = array("d", [size - _RANK * rank for rank, (size, _) in enumerate(found)])
    return Changed(title, side, len(places), sizes, zlib.compress(packed.encode()))


def _share_changed(before: str, after: str) -> float:
    """Return the share of the words of two texts that the other does not have.

    >>> _share_changed("thank you", "thank him")
    0.5
    """
    words = Counter(before.split()), Counter(after.split())
    total = words[0].total() + words[1].total()
    return 1 - 2 * (words[0] & words[1]).total() / total if total else 1.0


def _looks(
    row: Row, detail: Detail, prompts: StudyPrompts
) -> Iterator[tuple[int, list[float], list[float]]]:
    """Yield the attention on the pairs that the head moves most."""
    own, other = (row.lists.get(f"{side}_attention", []) for side in ("emotion", "neutral"))
    places = prompts.places(row, len(own))
    if not places or len(own) != len(other):
        return
    moved = next(iter(detail.effects.values()), array("d"))

    def size(number: int) -> float:
        value = moved[places[number]] if places[number] < len(moved) else 0.0
        return 0.0 if math.isnan(value) else -abs(value)

    for number in sorted(range(len(own)), key=size)[:_LOOKS]:
        if places[number] >= 0:
            yield places[number], _thousandths(own[number]), _thousandths(other[number])


def _thousandths(weights: Sequence[Any]) -> list[float]:
    return [round(float(weight), 3) for weight in weights]


def _told(values: Sequence[float]) -> list[float | None]:
    """Return a vector as JSON has it: as many decimals as show the largest with four digits."""
    largest = max((abs(v) for v in values if not math.isnan(v)), default=0.0)
    decimals = _DIGITS - 1 - math.floor(math.log10(largest)) if largest else 0
    return [None if math.isnan(v) else _short(round(v, decimals)) for v in values]


def _short(value: float) -> float:
    """Return a number as JSON writes it shortest: whole ones without a point.

    >>> _short(0.0), _short(-0.0), _short(1.5)
    (0, 0, 1.5)
    """
    return int(value) if value == int(value) else value
