"""Which heads carry an emotion: one rule over the ablations of a study, or over its patching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from emolib.reporting.wording import Estimate, estimate
from emolib.results.rows import Row
from emolib.results.selection import (
    DIRECTIONS,
    StudyKey,
    is_at_home,
    is_joint,
    is_named,
    kinds,
    studies,
    subject,
)
from emolib.stats.significance import LEVEL

LEAST_GAP = 0.1
"""The clean gap, in logits, below which there is nothing to carry."""
SHARE = 0.1
"""The share of the clean gap that the effect of a head that carries reaches."""
TAKEN = ("logit_diff", "changed", "keyword_rate")
"""The metrics whose summaries `carriers` takes of rows."""
_DENOISE = DIRECTIONS[0]
_DECIDES = TAKEN[0]
# Of the effect under zero ablation; below it another kind's effect counts for nothing.
_SAME = 0.2


@dataclass(frozen=True)
class Effect:
    """What one intervention on one head does, and whether that is more than chance.

    Attributes:
        of: Δ logit_diff.
        max_t: max-T over the heads of its table; None where a rank chose the head.
        changed: The share of texts that it changes.
        keywords: How many of the emotion's words per 100 come or go.
    """

    of: Estimate
    max_t: float | None
    changed: Estimate | None = None
    keywords: Estimate | None = None

    @property
    def is_found(self) -> bool:
        """Whether it is more than chance, however many heads were looked at."""
        return self.max_t is not None and self.max_t < LEVEL


@dataclass(frozen=True)
class Carriers:
    """The heads of one study, by what interventions on each alone do.

    Attributes:
        study: The study.
        gap: Its clean gap.
        tables: By kind of ablation, or direction of patching, the effect of each head.
        heads: Those that carry the emotion, by `rule`, the strongest first.
        constants: Those that count under zero ablation and come to nothing under any other.
    """

    study: StudyKey
    gap: Estimate | None
    tables: Mapping[str, Mapping[str, Effect]]
    heads: tuple[str, ...] = field(default=())
    constants: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> str:
        """The intervention whose effects are told first."""
        return next(iter(self.tables))

    @property
    def intervention(self) -> str:
        """What it is called in a sentence."""
        return f"{self.kind} {'patching' if self.kind in DIRECTIONS else 'ablation'}"

    @property
    def first(self) -> Mapping[str, Effect]:
        """Its effects."""
        return self.tables[self.kind]

    @property
    def strongest(self) -> str:
        """The head that carries the most, or moves the most where none does."""
        return self.heads[0] if self.heads else max(self.first, key=self._size)

    @property
    def is_tested(self) -> bool:
        """Whether any head was tested against chance: not all were chosen by a rank."""
        return any(effect.max_t is not None for effect in self.first.values())

    def share(self, head: str, kind: str | None = None) -> float | None:
        """Return the share of the clean gap that a head moves the way that tells of the emotion.

        Less than 0 of one that moves it the other way; None where there is no gap, see `is_gap`.
        """
        effect = self.tables[kind or self.kind].get(head)
        if effect is None or not is_gap(self.gap):
            return None
        return _way(kind or self.kind, self.gap) * effect.of.mean / abs(self.gap.mean)

    def _size(self, head: str) -> float:
        return abs(self.first[head].of.mean)


def is_gap(gap: Estimate | None) -> TypeGuard[Estimate]:
    """Tell whether there is a clean gap that heads can have a share of."""
    if gap is None or abs(gap.mean) < LEAST_GAP:
        return False
    return gap.ci is None or not gap.holds_zero


def rule(kinds_of: Iterable[str]) -> str:
    """Return in a sentence when a head is said to carry an emotion.

    Args:
        kinds_of: The kinds of ablation, or directions of patching, that were run.
    """
    patched = set(kinds_of) <= {*DIRECTIONS}
    how = (
        "patching it alone, in every direction that was run,"
        if patched
        else "ablating it alone, by every kind of ablation that was run,"
    )
    return (
        f"A head is said to carry an emotion where {how} moves logit_diff the way that tells of "
        f"the emotion, by at least {100 * SHARE:.0f} % of the clean gap where that is known, and "
        f"max-T over the heads is below {LEVEL}."
    )


def carriers(
    rows: Sequence[Row],
    gaps: Mapping[StudyKey, Estimate],
    max_t: Mapping[tuple[str, int], float | None],
) -> list[Carriers]:
    """Return of each study which heads carry its emotion.

    Args:
        rows: Those of ablation or of patching, outlines or whole.
        gaps: The clean gaps that are known.
        max_t: By item and number of the row what max-T says of its ``logit_diff``; of what is not
            in there nothing is known, and it carries nothing.
    """
    single = [
        row
        for row in rows
        if is_named(row)
        and not is_joint(row)
        and isinstance(row.values.get(_DECIDES), dict)
        and is_at_home(row)
    ]
    return [
        _of_study(study, members, gaps.get(study), max_t)
        for study, members in studies(single).items()
    ]


def _of_study(
    study: StudyKey,
    rows: Sequence[Row],
    gap: Estimate | None,
    max_t: Mapping[tuple[str, int], float | None],
) -> Carriers:
    tables: dict[str, dict[str, Effect]] = {}
    for key, alike in kinds(rows).items():
        tables[key.name] = {
            subject(row): Effect(
                estimate(row, _DECIDES) or Estimate(0.0),
                max_t.get((row.item, row.row)),
                estimate(row, "changed"),
                estimate(row, "keyword_rate"),
            )
            for row in alike
        }
    first = next(iter(tables.values()))
    ranked = sorted(first, key=lambda head: -abs(first[head].of.mean))

    def counts(head: str, kind: str) -> bool:
        effect = tables[kind].get(head)
        return (
            effect is not None
            and effect.is_found
            and effect.of.mean * _way(kind, gap) > 0
            and (gap is None or (is_gap(gap) and abs(effect.of.mean / gap.mean) >= SHARE))
        )

    others = [tables[kind] for kind in tables if kind != "zero"]

    def is_constant(head: str) -> bool:
        if not others or not all(head in table for table in others):
            return False
        size = abs(tables["zero"][head].of.mean)
        return all(abs(table[head].of.mean) < _SAME * size for table in others)

    carrying = [head for head in ranked if all(counts(head, kind) for kind in tables)]
    counting = [head for head in tables.get("zero", ()) if counts(head, "zero")]
    constants = [head for head in counting if head not in carrying and is_constant(head)]
    return Carriers(study, gap, tables, tuple(carrying), tuple(constants))


def _way(kind: str, gap: Estimate | None) -> int:
    """Return the sign of an effect that tells of the emotion: what takes it out lowers the gap."""
    way = -1 if gap is not None and gap.mean < 0 else 1
    return way if kind == _DENOISE else -way
