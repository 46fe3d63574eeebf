"""What was found, in sentences and a table with links to heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emolib.reporting.finding import Finding
from emolib.reporting.findings import findings
from emolib.reporting.page.page_tables import (
    Cell,
    Part,
    Sentence,
    Table,
    sentence,
    study_cells,
    table_of,
    tip_of,
)
from emolib.reporting.page.page_words import link, shown
from emolib.results.records import Store
from emolib.results.selection import StudyKey


class Found(NamedTuple):
    """What the first screen says.

    Attributes:
        in_short: A line a study.
        found: What was found.
        not_found: What was not, or cannot be told, with why.
    """

    in_short: Table
    found: list[Sentence]
    not_found: list[Sentence]


def found_in(store: Store, run: str | None = None, emotion: str | None = None) -> Found:
    """Return what `emolib.reporting.findings.findings` tells, with links to heads."""
    told = findings(store, run=run, emotion=emotion)
    lines = [_in_short(line) for line in told.in_short]
    tips = {"clean gap": tip_of("clean_gap"), "reliability": tip_of("reliability")}
    note = f"Heads: {shown(told.rule)}" if told.rule else ""
    table = table_of("In short", lines, note=note, tips=tips, most=len(lines))
    known = [StudyKey(line["model"], line["emotion"]) for line in told.in_short]
    return Found(table, _sentences(told.found, known), _sentences(told.not_found, known))


def _sentences(found: Sequence[Finding], studies: Sequence[StudyKey]) -> list[Sentence]:
    return [
        sentence(one.about, StudyKey(one.model, one.emotion), one.text, studies) for one in found
    ]


def _in_short(line: Mapping[str, Any]) -> dict[str, Any]:
    study = StudyKey(line["model"], line["emotion"])
    head, kind = line["head"], line["kind"]
    return (
        study_cells(study)
        | {"clean gap": _triple(line["gap"])}
        | {"heads that carry it": _heads(study, line["heads"])}
        | {"strongest": _heads(study, [head] if head else [])}
        | {"its effect (Δ logit_diff)": _triple(line["effect"])}
        | {"by": f"{kind} ablation" if kind and kind not in ("denoise", "noise") else kind}
        | {"share of the gap": line["share"], "reliability": line["reliability"]}
        | {"doubt": line["doubt"]}
    )


def _triple(value: Mapping[str, Any] | None) -> list[float | None] | None:
    return None if value is None else [value["mean"], *(value["ci"] or (None, None))]


def _heads(study: StudyKey, heads: Sequence[str]) -> Cell:
    if not heads:
        return Cell("–")
    parts: list[Part] = []
    for head in heads:
        parts += [Part(", ")] if parts else []
        parts.append(Part(shown(head), link(*study, head)))
    return Cell(", ".join(map(shown, heads)), parts=parts)
