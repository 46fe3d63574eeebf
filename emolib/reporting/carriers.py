"""Which heads carry an emotion: one rule over the ablations of a study, or over its patching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emolib.reporting.wording import Estimate, estimate
from emolib.results.rows import Row
from emolib.results.selection import (
    DIRECTIONS,
    KindKey,
    StudyKey,
    is_joint,
    is_named,
    kinds,
    studies,
    subject,
)
from emolib.stats.significance import LEVEL

SHARE = 0.1
"""The share of the clean gap that the effect of a head that carries reaches."""
TAKEN = ("logit_diff", "changed", "keyword_rate")
"""The metrics whose summaries `carriers` takes of rows; of the first the vectors too."""
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
        """Return the share of the clean gap that a head moves, None where the gap is not known."""
        effect = self.tables[kind or self.kind].get(head)
        if effect is None or self.gap is None or not self.gap.mean:
            return None
        return abs(effect.of.mean / self.gap.mean)

    def _size(self, head: str) -> float:
        return abs(self.first[head].of.mean)


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
        f"the emotion, by at least {100 * SHARE:.0f} % of the clean gap, and max-T over the heads "
        f"is below {LEVEL}."
    )


def carriers(
    rows: Sequence[Row], gaps: Mapping[StudyKey, Estimate], *, tested: bool = True
) -> list[Carriers]:
    """Return of each study which heads carry its emotion.

    Args:
        rows: Those of ablation or of patching, with their vectors of ``logit_diff``.
        gaps: The clean gaps that are known.
        tested: Whether to test effects against chance; without, none carries anything.
    """
    single = [
        row
        for row in rows
        if is_named(row) and not is_joint(row) and _DECIDES in row.vectors and _is_at_home(row)
    ]
    return [
        _of_study(study, members, gaps.get(study), tested)
        for study, members in studies(single).items()
    ]


def _is_at_home(row: Row) -> bool:
    """Tell whether it edits the run's own position: patching at others is a study of places."""
    at = row.labels.get("position", "")
    return at in ("", row.provenance.get("position", at))


def _of_study(study: StudyKey, rows: Sequence[Row], gap: Estimate | None, tested: bool) -> Carriers:
    # Imported here: it loads numpy, which who only asks for the rule does without.
    from emolib.results.chances import chances

    tables: dict[str, dict[str, Effect]] = {}
    ways: dict[str, int] = {}
    for key, alike in kinds(rows).items():
        found = chances(alike, _DECIDES) if tested else {}
        tables[key.name] = {
            subject(row): Effect(
                estimate(row, _DECIDES) or Estimate(0.0),
                found[row.item, row.row].family if (row.item, row.row) in found else None,
                estimate(row, "changed"),
                estimate(row, "keyword_rate"),
            )
            for row in alike
        }
        ways[key.name] = _way(key, gap)
    first = next(iter(tables.values()))
    ranked = sorted(first, key=lambda head: -abs(first[head].of.mean))
    least = SHARE * abs(gap.mean) if gap else 0.0

    def counts(head: str, kind: str) -> bool:
        effect = tables[kind].get(head)
        return (
            effect is not None
            and effect.is_found
            and effect.of.mean * ways[kind] > 0
            and abs(effect.of.mean) >= least
        )

    others = [kind for kind in tables if kind != "zero"]
    return Carriers(
        study,
        gap,
        tables,
        tuple(head for head in ranked if all(counts(head, kind) for kind in tables)),
        tuple(
            head
            for head in ranked
            if "zero" in tables
            and others
            and counts(head, "zero")
            and all(_size(tables[kind].get(head)) < _SAME * _size(first[head]) for kind in others)
        ),
    )


def _size(effect: Effect | None) -> float:
    return abs(effect.of.mean) if effect else 0.0


def _way(kind: KindKey, gap: Estimate | None) -> int:
    """Return the sign of an effect that tells of the emotion: what takes it out lowers the gap."""
    way = -1 if gap is not None and gap.mean < 0 else 1
    return way if kind.name == _DENOISE else -way
