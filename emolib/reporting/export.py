"""Records as long frames, for other tools: csv, parquet, pickle, latex."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import written
from emolib.reporting.markdown import visible
from emolib.reporting.row_groups import write_parquet
from emolib.reporting.spool import Form, write_table
from emolib.results.abridged import abridged
from emolib.results.blocks import Block, by_prompt, by_record
from emolib.results.frames import to_frame
from emolib.results.item_files import write_output, writers
from emolib.results.records import Store
from emolib.results.rows import Row

SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "pickle": ".pkl", "latex": ".tex"}
FORMATS = (*SUFFIXES, "files")
Blocks = Callable[[], Iterator[Block]]
"""Gives the lines of a frame, from their first, as often as it is called."""
# A bracket after the end of a row would be read as its option.
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\textasciitilde{}", "[": "{[}", "]": "{]}"}
    | {"<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}"}
)
_QUOTED = re.compile('[",\r\n]')


def write_export(
    results: Path,
    fmt: str,
    out: Path | None = None,
    *,
    experiment: str | None = None,
    run: str | None = None,
) -> list[Path]:
    """Write two frames per experiment, or all results files, and return the files.

    ``<experiment>`` has a line a record: what it ran on and every metric, a vector as its mean,
    95 % CI, n and d_z. ``<experiment>_prompts`` has a line a record and prompt: vectors, texts and
    lists, a list as JSON. All but pickle are written as rows are read, none kept. ``files`` are the
    results files that a run writes, byte for byte.

    Args:
        results: The results folder of a profile.
        fmt: One of `FORMATS`. Pickle is for older notebooks: it is written here and read nowhere;
            a frame of it is held in memory.
        out: Where to; ``export`` in `results` by default, and `results` itself for ``files``.
        experiment: Only this one.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default.

    Raises:
        InputError: When there is nothing to export, or a package that the format needs is missing.
    """
    store = Store(results)
    known = store.experiments(run=run)
    if not known:
        raise InputError(f"{store.path}: no rows; run `pytest experiments` first")
    if experiment is not None and experiment not in known:
        raise InputError(
            f"--experiment {experiment}: no rows in {store.path}; expected one of "
            f"{', '.join(known)}"
        )
    chosen = [experiment] if experiment else known
    if fmt == "files":
        return list(_write_files(store, out or results, chosen, run))
    write = _writer(fmt)
    folder = out or results / "export"
    made = []
    # Numbers go into CSV as they stand in the store.
    whole = partial(store.whole_rows, run=run, as_written=fmt == "csv")
    for name in chosen:
        frames: dict[str, Blocks] = {
            name: partial(_blocks, by_record, partial(store.rows, name, run=run)),
            f"{name}_prompts": partial(_blocks, by_prompt, partial(whole, name)),
        }
        for stem, blocks in frames.items():
            path = folder / f"{stem}{SUFFIXES[fmt]}"
            if write(blocks, path):
                made.append(path)
    return made


def _blocks(
    of: Callable[[Iterable[Row]], Iterator[Block]], rows: Callable[[], Iterator[Row]]
) -> Iterator[Block]:
    return of(rows())


def _writer(fmt: str) -> Callable[[Blocks, Path], bool]:
    """Return what writes a frame and tells whether it had lines; without any nothing is written."""
    match fmt:
        case "csv":
            return lambda blocks, path: write_table(blocks(), path, CSV)
        case "latex":
            return lambda blocks, path: write_table(blocks(), path, LATEX)
        case "parquet":
            return write_parquet
        case "pickle":
            return _write_pickle
    raise ValueError(f"--format: expected one of {', '.join(FORMATS)}, got {fmt!r}")


def _write_pickle(blocks: Blocks, path: Path) -> bool:
    frame = to_frame(blocks(), "--format pickle")
    if not len(frame):
        return False
    with written(path) as file:
        frame.to_pickle(file)
    return True


def _write_files(
    store: Store, folder: Path, experiments: Sequence[str], run: str | None
) -> Iterator[Path]:
    """Write the results files of experiments, those of items and those that many items share."""
    wrote = writers(store.rows(run=run))
    outlines = [row for row in abridged(store.rows(run=run)) if row.output.get("shape") == "scores"]
    shared = {row.output["path"]: row for row in outlines}
    for name in experiments:
        for key, rows in groupby(store.whole_rows(name, run=run), lambda row: row.key):
            item = list(rows)
            if wrote.get(item[0].output.get("path", "")) == key:
                yield from filter(None, [write_output(folder, item, ())])
    for row in shared.values():
        if row.experiment in experiments:
            yield from filter(None, [write_output(folder, [row], outlines)])


def _quoted(value: Any) -> str:
    """Return a cell of CSV, quoted where it has to be."""
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _longtable(names: Sequence[str]) -> str:
    """Return the opening of a longtable, written here: pandas takes gigabytes for it."""
    head = " & ".join(map(_cell, names)) + r" \\"
    opening = rf"\begin{{longtable}}{{{'l' * len(names)}}}"
    return "\n".join([opening, r"\hline", head, r"\hline", r"\endhead", ""])


def _cell(value: Any) -> str:
    """Return a cell on one line, since LaTeX makes a paragraph of an empty one."""
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(visible(str(value)).split())
    return text.translate(_LATEX)


CSV = Form(_quoted, str, ",", "\n", lambda names: ",".join(map(_quoted, names)) + "\n")
LATEX = Form(_cell, _cell, " & ", " \\\\\n", _longtable, "\\hline\n\\end{longtable}\n")
