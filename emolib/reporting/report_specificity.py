"""Section of the report on specificity: which heads are about an emotion, and which about any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

from emolib.reporting.experiments import SPECIFIC
from emolib.reporting.markdown import escape, table
from emolib.reporting.report_parts import heading, missing, q_of
from emolib.results.chances import of_rows
from emolib.results.rows import Row, group
from emolib.results.selection import kinds, strongest, studies, subject
from emolib.stats.noise import FLOAT_NOISE

TESTED = ("specificity", "specificity_prompts")
"""The metrics that say so, by words and by prompts."""
THIS, ANY, NONE = "this emotion", "any emotion", "no effect"
AS_MUCH, OTHERS = "others as much", "other emotions more"
_NAMED, _WORDS = 6, "effect_"


def specificity(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the strongest heads of each study with what they are about."""
    yield "## Specificity"
    if not rows:
        yield missing(SPECIFIC)
        return
    yield (
        "Whether what a head does is about this emotion or about any: its effect on logit_diff "
        "less the mean of its effects on the other emotions' words, on the same prompts (by "
        "words), and less the mean of what it does to the other emotions' own words on their own "
        f"prompts (by prompts), logits. “{THIS}”: an effect, and more of it here, its 95 % CI "
        f"away from 0; “{ANY}”: an effect, and a CI of the difference that holds 0; “{AS_MUCH}”: "
        "more than the others' words on average, and yet those of one of them move as far, one way "
        "or the other. q: Benjamini–Hochberg over the heads."
    )
    for study, found in studies(rows).items():
        # Heads that a rank and a name stand for alike are one row.
        members = list(chain(*kinds(found).values()))
        chances = {metric: of_rows(members, metric) for metric in TESTED}
        top = strongest(members, "logit_diff", top_n)
        others = sorted({name for row in top for name in _others(row)})
        kind = ", ".join(sorted({row.labels.get("kind", "") for row in top} - {""}))
        yield heading(study, f"{kind} ablation" if kind else "")
        yield from _said(top)
        yield table(
            [
                {"heads": subject(row), "Δ logit_diff": row.values.get("logit_diff")}
                | {f"Δ {n.removeprefix(_WORDS)} words": row.mean(n) for n in others}
                | {"by words": row.values.get("specificity")}
                | {"by words: q": q_of(chances["specificity"], row)}
                | {"by words: about": about(row, "specificity")}
                | {"by prompts": row.values.get("specificity_prompts")}
                | {"by prompts: q": q_of(chances["specificity_prompts"], row)}
                | {"by prompts: about": about(row, "specificity_prompts")}
                for row in top
            ]
        )


def about(row: Row, metric: str) -> str:
    """Return what the heads of a row are about, by one of `TESTED`; empty where that is unknown."""
    if _side(row, "logit_diff") == 0:
        return NONE
    if row.values.get(metric) is None or row.interval(metric) is None:
        return ""
    if (side := _side(row, metric)) == 0:
        return ANY
    if side != _side(row, "logit_diff"):
        return OTHERS
    most = max((abs(row.mean(name) or 0.0) for name in _others(row)), default=0.0)
    by_words = metric == TESTED[0]
    return AS_MUCH if by_words and most >= abs(row.mean("logit_diff") or 0.0) else THIS


def _others(row: Row) -> list[str]:
    """Return the metrics of a row that are its effects on the words of other emotions."""
    own = _WORDS + row.dims.get("emotion", "")
    return [name for name in row.values if name.startswith(_WORDS) and name != own]


def _side(row: Row, metric: str) -> int:
    """Return on which side of 0 a metric's interval lies, 0 where it holds it."""
    mean, ends = row.mean(metric), row.interval(metric)
    if mean is None or ends is None or abs(mean) <= FLOAT_NOISE or ends[0] <= 0 <= ends[1]:
        return 0
    return 1 if mean > 0 else -1


def _said(top: Sequence[Row]) -> Iterator[str]:
    for metric, by in zip(TESTED, ("By words", "By prompts"), strict=True):
        found = group(top, partial(about, metric=metric))
        parts = []
        for verdict in (THIS, AS_MUCH, OTHERS, ANY):
            names = [escape(subject(row)) for row in found.get(verdict, [])]
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                parts.append(f"{verdict}: {', '.join(names[:_NAMED])}{more}")
        if parts:
            yield f"{by}, of the heads below: {'; '.join(parts)}."
