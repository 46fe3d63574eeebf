"""What readers of a run have to know beside its numbers: what was left out, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from emolib.results.rows import Row
from emolib.results.selection import (
    ABLATIONS,
    KindKey,
    StudyKey,
    chosen_by_rank,
    kind_of,
    study_of,
    subject,
)

_NAMED = 2
# Whose rows the report tests against chance.
_TESTED = ("logit_diff", "atp_ig")


def notes(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a line on the pairs left out of each study and one on the words left out of logits."""
    pairs: dict[str, str] = {}
    words: dict[str, dict[str, None]] = {}
    for row in rows:
        model, emotion = study_of(row)
        if left_out := row.provenance.get("left_out"):
            reasons = _some([f"{pair}: {reason}" for pair, reason in left_out], "; ")
            pairs[f"{model}, {emotion}"] = f"{len(left_out)} pairs left out ({reasons})"
        if pieces := row.provenance.get("in_pieces"):
            line = f"{emotion}: {len(pieces)} words are several tokens each ({_some(pieces)})"
            words.setdefault(line, {})[model] = None
    yield from (f"{study}: {line}" for study, line in pairs.items())
    for line, models in words.items():
        yield f"{line} and stay out of the logit metrics of {', '.join(models)}"


def out_of_reach(rows: Iterable[Row], clusters: Callable[[Row], tuple[int, str]]) -> Iterator[str]:
    """Yield a line for each design that can tell too little from chance, whatever the effects are.

    Args:
        rows: Rows of any tables, outlines or whole.
        clusters: As in `Designs.out_of_reach`.
    """
    designs = Designs()
    for row in rows:
        designs.add(row)
    yield from designs.out_of_reach(clusters)


class Designs:
    """How many tests each table has, of rows seen one by one: what `out_of_reach` goes by.

    Of a table with effects on ``logit_diff`` or ``atp_ig`` the tests are its rows, less those that
    a rank chose.
    """

    def __init__(self) -> None:
        """Begin with none."""
        # By experiment, study and kind: its first row, and what its rows are about.
        self._tables: dict[tuple[str, StudyKey, KindKey], tuple[Row, set[tuple[str, int]]]] = {}

    def add(self, row: Row) -> None:
        """See a row, an outline or whole."""
        tested = any(isinstance(row.values.get(name), dict) for name in _TESTED)
        if tested and not chosen_by_rank(row):
            table = row.experiment, study_of(row), kind_of(row)
            self._tables.setdefault(table, (row, set()))[1].add((subject(row), row.row))

    def out_of_reach(self, clusters: Callable[[Row], tuple[int, str]]) -> Iterator[str]:
        """Yield a line for each design that can tell too little from chance, whatever the effects.

        Args:
            clusters: Of a row, how many templates or prompts it stands on and which of the two:
                `clusters_of` where rows are whole.
        """
        if not self._tables:
            return
        # Imported here: it loads numpy, which runs that test nothing do without.
        from emolib.stats.significance import reach

        found: dict[str, dict[str, None]] = {}
        for (experiment, *_), (first, tests) in sorted(self._tables.items(), key=self._place):
            count, of = clusters(first)
            if why := reach(count, len(tests), of=of).why:
                found.setdefault(why, {})[experiment] = None
        yield from (f"{', '.join(names)}: {why}" for why, names in found.items())

    def _place(self, table: tuple[tuple[str, StudyKey, KindKey], Any]) -> tuple[int, StudyKey, int]:
        experiment, study, kind = table[0]
        experiments = list(dict.fromkeys(name for name, *_ in self._tables))
        kinds = [*ABLATIONS, kind.ablation]
        return experiments.index(experiment), study, kinds.index(kind.ablation)


def clusters_of(row: Row) -> tuple[int, str]:
    """Return how many templates a whole row stands on, or prompts where it has none."""
    if templates := set(row.pairs.get("templates", ())):
        return len(templates), "templates"
    return max(map(len, row.vectors.values()), default=0), "prompts"


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:_NAMED]) + (f"{between}…" if len(names) > _NAMED else "")
