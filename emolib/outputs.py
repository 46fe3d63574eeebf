"""The results files that are made from rows: scores per model, effects per item."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.heads import parse_head
from emolib.records import Row

SHAPES = ("item", "scores")
_HEAD = 200
_ENTRIES = ("prompts", "scores", "studies", "effects")


def safe(name: str) -> str:
    """Return a name fit for a file: letters, digits and ``._+-`` are kept.

    >>> safe("Eleuther/AI gpt")
    'Eleuther-AI-gpt'
    """
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "unnamed"


def results_folder(base: Path, profile: str) -> Path:
    """Return the folder of a profile's results, whether it goes by its name or its path."""
    return base / safe(profile.rpartition("/")[2].removesuffix(".toml"))


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


def to_json(value: Any, indent: str = "\n", *, entries: bool = False) -> str:
    """Return JSON for people: a line per key, and per prompt or head, whose entries stay whole.

    >>> print(to_json({"n": 1, "prompts": [{"text": "a", "kl": [0.5, 1]}]}))
    {
     "n": 1,
     "prompts": [
      {"text": "a", "kl": [0.5, 1]}
     ]
    }

    Args:
        value: What `json` takes, without NaN.
        indent: What a line of this depth begins with.
        entries: Whether the members of this list are entries.
    """
    deeper = indent + " "
    if isinstance(value, dict) and value:
        members = [
            f"{_compact(name)}: {to_json(member, deeper, entries=name in _ENTRIES)}"
            for name, member in value.items()
        ]
        return f"{{{deeper}{f',{deeper}'.join(members)}{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        members = [_compact(member) if entries else to_json(member, deeper) for member in value]
        return f"[{deeper}{f',{deeper}'.join(members)}{indent}]"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all.

    Raises:
        InputError: When it cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        InputError: When it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another --results-dir"
        ) from None


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
