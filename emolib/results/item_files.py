"""The results files that are made from rows: scores per model, effects per item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import to_json, write_text
from emolib.inputs.heads import parse_head
from emolib.results.records import Row

SHAPES = ("item", "scores")
_HEAD = 200


def write_output(results: Path, rows: Sequence[Row], stored: Iterable[Row]) -> Path | None:
    """Write the results file that an item's rows belong to, whole, in one step.

    Args:
        results: The results folder of the profile.
        rows: The rows of the item.
        stored: The latest rows of every item, from which a file that several items share
            (shape ``scores``) is made.

    Returns:
        The file, or None for rows that have none.

    Raises:
        InputError: When it cannot be written.
    """
    output = rows[0].output
    if not output:
        return None
    path = results / output["path"]
    if output["shape"] == "scores":
        content = scores_file([row for row in stored if row.output == output])
    else:
        content = item_file(rows)
    write_text(path, to_json(content) + "\n")
    return path


def is_of(path: Path, key: str) -> bool:
    """Tell whether an item's file is there and was made from the rows of that key."""
    try:
        with path.open("rb") as file:
            return f'"key": "{key}"'.encode() in file.read(_HEAD)
    except FileNotFoundError:
        return False


def item_file(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of one item's file: per prompt texts and metrics, summary, provenance."""
    first = rows[0]
    records = [
        ({"labels": row.labels} if row.labels else {})
        | {"summary": row.values, "prompts": per_prompt(row)}
        for row in rows
    ]
    body = records[0] if len(records) == 1 else {"records": records}
    # The key comes first, where `is_of` looks for it.
    head = {"key": first.key, "experiment": first.experiment, "item": first.item} | first.dims
    return head | body | {"provenance": first.provenance | {"time": first.time}}


def per_prompt(row: Row) -> list[dict[str, Any]]:
    """Return a row's texts and vectors prompt by prompt."""
    columns: dict[str, Sequence[Any]] = {
        **{name.removesuffix("s"): values for name, values in row.pairs.items()},
        **row.texts,
        **row.vectors,
        **row.lists,
    }
    count = max(map(len, columns.values()), default=0)
    return [
        {name: column[i] for name, column in columns.items() if len(column) == count}
        for i in range(count)
    ]


def scores_file(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of a model's scores file, one entry a head and emotion.

    Each row is of one head, the one of its dims.
    """
    first = rows[0]
    scores = []
    for row in rows:
        head = parse_head(row.dims["heads"])
        entry = {"layer": head.layer, "head": head.index, "emotion": row.dims["emotion"]}
        for name, value in row.values.items():
            entry[name] = value["mean"] if isinstance(value, dict) else value
            if isinstance(value, dict):
                entry[f"{name}_ci"] = value["ci"]
        scores.append(entry)
    rankings = {
        row.dims["emotion"]: {
            "by": "|atp_ig|",
            "reliability": row.values.get("reliability"),
            "rank_correlation": row.values.get("rank_correlation"),
        }
        for row in rows
    }
    shape = first.provenance.get("shape", {})
    return {
        "model": first.dims["model"],
        "layers": shape.get("layers"),
        "heads_per_layer": shape.get("heads"),
        "scores": scores,
        "rankings": rankings,
        "provenance": {row.dims["emotion"]: row.provenance | {"time": row.time} for row in rows},
    }


def read_attention(path: Path) -> dict[str, Any]:
    """Return the content of a file of exp_attention_patterns, ``attention/….json``.

    Raises:
        InputError: When there is none or it is not one.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["summary"]["delta_slot"]["mean"] is None or not content["prompts"]:
            raise KeyError("delta_slot")
        return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a file of exp_attention_patterns ({error!r}); run it with --fresh"
        ) from None


def read_scores(path: Path) -> dict[str, Any]:
    """Return the content of a scores file, ``alignment/head_scores_<model>.json``.

    Raises:
        InputError: When there is none or it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shape = content["layers"], content["heads_per_layer"]
        if not all(isinstance(size, int) for size in shape) or not content["scores"]:
            raise KeyError("layers")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; run `pytest experiments/exp_head_screening.py` first"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a scores file ({error!r}); run screening again with --fresh"
        ) from None
    found: dict[str, Any] = content
    return found
