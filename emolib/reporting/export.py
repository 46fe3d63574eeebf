"""Records as long frames, for other tools: csv, parquet, pickle, latex."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import safe, written
from emolib.reporting.chosen_columns import Chosen
from emolib.reporting.inert import spreadsheet
from emolib.reporting.latex import LATEX, paper_lines
from emolib.reporting.row_groups import write_parquet
from emolib.reporting.spool import Form, write_table
from emolib.results.abridged import abridged
from emolib.results.blocks import Block, by_prompt, by_record
from emolib.results.frames import to_frame
from emolib.results.item_files import write_output, writers
from emolib.results.records import Store
from emolib.results.tested import Tested, tested

SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "pickle": ".pkl", "latex": ".tex"}
FORMATS = (*SUFFIXES, "files")
Blocks = Callable[[], Iterator[Block]]
"""Gives the lines of a frame, from their first, as often as it is called."""
_QUOTED = re.compile('[",\r\n]')


def write_export(
    results: Path,
    fmt: str,
    out: Path | None = None,
    *,
    experiment: str | None = None,
    run: str | None = None,
    columns: Sequence[str] = (),
) -> list[Path]:
    """Write frames of every experiment, or all results files, and return the files.

    ``<experiment>`` has a line a record: what it ran on and every metric, a vector as its mean,
    95 % CI, n and d_z, the first one also with p, q and max-T (`emolib.results.tested`). In LaTeX
    it has the few columns of `emolib.reporting.latex.paper_lines` where none are asked for.
    ``<experiment>_prompts`` has a line a record and prompt: vectors, texts and lists, a list as
    JSON; in LaTeX it is written where `columns` ask for what it alone has. All but pickle are
    written as rows are read, none kept. ``files`` are the results files that a run writes, byte
    for byte.

    Args:
        results: The results folder of a profile.
        fmt: One of `FORMATS`. Pickle is for older notebooks: it is written here and read nowhere;
            a frame of it is held in memory.
        out: Where to; ``export`` in `results` by default, and `results` itself for ``files``.
        experiment: Only this one.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default.
        columns: Names or patterns (``logit_diff*``) of the columns that are written; a frame that
            has none but such as name its rows is left out.

    Raises:
        InputError: When there is nothing to export, a column is in none of the frames, or a
            package that the format needs is missing.
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
    asked = Chosen(columns) if columns else None
    frames = {name: _Frames(store, name, fmt, run, asked) for name in chosen}
    if asked:
        records = (one.records for one in frames.values())
        asked.check(chain(records, (one.prompts for one in frames.values())))
    made = []
    for one in frames.values():
        for stem, blocks in one.written():
            path = folder / f"{safe(stem)}{SUFFIXES[fmt]}"
            if write(blocks, path):
                made.append(path)
    return made


class _Frames:
    """The two frames of an experiment, and what of them is written."""

    def __init__(
        self, store: Store, name: str, fmt: str, run: str | None, asked: Chosen | None
    ) -> None:
        self._store, self._name, self._run, self._asked = store, name, run, asked
        self._is_latex = fmt == "latex"
        # Numbers go into CSV as they stand in the store.
        self._whole = partial(store.whole_rows, name, run=run, as_written=fmt == "csv")

    @cached_property
    def _tests(self) -> Tested:
        return tested(self._store, self._name, run=self._run)

    def records(self) -> Iterator[Block]:
        """Yield a line a record."""
        return by_record(self._store.rows(self._name, run=self._run), self._tests)

    def prompts(self) -> Iterator[Block]:
        """Yield a line a record and prompt."""
        return by_prompt(self._whole())

    def written(self) -> Iterator[tuple[str, Blocks]]:
        """Yield by the name of its file what gives the lines of a frame."""
        of_prompts = f"{self._name}_prompts"
        if self._asked is not None:
            for stem, blocks in ((self._name, self.records), (of_prompts, self.prompts)):
                if self._is_wanted(stem != self._name):
                    yield stem, partial(_chosen, self._asked, blocks)
        elif self._is_latex:
            yield self._name, self._of_paper
        else:
            yield self._name, self.records
            yield of_prompts, self.prompts

    def _is_wanted(self, prompts: bool) -> bool:
        """Tell whether a frame has columns that were asked for, in LaTeX such as it alone has."""
        assert self._asked is not None
        of_records = {name: None for block in self.records() for name in block.names}
        if not prompts:
            return self._asked.is_told(of_records)
        # Rows of an experiment have the same texts, or none.
        of_prompts = next((block.names for block in self.prompts()), [])
        alone = [name for name in of_prompts if name not in of_records]
        return self._asked.is_told(alone if self._is_latex else of_prompts)

    def _of_paper(self) -> Iterator[Block]:
        return paper_lines(self._store.rows(self._name, run=self._run), self._tests)


def _chosen(asked: Chosen, blocks: Blocks) -> Iterator[Block]:
    return asked.of(blocks())


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
    if value is None:
        return ""
    text = spreadsheet(value) if isinstance(value, str) else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


CSV = Form(_quoted, str, ",", "\n", lambda names: ",".join(map(_quoted, names)) + "\n")
