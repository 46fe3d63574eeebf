"""What a run prints at its end: what was left out, and the tables of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from emolib.records import Row, group
from emolib.tables import summary_table

_NAMED = 2


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line on the pairs left out of each study and one on the words left out of logits."""
    pairs: dict[str, str] = {}
    words: dict[str, dict[str, None]] = {}
    for row in rows:
        model, emotion = row.dims.get("model", ""), row.dims.get("emotion", "")
        if left_out := row.provenance.get("left_out"):
            reasons = _some([f"{pair}: {reason}" for pair, reason in left_out], "; ")
            pairs[f"{model}, {emotion}"] = f"{len(left_out)} pairs left out ({reasons})"
        if pieces := row.provenance.get("in_pieces"):
            line = f"{emotion}: {len(pieces)} words are several tokens each ({_some(pieces)})"
            words.setdefault(line, {})[model] = None
    yield from (f"{study}: {line}" for study, line in pairs.items())
    for line, models in words.items():
        yield f"{line} and stay out of the logit metrics of {', '.join(models)}"


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:_NAMED]) + (f"{between}…" if len(names) > _NAMED else "")


def print_tables(
    reporter: pytest.TerminalReporter, rows: Sequence[Row], names: Sequence[str], fmt: str
) -> None:
    """Print a table per experiment.

    Args:
        reporter: Where to.
        rows: In any order; those of several workers come as they come.
        names: Models, emotions and kinds of ablation in the order in which to show them.
        fmt: A format of tabulate.
    """
    order = {name: i for i, name in enumerate(names)}

    def place(row: Row) -> list[int]:
        return [order.get(name, len(order)) for name in row.dims.values()]

    for experiment, members in sorted(
        group(sorted(rows, key=place), lambda row: row.experiment).items()
    ):
        reporter.write_sep("-", experiment)
        reporter.write_line(summary_table(members, fmt=fmt, width=reporter._tw.fullwidth))
