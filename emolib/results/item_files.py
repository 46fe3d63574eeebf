"""The JSON files made from rows, scores per model and effects per item: their writers, readers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emolib.documents import parse_json, read_text, shown
from emolib.errors import InputError
from emolib.files import to_json, write_text
from emolib.inputs.heads import parse_head
from emolib.results.importances import importances_file
from emolib.results.members import lies_inside, wrong_in_attention, wrong_in_scores
from emolib.results.rows import RESTORE, Row, checked, mean_of
from emolib.results.selection import kind_of

OWN = ("item", "importances")
"""Shapes of files that are of one item each."""
SHAPES = ("item", "scores", "importances")
MOST = 500
"""Items that get files of their own where nothing is asked for."""
# How far into an item's file its key is looked for, in bytes.
_HEAD = 200
# Nothing inside a file of `to_json` begins a line without a space.
_END = b"\n}\n"
_NO_DIMS = ("key", "experiment", "item", "labels", "summary", "prompts", "records", "provenance")


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
    if not lies_inside(output["path"]):
        raise InputError(f"{output['path'][:80]!r} leads out of the results folder; {RESTORE}")
    path = results / output["path"]
    # Not Path.resolve, which raises an error of its own where links go round.
    inside = Path(os.path.realpath(path.parent))
    if not inside.is_relative_to(os.path.realpath(results)):
        raise InputError(f"{shown(path)}: a link leads out of the results folder; remove it")
    try:
        content = _made(rows, output, stored)
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{rows[0].item}: has not what a file of shape {output['shape'][:80]!r} takes "
            f"({error!r:.200}); give it another shape in its results marker"
        ) from None
    write_text(path, to_json(content) + "\n")
    return path


def _made(rows: Sequence[Row], output: Mapping[str, str], stored: Iterable[Row]) -> dict[str, Any]:
    match output["shape"]:
        case "scores":
            return scores_file([row for row in stored if row.output == output])
        case "item":
            return item_file(rows)
        case "importances":
            return importances_file(rows)
    raise InputError(
        f"results file: expected one of {', '.join(SHAPES)}, got {output['shape'][:80]!r}"
    )


def writers(rows: Iterable[Row]) -> dict[str, str]:
    """Return by results file the key of the item whose rows it holds, the last that wrote it.

    Two items may have one file: a head that was named, and that a rank stood for in another run.

    Args:
        rows: Rows of any items; those of scores files and of none are left out.
    """
    last: dict[str, tuple[str, str]] = {}
    for row in rows:
        path = row.output.get("path", "")
        is_last = path not in last or row.time >= last[path][0]
        if row.output.get("shape") in OWN and is_last:
            last[path] = row.time, row.key
    return {path: key for path, (_, key) in last.items()}


def is_of(path: Path, key: str) -> bool:
    """Tell whether an item's file is there, made from the rows of that key, and not cut off."""
    try:
        with path.open("rb") as file:
            has_head = f'"key": "{key}"'.encode() in file.read(_HEAD)
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - len(_END)))
            return has_head and file.read() == _END
    except OSError:
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
    columns = prompt_columns(row)
    lines = zip(*columns.values(), strict=True)
    return [dict(zip(columns, values, strict=True)) for values in lines]


