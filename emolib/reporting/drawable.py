"""What there is to draw in a results folder: rows of its store, and files in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.reporting.attention_plots import Head, head_in
from emolib.reporting.effect_plots import is_drawn
from emolib.reporting.experiments import CIRCUIT
from emolib.reporting.experiments import CONTROLS as CONTROL_METRICS
from emolib.reporting.unit_plots import is_confirmation
from emolib.results.abridged import abridged
from emolib.results.item_files import (
    is_path,
    item_file,
    read_effects,
    read_paths,
    read_scores,
    scores_file,
    writers,
)
from emolib.results.members import wrong_in_attention, wrong_in_scores
from emolib.results.records import Store
from emolib.results.rows import Row, group
from emolib.results.selection import kind_of, layer_of, study_of, subject

ABLATION, PATCHING = "patching/head_ablation/*.json", "patching/head_patching/*.json"
"""Results files that hold effects on heads."""
SPECIFICITY, PROBES, STEERING = "specificity/*.json", "probes/*.json", "steering/*.json"
CONTROLS, UNITS = "controls/*.json", "units/unit_ablation/*.json"
UNITS_CONFIRMED = "units/unit_confirmation_*.json"
"""Results files that are drawn from the store alone."""
_SCORES, _ATTENTION = "alignment/head_scores_*.json", "attention/*.json"
_PATHS = "paths/*.json"
_WHOLE = (
    _SCORES, _ATTENTION, STEERING, _PATHS, SPECIFICITY, PROBES, CONTROLS, UNITS, UNITS_CONFIRMED
)  # fmt: skip
# What experiments of somebody's own may write to the same places has none of this.
_OWN: dict[str, Callable[[Row], bool]] = {
    CONTROLS: lambda row: "head" in row.labels and set(CONTROL_METRICS) <= row.values.keys(),
    UNITS: lambda row: {"logit_diff", "logit_diff_random"} <= row.values.keys(),
    UNITS_CONFIRMED: is_confirmation,
}


class Drawable:
    """Rows by the results files that they go to, as outlines; few are read whole.

    Files are read where they are named, or where the store has nothing of their kind.

    Attributes:
        circuits: The rows of sets of heads, from the store alone.
        emotions: The emotions that the store has rows of.
    """

    def __init__(self, results: Path, *, emotion: str | None = None, run: str | None = None):
        """Read the outlines of the store.

        Args:
            results: The results folder of a profile.
            emotion: Effects on this emotion alone.
            run: What this run recorded or took from the store, and no files of others.
        """
        self._results, self._emotion, self._run = results, emotion, run
        self._store, self._others = Store(results), set[Path]()
        self._found: dict[str, list[Row]] = {
            pattern: [] for pattern in (ABLATION, PATCHING, *_WHOLE)
        }
        self.circuits: list[Row] = []
        self.emotions: set[str] = set()
        for row in abridged(self._store.rows(run=run)):
            self.emotions |= {row.dims[name] for name in ("emotion",) if name in row.dims}
            if row.experiment == CIRCUIT and emotion in (None, row.dims.get("emotion")):
                # Of an experiment of somebody's own there may be no size to draw it at.
                self.circuits += [row] * (row.mean("k") is not None)
            path = row.output.get("path", "")
            pattern = next((p for p in self._found if fnmatchcase(path, p)), None)
            if pattern in (ABLATION, PATCHING):
                _check_effect(row, pattern)
            if pattern == _SCORES and row.output["shape"] != "scores":
                continue
            if pattern == STEERING and not {"place", "direction", "alpha"} <= row.labels.keys():
                continue
            if pattern in _OWN and not _OWN[pattern](row):
                continue
            if pattern == _PATHS and not is_path(row):
                # Of an experiment of somebody's own, which is no path.
                self._others.add(results / path)
                continue
            if pattern in _WHOLE or (pattern and is_drawn(row)):
                self._found[pattern].append(row)

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self._results.glob(pattern)) if self._run is None else []

    def scores(self, named: Sequence[Path]) -> list[dict[str, Any]]:
        """Return contents of scores files, in order of the files.

        Args:
            named: Files to read in place of the store.

        Raises:
            InputError: When a file is missing or damaged.
        """
        rows = [] if named else self._found[_SCORES]
        of_files = group(rows, lambda row: row.output["path"])
        if rows:
            return [_scores(path, of_files[path]) for path in sorted(of_files, key=Path)]
        return [read_scores(path) for path in named or self._files(_SCORES)]

    def effects(self, pattern: str, named: Sequence[Path]) -> list[Row]:
        """Return the rows of head ablation or patching, in order of their files.

        Args:
            pattern: `ABLATION` or `PATCHING`.
            named: Files to read in place of the store.

        Raises:
            InputError: When a file is missing or is none of them.
        """
        rows: Iterable[Row] = [] if named else _in_order(self._found[pattern])
        if not rows:
            whole = (row for path in named or self._files(pattern) for row in read_effects([path]))
            rows = abridged(whole, ("logit_diff",))
        return [row for row in rows if self._emotion in (None, row.dims["emotion"])]

    def stored(self, pattern: str) -> list[Row]:
        """Return the rows in the store that are drawn from it alone, in order of their files.

        Args:
            pattern: `SPECIFICITY`, `PROBES`, `STEERING`, `CONTROLS`, `UNITS` or
                `UNITS_CONFIRMED`.
        """
        rows = _in_order(self._found[pattern])
        return [row for row in rows if self._emotion in (None, row.dims.get("emotion"))]

    def per_prompt(self, rows: Iterable[Row]) -> list[Row]:
        """Return those of rows that are of single heads, with their effects per prompt."""
        single = (row for row in rows if layer_of(row) is not None)
        return list(abridged(map(self._whole, single), ("logit_diff",)))

    def _whole(self, row: Row) -> Row:
        return row if row.vectors else self._store[row.key][row.row]

    def paths(self) -> list[Row]:
        """Return the rows of paths between heads, in order of their files.

        Raises:
            InputError: When a file is none of exp_head_paths.
        """
        rows: Iterable[Row] = _in_order(self._found[_PATHS])
        if not rows:
            rows = abridged(read_paths(set(self._files(_PATHS)) - self._others))
        return [row for row in rows if self._emotion in (None, row.dims.get("emotion"))]

    def heads(self) -> Iterator[Head]:
        """Yield the heads whose attention was recorded, in order of their files.

        Raises:
            InputError: When a file is none of exp_attention_patterns.
        """
        rows = [row for row in self._found[_ATTENTION] if row.mean("delta_slot") is not None]
        if not rows:
            yield from map(head_in, self._files(_ATTENTION))
        for row in _in_order(rows):
            size = abs(row.mean("delta_slot") or 0.0)
            content = partial(self._content, row.key)
            yield Head(*study_of(row), subject(row), size, content)

    def _content(self, key: str) -> dict[str, Any]:
        content = item_file(self._store[key])
        if wrong := next(wrong_in_attention(content), ""):
            raise InputError(
                f"{content['item']}: has no attention to draw ({wrong}); give it another path in "
                "its results marker"
            )
        return content


def _scores(path: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of the scores file of rows, checked as one that is read."""
    lacking = [row.item for row in rows if not {"model", "emotion", "heads"} <= row.dims.keys()]
    content = {} if lacking else scores_file(rows)
    if wrong := next(wrong_in_scores(content), "") if content else "no model, emotion or heads":
        raise InputError(
            f"{(lacking or [rows[0].item])[0]}: what goes to {path} is drawn as scores of heads, "
            f"and this has {wrong}; give it another path in its results marker"
        )
    return content


def _check_effect(row: Row, pattern: str) -> None:
    named = row.dims | {"ablation or direction": kind_of(row).name}
    if missing := [n for n in ("model", "emotion", "heads", *named) if not named.get(n)]:
        raise InputError(
            f"{row.item}: what goes to {pattern} is drawn as an effect on heads, and this has no "
            f"{missing[0]}; give it another path in its results marker"
        )


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows in order of their files, of each file those of the item that wrote it last."""
    wrote = writers(rows)
    found = [row for row in rows if wrote.get(row.output["path"]) == row.key]
    return sorted(found, key=lambda row: Path(row.output["path"]))
