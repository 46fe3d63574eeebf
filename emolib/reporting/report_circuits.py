"""The section of the report on circuits: how few heads are enough, and what sets of heads keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from emolib.reporting.experiments import CIRCUIT
from emolib.reporting.markdown import escape, table
from emolib.reporting.report_parts import heading, missing, named
from emolib.results.frames import Lines
from emolib.results.rows import Row
from emolib.results.selection import studies
from emolib.stats.summary import ENOUGH


def circuits(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the circuit of each study with what it keeps, beside random heads."""
    yield "## Circuits"
    if not rows:
        yield missing(CIRCUIT)
        return
    yield (
        "F: the share of the emotion that is left where only some heads see the emotion prompt; "
        "the others have z of the neutral one (or 0, or their mean: “outside”). The circuit is "
        f"the least number of top heads whose F reaches {ENOUGH} on half of the templates (chosen "
        "on); held out: its F on the other half. rest: F of all heads but these, 0 where nothing "
        "else does it. CPR, CMD: area of F and of |1 − F| over the share of heads."
    )
    lines: Lines = []
    reasons: dict[str, None] = {}
    for study, members in studies(rows).items():
        by_order = {row.labels.get("order", ""): row for row in members}
        if (own := by_order.get("ranking")) is None:
            continue
        line: dict[str, Any] = named(study) | {"outside": own.labels.get("outside")}
        line |= {"circuit": own.labels.get("circuit"), "heads": own.mean("k")}
        line |= {"of": own.mean("n_heads"), "chosen on": own.mean("chosen")}
        line |= {"held out": _with_ends(own, "held_out"), "rest": _with_ends(own, "rest")}
        line |= {"CPR": _with_ends(own, "cpr"), "CMD": _with_ends(own, "cmd")}
        if random := by_order.get("random"):
            line |= {"CPR, random": random.mean("cpr"), "CMD, random": random.mean("cmd")}
        lines.append(line)
        told = own.labels
        if doubt := told.get("ranking"):
            reasons[f"{', '.join(study)}: the order of the heads is no ranking: {doubt}"] = None
        for name, why in told.items():
            if name.startswith("why_no_"):
                reasons[f"{', '.join(study)}: no {name.removeprefix('why_no_')}: {why}"] = None
    yield table(lines)
    if reasons:
        yield "\n".join(f"- {escape(reason)}" for reason in reasons)


def sets(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield of each study F by the number of heads, and what the circuit loses with each head."""
    for study, members in studies(rows).items():
        sizes: dict[float, dict[str, Any]] = {}
        for row in members:
            order, size = row.labels.get("order", ""), row.mean("k")
            if order not in ("ranking", "random", "greedy") or size is None:
                continue
            line = sizes.setdefault(size, {"k": size})
            if order == "random":
                # Their interval is of prompts alone; draws differ by far more.
                line["F, random"] = row.mean("faithfulness")
                if row.mean("draws_low") is not None:
                    line["of draws"] = [row.mean("draws_low"), row.mean("draws_high")]
                continue
            line[f"F, {order}"] = _with_ends(row, "faithfulness")
            line[f"last head, {order}"] = row.labels.get("head")
        if sizes:
            yield heading(study, "F by the number of heads")
            yield table([sizes[size] for size in sorted(sizes)])
        if lost := [row for row in members if row.labels.get("order") == "without"]:
            ranked = sorted(lost, key=lambda row: -(row.mean("loss") or 0.0))[:top_n]
            yield "What the circuit loses without one of its heads, on the held-out templates:"
            yield table(
                [
                    {"head": row.labels.get("head"), "lost": _with_ends(row, "loss")}
                    | {"F without it": row.mean("held_out")}
                    for row in ranked
                ]
            )


def _with_ends(row: Row, name: str) -> dict[str, Any] | None:
    """Return a number with its interval as a cell shows them, None where it has none."""
    value, low, high = (row.mean(f"{name}{end}") for end in ("", "_ci_low", "_ci_high"))
    if value is None:
        return None
    return {"mean": value, "ci": None if low is None or high is None else [low, high]}
