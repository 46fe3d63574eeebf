"""Sections of the report on ways through the model: paths between heads, direct effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emolib.reporting.experiments import PATHS
from emolib.reporting.markdown import escape, table
from emolib.reporting.report_parts import heading, missing, title
from emolib.results.frames import Lines
from emolib.results.item_files import is_path
from emolib.results.rows import Row
from emolib.results.selection import strongest, studies

LOGITS, ALL = "logits", "all"
"""What rows of paths say in place of a receiver, and of an input."""


def paths(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield of each study the matrix of its heads, and its strongest paths input by input."""
    yield "## Paths between heads"
    # A function of somebody's own may have the name and record something else.
    rows = [row for row in rows if is_path(row)]
    if not rows:
        yield missing(PATHS)
        return
    yield (
        "Neutral prompts on which the sender alone takes z of the emotion prompts, Δ logit_diff. "
        "total: all goes as it comes; logits: every other head keeps its clean z (the direct "
        "effect); → head: that head alone reads what comes of it. Effects of single inputs (q, k, "
        "v) need not add up. A rank chose the heads, so there is no q."
    )
    for study, members in studies(rows).items():
        yield heading(study)
        yield table(_matrix(members))
        if inputs := _inputs(members, top_n):
            yield "Input by input; share: of the sender's total."
            yield table(inputs)
        if whys := {row.labels.get("why_no_effect", "") for row in members} - {""}:
            yield f"Single inputs are left out: {escape(min(whys))}."


def _matrix(rows: Sequence[Row]) -> Lines:
    """Return a line a sender: its total, and its path to each receiver by all inputs."""
    lines: dict[str, dict[str, Any]] = {}
    # Columns in the order in which receivers first come, which is that of layers.
    ends = dict.fromkeys(_named(row) for row in rows if row.labels["input"] == ALL)
    for row in rows:
        if row.labels["input"] == ALL:
            sender = row.labels["sender"]
            begun = {"sender": sender, "total": row.values.get("total")}
            line = lines.setdefault(sender, begun | dict.fromkeys(ends))
            line[_named(row)] = row.values.get("effect")
    return list(lines.values())


def _named(row: Row) -> str:
    receiver = row.labels["receiver"]
    return receiver if receiver == LOGITS else f"→ {receiver}"


def _inputs(rows: Sequence[Row], top_n: int) -> Lines:
    """Return a line a path between heads, the strongest first: its effect by each input."""
    between = [row for row in rows if row.labels["receiver"] != LOGITS]
    by_input = {(r.labels["sender"], r.labels["receiver"], r.labels["input"]): r for r in between}
    whole = [row for row in between if row.labels["input"] == ALL]
    lines: Lines = []
    for row in strongest(whole, "effect", top_n):
        path = row.labels["sender"], row.labels["receiver"]
        line = {"sender": path[0], "receiver": path[1], "q, k and v": row.values.get("effect")}
        for name in ("q", "k", "v"):
            found = by_input.get((*path, name))
            line[name] = None if found is None else found.mean("effect")
        lines.append(line | {"share": row.mean("share")})
    return lines


def repaired(found: Mapping[str, Mapping[str, Row]]) -> Lines:
    """Return a line a head whose ablation has a direct effect: that and its self-repair.

    Args:
        found: By what rows are about and kind of ablation the row.
    """
    lines: Lines = []
    for name, by_kind in found.items():
        line: dict[str, Any] = {"heads": name}
        for kind, row in by_kind.items():
            line[title("direct", kind)] = row.mean("direct")
            line[title("self-repair", kind)] = row.mean("self_repair")
        if any(value is not None for value in list(line.values())[1:]):
            lines.append(line)
    return lines
