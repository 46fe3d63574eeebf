"""What the sections of the report share: headings, columns, tables of any experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emolib.reporting.markdown import escape, table
from emolib.results.chances import Chances, of_rows
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, kinds, strongest, studies, subject

# Metrics that a table of any experiment shows, the first with its interval.
_METRICS = 6


def missing(*experiments: str) -> str:
    """Return which command makes the rows that a section lacks."""
    files = " ".join(f"experiments/exp_{name}.py" for name in experiments)
    return f"Not run: `pytest {files}`."


def heading(parts: Sequence[str], more: str = "") -> str:
    """Return the heading of a part of a section."""
    about = escape(", ".join(filter(None, parts)) or "all")
    return f"### {about}{': ' if more else ''}{escape(more)}"


def named(study: StudyKey) -> dict[str, str]:
    """Return a study as the first columns of a table."""
    return {"model": study.model, "emotion": study.emotion}


def title(metric: str, kind: str) -> str:
    """Return the title of the column of a metric under one kind of intervention."""
    return f"{kind}: {metric}" if kind else metric


def q_of(chances: Chances, row: Row) -> float | None:
    """Return the q of a row, None where it was not tested."""
    return chances.get((row.item, row.row), (None, None))[1]


def strongest_rows(experiments: Mapping[str, Sequence[Row]], top_n: int) -> Iterator[str]:
    """Yield the strongest rows of each experiment and study, by its first metric."""
    for name, rows in experiments.items():
        for study, members in studies(rows).items():
            metrics = list(dict.fromkeys(metric for row in members for metric in row.values))
            by = next(iter(metrics), "")
            chances = {
                place: chance
                for alike in kinds(members).values()
                for place, chance in of_rows(alike, by).items()
            }
            yield heading((name, *study))
            yield table(
                [
                    {"what": subject(row)}
                    | {k: row.dims[k] for k in ("ablation",) if k in row.dims}
                    | row.labels
                    | {by: row.values.get(by), "q": q_of(chances, row)}
                    | {metric: row.mean(metric) for metric in metrics[1:_METRICS]}
                    for row in strongest(members, by, top_n)
                ]
            )
