"""Models side by side: where their strongest heads lie, how many count, how far ranks agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from emolib.files import write_text
from emolib.reporting.markdown import table
from emolib.reporting.tables import to_columns
from emolib.results.chances import share_significant
from emolib.results.frames import Lines
from emolib.results.rows import Row
from emolib.results.selection import (
    clean_gap,
    depth_of,
    is_joint,
    kinds,
    strongest,
    studies,
    subject,
)
from emolib.stats.summary import rank_correlation

# Heads named after the strongest.
_NEXT = 2


def compare(rows: Sequence[Row], patching: Sequence[Row] = ()) -> Lines:
    """Return a line per model, emotion and kind of ablation.

    Args:
        rows: Whole rows of head ablation. Joint sets are left out: they have no depth.
        patching: Rows of head patching, which tell the clean gap.

    Returns:
        ``model``, ``emotion``, ``ablation``; ``clean_gap`` of ``logit_diff`` between the sides
        (logits, None where not known); ``heads`` ablated; the ``strongest`` one by
        ``logit_diff``, its ``depth`` (0 the first layer, 1 the last), ``effect`` (logits), ``ci``
        and ``d_z``, and the ``next`` ones; ``mean_abs_effect`` of all; ``significant``, the
        share of heads with q < 0.05, None where a rank chose them all.
    """
    known = [row for row in rows if "heads" in row.dims and "logit_diff" in row.vectors]
    single = [row for row in known if not is_joint(row)]
    patched = studies(patching)
    lines: Lines = []
    for study, members in studies(single).items():
        for kind, alike in kinds(members).items():
            first, *others = strongest(alike, "logit_diff")
            effect = first.values["logit_diff"]
            lines.append(
                {
                    "model": study.model,
                    "emotion": study.emotion,
                    "ablation": kind.ablation,
                    "clean_gap": clean_gap(patched.get(study, ())),
                    "heads": len(alike),
                    "strongest": subject(first),
                    "depth": depth_of(first),
                    "effect": effect["mean"],
                    "ci": effect["ci"],
                    "d_z": effect["d_z"],
                    "next": ", ".join(map(subject, others[:_NEXT])),
                    "mean_abs_effect": sum(abs(row.mean("logit_diff") or 0.0) for row in alike)
                    / len(alike),
                    "significant": share_significant(alike, "logit_diff"),
                }
            )
    return lines


def overlap(scores: Sequence[dict[str, Any]]) -> Lines:
    """Return, for models of one shape, the rank correlation of |atp_ig| of their heads.

    Args:
        scores: Contents of scores files. Heads of one index are the same place, not the same
            head: only models of one family trained alike can be expected to agree. Entries without
            ``atp_ig``, which older scripts did not have, are left out.

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
                if entry.get("atp_ig") is not None
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


def write_comparison(lines: Lines, ranks: Lines, folder: Path) -> list[Path]:
    """Write a comparison and return the files.

    Args:
        lines: What `compare` gives, to ``model_comparison.csv`` and ``.md``.
        ranks: What `overlap` gives, to ``rank_overlap.csv`` and that ``.md``; may be empty.
        folder: Where to.
    """
    made = []
    for stem, content in (("model_comparison", lines), ("rank_overlap", ranks)):
        if content:
            made.append(folder / f"{stem}.csv")
            write_text(made[-1], to_columns(list(map(_flat, content))))
    made.append(folder / "model_comparison.md")
    write_text(made[-1], "\n\n".join(table(part) for part in (lines, ranks) if part) + "\n")
    return made


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line with its interval as two columns, as the other tables have them."""
    if "ci" not in line:
        return line
    low, high = line["ci"] or (None, None)
    parts = {"ci": {"effect_ci_low": low, "effect_ci_high": high}}
    return {k: v for name, value in line.items() for k, v in parts.get(name, {name: value}).items()}
