"""Models side by side: where their strongest heads lie, how many count, how far ranks agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from tabulate import tabulate

from emolib.heads import parse_head
from emolib.outputs import write_text
from emolib.records import Row
from emolib.significance import of_rows
from emolib.stats import rank_correlation
from emolib.tables import number, to_columns

Lines = list[dict[str, Any]]
COMPARED = "head_ablation"


def families(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return rows by table: model, emotion, kind of ablation, direction, position."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        named = row.dims | row.labels
        parts = ("model", "emotion", "ablation", "direction", "position")
        found.setdefault(tuple(named.get(part, "") for part in parts), []).append(row)
    return found


def compare(rows: Sequence[Row]) -> Lines:
    """Return a line per model, emotion and kind of ablation.

    Args:
        rows: Whole rows of head ablation. Joint sets are left out: they have no depth.

    Returns:
        ``model``, ``emotion``, ``ablation``; ``heads`` ablated; the ``strongest`` one by
        ``logit_diff``, its ``depth`` (0 the first layer, 1 the last), ``effect`` (logits) and
        ``ci``; ``mean_abs_effect``; ``significant``, the share of heads with q < 0.05.
    """
    single = [row for row in rows if "+" not in row.dims["heads"] and "logit_diff" in row.vectors]
    lines: Lines = []
    for (model, emotion, kind, *_), members in sorted(families(single).items()):
        effects = {row.dims["heads"]: row.values["logit_diff"] for row in members}
        strongest = max(sorted(effects), key=lambda heads: abs(effects[heads]["mean"]))
        layers = members[0].provenance["shape"]["layers"]
        chances = of_rows(members, "logit_diff").values()
        lines.append(
            {
                "model": model,
                "emotion": emotion,
                "ablation": kind,
                "heads": len(effects),
                "strongest": strongest,
                "depth": parse_head(strongest).layer / max(1, layers - 1),
                "effect": effects[strongest]["mean"],
                "ci": effects[strongest]["ci"],
                "mean_abs_effect": sum(abs(e["mean"]) for e in effects.values()) / len(effects),
                "significant": sum(q < 0.05 for _, q in chances) / len(members),
            }
        )
    return lines


def overlap(scores: Sequence[dict[str, Any]]) -> Lines:
    """Return, for models of one shape, the rank correlation of |atp_ig| of their heads.

    Args:
        scores: Contents of scores files. Heads of one index are the same place, not the same
            head: only models of one family trained alike can be expected to agree.

    Returns:
        ``models``, ``emotion``, ``spearman`` (None where either ties throughout).
    """
    lines: Lines = []
    for left, right in combinations(scores, 2):
        shapes = {(model["layers"], model["heads_per_layer"]) for model in (left, right)}
        if len(shapes) > 1:
            continue
        sizes = [
            {
                (entry["emotion"], entry["layer"], entry["head"]): abs(entry["atp_ig"])
                for entry in model["scores"]
            }
            for model in (left, right)
        ]
        shared = [key for key in sizes[0] if key in sizes[1]]
        for emotion in dict.fromkeys(key[0] for key in shared):
            keys = [key for key in shared if key[0] == emotion]
            lines.append(
                {
                    "models": f"{left['model']}, {right['model']}",
                    "emotion": emotion,
                    "spearman": rank_correlation(*([size[k] for k in keys] for size in sizes)),
                }
            )
    return lines


def write_comparison(lines: Lines, folder: Path) -> list[Path]:
    """Write a comparison as ``model_comparison.csv`` and ``.md`` and return the files."""
    table = folder / "model_comparison.csv", folder / "model_comparison.md"
    write_text(table[0], to_columns(lines))
    write_text(table[1], markdown(lines) + "\n")
    return list(table)


def markdown(lines: Lines) -> str:
    """Return lines as a Markdown table, numbers for reading."""
    shown = [{name: _cell(value) for name, value in line.items()} for line in lines]
    return tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(number, value))}]"
    return number(value) if isinstance(value, (int, float)) else str(value)