def prompt_columns(row: Row) -> dict[str, Sequence[Any]]:
    """Return what a row has per prompt by name: ids, templates, texts, vectors and lists.

    What is of another length than the longest belongs to no prompt and is left out.
    """
    columns: dict[str, Sequence[Any]] = {
        **{name.removesuffix("s"): values for name, values in row.pairs.items()},
        **row.texts,
        **row.vectors,
        **row.lists,
    }
    count = max(map(len, columns.values()), default=0)
    return {name: column for name, column in columns.items() if len(column) == count}


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
            entry[name] = mean_of(value)
            if isinstance(value, dict):
                entry[f"{name}_ci"] = value["ci"]
        scores.append(entry)
    rankings = {
        row.dims["emotion"]: {
            "by": "|atp_ig|",
            "reliability": row.values.get("reliability"),
            "rank_correlation": row.values.get("rank_correlation"),
            "missed": row.labels.get("missed"),
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


def read_scores(path: Path) -> dict[str, Any]:
    """Return the content of a scores file, ``alignment/head_scores_<model>.json``.

    Raises:
        InputError: When there is none or it is not one.
    """
    with _reading(
        path, "a scores file", "run `pytest experiments/exp_head_screening.py` first",
        "run screening again with --fresh",
    ):  # fmt: skip
        content = _content(path)
        if wrong := next(wrong_in_scores(content), ""):
            raise ValueError(wrong)
        return content


def read_attention(path: Path) -> dict[str, Any]:
    """Return the content of a file of exp_attention_patterns, ``attention/….json``.

    Raises:
        InputError: When there is none or it is not one.
    """
    with _reading(path, "a file of exp_attention_patterns", "run it first", "run it with --fresh"):
        content = _content(path)
        if wrong := next(wrong_in_attention(content), ""):
            raise ValueError(wrong)
        return content


def read_effects(files: Iterable[Path]) -> list[Row]:
    """Return the rows in files of head ablation and patching, in the order of the files.

    They are the rows that `item_file` was given, less what no file of an item holds: context and
    output, and vectors and texts of another length than the others.

    Raises:
        InputError: When a file is missing or is none of them.
    """
    return [row for path in files for row in _read_effects(path)]


def _read_effects(path: Path) -> list[Row]:
    with _reading(
        path, "a results file of an item", "run the experiment that writes it first",
        "run its experiment with --fresh",
    ):  # fmt: skip
        content = _content(path)
        records = content.get("records", [content])
        # Older files have no item; its name is what tells rows apart.
        content = {"item": path.name} | content
        rows = [
            _row(content, record, i, len(records), str(path)) for i, record in enumerate(records)
        ]
        for row in rows:
            for name in ("model", "emotion", "heads"):
                row.dims[name]
            if not kind_of(row).name:
                raise KeyError("direction")
        return rows


def is_path(row: Row) -> bool:
    """Tell whether a row is of a path between heads: what `exp_head_paths` records."""
    return {"sender", "receiver", "input"} <= row.labels.keys() and "effect" in row.values


def read_paths(files: Iterable[Path]) -> list[Row]:
    """Return the rows in files of exp_head_paths, in the order of the files; see `read_effects`.

    Raises:
        InputError: When a file is none of them.
    """
    return [row for path in sorted(files) for row in _read_paths(path)]


def _read_paths(path: Path) -> list[Row]:
    with _reading(path, "a file of exp_head_paths", "run it first", "run it with --fresh"):
        content = _content(path)
        records = content.get("records", [content])
        rows = [
            _row(content, record, i, len(records), str(path)) for i, record in enumerate(records)
        ]
        if lacking := [row for row in rows if not is_path(row)]:
            raise KeyError(f"sender of record {lacking[0].row}")
        return rows


def _row(
    content: Mapping[str, Any], record: Mapping[str, Any], number: int, of: int, where: str
) -> Row:
    """Return a record in a file of an item as the row it was made from."""
    provenance = dict(content["provenance"])
    time = provenance.pop("time", "")
    prompts: list[dict[str, Any]] = record["prompts"]
    columns = {name: [prompt[name] for prompt in prompts] for name in (prompts or [{}])[0]}
    pairs = {f"{name}s": columns.pop(name) for name in ("id", "template") if name in columns}

    def of_kind(*kinds: type) -> dict[str, list[Any]]:
        return {name: column for name, column in columns.items() if isinstance(column[0], kinds)}

    fields = {
        "item": content["item"],
        "experiment": content["experiment"],
        "key": content.get("key", ""),
        "row": number,
        "of": of,
        "dims": {
            name: text
            for name, text in content.items()
            if name not in _NO_DIMS and isinstance(text, str)
        },
        "context": "",
        "labels": record.get("labels", {}),
        "values": record["summary"],
        "vectors": of_kind(int, float),
        "texts": of_kind(str),
        "lists": of_kind(list),
        "pairs": pairs,
        "output": {},
        "provenance": provenance,
        "time": time,
    }
    return checked(fields, where)


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = parse_json(read_text(path, "expected a results file"))
    return content


@contextmanager
def _reading(path: Path, what: str, absent: str, wrong: str) -> Iterator[None]:
    """Raise what goes wrong in reading a file as an InputError.

    Args:
        path: The file.
        what: What it should be.
        absent: What to do where there is none.
        wrong: What to do where it is not what it should be.
    """
    if not path.exists():
        raise InputError(f"{shown(path)}: no such file; {absent}")
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not {what} ({error!r}); {wrong}") from None
