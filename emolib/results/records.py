"""Rows of results and the append-only store that keeps every row ever recorded."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any

from emolib.errors import InputError

VERSION = 2
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_ADVICE = "restore the file from a copy or move it away to start afresh"


@dataclass(frozen=True, slots=True)
class Row:
    """One record of one item.

    Attributes:
        item: The item's id, ``experiments/exp_x.py::exp_x[tiny-gpt2-gratitude-L2H1]``.
        experiment: Its name without ``exp_``.
        key: Hash of all that determines the numbers; the store finds the row by it.
        context: The same without what tells the item from its siblings: rows of one context
            can stand in one table.
        row: Number of the record in the item, from 0.
        of: How many records the item made.
        dims: What it ran on: model, emotion, heads, ablation.
        labels: Texts recorded beside the numbers.
        values: Per metric a number, None, or the summary of a vector
            (`emolib.stats.summary.summarize`).
        vectors: Per metric the values per prompt.
        texts: Per name the texts per prompt.
        lists: Per name a list per prompt, of any length: tokens, attention over them.
        pairs: ``ids`` and ``templates`` of the pairs that vectors and texts go along with; empty
            for free prompts and where they are of another number.
        output: Where its results file goes, relative to the results folder, and its shape.
        provenance: Model, weights, tokenizer, prompts, settings, versions, commit.
        time: When it was recorded, ISO 8601 in UTC.
    """

    item: str
    experiment: str
    key: str
    row: int
    of: int
    dims: dict[str, str]
    context: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, list[float]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[list[str | float]]] = field(default_factory=dict)
    pairs: dict[str, list[str]] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    time: str = ""

    def to_json(self) -> str:
        """Return the row as one line of JSON."""
        # Not dataclasses.asdict: it copies all that a row holds, which takes ten times as long.
        line = {"v": VERSION} | {name: getattr(self, name) for name in _TYPES}
        return _JSON.encode(line)


_TYPES = {f.name: {"str": str, "int": int}.get(str(f.type), dict) for f in fields(Row)}
# One dict for all outlines: a long run keeps many, and nobody writes into a row.
_NOTHING: dict[str, Any] = {}
_LEFT_OUT: dict[str, Any] = {name: _NOTHING for name in ("vectors", "texts", "lists", "pairs")}
Summarize = Callable[[Sequence[float]], dict[str, Any]]


def sort_values(recorded: Mapping[str, Any], summarize: Summarize) -> dict[str, Any]:
    """Return recorded values sorted into a row's labels, values, vectors, texts and lists.

    Args:
        recorded: Per name a number, None, a text, a vector of numbers ``[n]`` (list, array or
            tensor), a list of texts, or a list of n lists.
        summarize: Makes the summary of a vector.

    Raises:
        TypeError: When a value is none of these.
        ValueError: When a vector is not one-dimensional or a number is not finite.
    """
    row: dict[str, Any] = {"labels": {}, "values": {}, "vectors": {}, "texts": {}, "lists": {}}
    for name, value in recorded.items():
        if value is None or isinstance(value, (int, float)):
            # Counts and ranks stay whole numbers.
            row["values"][name] = value if value is None else _finite(name, +value)
        elif isinstance(value, str):
            row["labels"][name] = value
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            row["texts"][name] = _texts(name, value)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
            row["lists"][name] = [_list(name, entry) for entry in value]
        else:
            vector = _vector(name, value)
            if isinstance(vector, float):
                row["values"][name] = vector
            else:
                row["vectors"][name] = vector
                row["values"][name] = summarize(vector)
    return row


def _texts(name: str, values: Sequence[Any]) -> list[str]:
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(
                f"record({name}=…): expected texts throughout, got {type(value).__name__} at "
                f"[{index}]"
            )
    return [str(value) for value in values]


def _list(name: str, values: Any) -> list[str | float]:
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"record({name}=…): expected lists throughout, got {type(values).__name__}")
    for value in values:
        if not isinstance(value, (str, int, float)):
            raise TypeError(
                f"record({name}=…): expected lists of numbers or texts, got {type(value).__name__}"
            )
    _all_finite(name, [value for value in values if not isinstance(value, str)])
    return list(values)


def _vector(name: str, value: Any) -> float | list[float]:
    # Imported here: who only reads rows does without it.
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    expected = f"record({name}=…): expected a number, a vector of shape [n] or texts"
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{expected}, got {type(value).__name__}") from None
    if array.ndim == 0:
        return _finite(name, float(array))
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{expected}, got an array of shape {list(array.shape)}")
    return _all_finite(name, array.tolist())


def _finite(name: str, value: float) -> float:
    return value if math.isfinite(value) else _all_finite(name, [value])[0]


def _all_finite(name: str, values: list[float]) -> list[float]:
    bad = sum(not math.isfinite(value) for value in values)
    if bad:
        raise ValueError(
            f"record({name}=…): {bad} of {len(values)} values are not finite; "
            "leave them out, or record None where the metric is undefined"
        )
    return values


@dataclass(frozen=True, slots=True)
class _Entry:
    """The rows of one item: where they stand in the file, and what of them is kept in memory."""

    start: int
    end: int
    outline: tuple[Row, ...]


class Store:
    """``records.jsonl``: one row a line, appended and flushed as rows come, by one writer.

    The rows of an item are written together. A torn end (the process was killed while writing)
    is cut off with a message; any other damage is an error that names the line. Texts and values
    per prompt, nearly all of the file, stay on the disk until they are asked for.

    Attributes:
        path: The file.
        repaired: What was repaired on opening, or None.
    """

    def __init__(self, path: Path) -> None:
        """Read the file when there is one.

        Raises:
            InputError: When a line is damaged other than by a torn end.
        """
        self.path = path
        self.repaired: str | None = None
        self._size = 0
        self._intact: int | None = None
        self._entries: dict[str, _Entry] = {}
        self._latest: dict[tuple[str, str], str] = {}
        # Of each experiment the function that ran last, of each table its context.
        self._functions: dict[str, str] = {}
        self._contexts: dict[tuple[str, str | None, str | None], str] = {}
        self._provenance: dict[str, Any] = {}
        self._file: IO[bytes] | None = None
        if path.is_file():
            self._read()

    def __contains__(self, key: str) -> bool:
        """Tell whether an item's rows are all there."""
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys of the items."""
        return iter(self._entries)

    def __getitem__(self, key: str) -> list[Row]:
        """Return the rows of an item, read from the file."""
        entry = self._entries[key]
        with self.path.open("rb") as file:
            file.seek(entry.start)
            lines = file.read(entry.end - entry.start).splitlines(keepends=True)
        return [_parse(line, f"{self.path}: row {i} of {key}") for i, line in enumerate(lines)]

    def outline(self, key: str) -> list[Row]:
        """Return the rows of an item without their vectors and texts."""
        return list(self._entries[key].outline)

    def rows(self) -> list[Row]:
        """Return the rows that can stand in one table, in order of item and row, as outlines.

        Of every experiment, model and emotion these are all rows of the context that was recorded
        last: what was recorded under other prompts, settings or code is not to be compared with
        them. Where functions of several files have one name, the experiment is the one that ran
        last.
        """
        found = [row for row in self._in_order() if self._is_current(row)]
        return sorted(found, key=lambda row: (row.item, row.row))

    def whole_rows(self, experiment: str) -> list[Row]:
        """Return the rows of `rows` of one experiment, with their vectors and texts."""
        keys = dict.fromkeys(row.key for row in self.rows() if row.experiment == experiment)
        return [row for key in keys for row in self[key]]

    def _in_order(self) -> Iterator[Row]:
        for key in self._latest.values():
            yield from self._entries[key].outline

    def touch(self, key: str) -> None:
        """Make the context of an item's stored rows the latest of its table.

        Where it is not, the rows are recorded once more, so that who reads the file next finds
        it so too.
        """
        first = self._entries[key].outline[0]
        if not self._is_current(first):
            self.append(self[key])

    def _is_current(self, row: Row) -> bool:
        family = _family(row)
        return (self._functions[row.experiment], self._contexts[family]) == (family[0], row.context)

    def check_free(self) -> None:
        """Check that no other run is writing.

        Raises:
            InputError: When one is.
        """
        if self.path.is_file():
            with self.path.open("rb") as file:
                self._lock(file)

    def open(self) -> None:
        """Become the one writer, once: repair a torn end and lock the file.

        Raises:
            InputError: When the folder cannot be written or another run is writing.
        """
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise InputError(
                f"{error.filename or self.path}: cannot be written ({error.strerror}); "
                "choose another folder with --results-dir"
            ) from None
        try:
            self._lock(self._file)
            if self.path.stat().st_size != self._size:
                # Somebody has written since it was read: what was torn then may be whole now.
                self._read()
        except InputError:
            self.close()
            raise
        if self._intact is not None:
            os.truncate(self.path, self._intact)
            self._size, self._intact = self._intact, None

    def _lock(self, file: IO[Any]) -> None:
        try:
            import fcntl
        except ImportError:  # No such locks on Windows: two runs at once are the user's to avoid.
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{self.path}: another run is writing to it; wait for it, or choose another "
                "folder with --results-dir"
            ) from None

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows of one item and flush them, so that they outlive this process."""
        self.open()
        assert self._file is not None
        data = "".join(row.to_json() + "\n" for row in rows).encode()
        self._file.write(data)
        self._file.flush()
        self._add(_Entry(self._size, self._size + len(data), self._outline(rows)))
        self._size += len(data)

    def close(self) -> None:
        """Let go of the file, its content on the disk."""
        if self._file is not None:
            # Once a run: rows outlive the process without it, a power cut they do not.
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _add(self, entry: _Entry) -> None:
        first = entry.outline[0]
        self._entries[first.key] = entry
        # Taken out first, so that the order is that of the latest record.
        self._latest.pop((first.item, first.context), None)
        self._latest[first.item, first.context] = first.key
        self._functions[first.experiment] = _family(first)[0]
        self._contexts[_family(first)] = first.context

    def _outline(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Return what is kept of rows in memory; what two in a row have alike is kept once."""
        kept = []
        for row in rows:
            last = self._provenance
            if row.provenance is not last and row.provenance != last:
                self._provenance = {
                    name: old if (old := last.get(name)) == value else value
                    for name, value in row.provenance.items()
                }
            slim = row.provenance is self._provenance and not (
                row.vectors or row.texts or row.lists
            )
            kept.append(row if slim else replace(row, provenance=self._provenance, **_LEFT_OUT))
        return tuple(kept)

    def _read(self) -> None:
        data = self.path.read_bytes()
        self._size, self._intact = len(data), None
        for index in (self._entries, self._latest, self._functions, self._contexts):
            index.clear()
        start, intact = 0, 0
        pending: list[Row] = []
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            start += len(line)
            if start == len(data) and not line.endswith(b"\n"):
                break
            row = _parse(line, f"{self.path}: line {number}")
            if row.row != len(pending) or (pending and pending[0].key != row.key):
                item = pending[0].item if pending else "an item"
                raise InputError(
                    f"{self.path}: line {number}: expected row {len(pending)} of {item}, got row "
                    f"{row.row} of {row.item}: a line is missing; {_ADVICE}"
                )
            pending.append(row)
            if len(pending) == row.of:
                self._add(_Entry(intact, start, self._outline(pending)))
                pending, intact = [], start
        if intact != len(data):
            self._intact = intact
            torn = not data.endswith(b"\n")
            lost = "its last line was torn" if torn else "it ends inside an item"
            self.repaired = (
                f"{self.path}: {lost} (the run was killed while writing); "
                f"cut off {len(data) - intact} bytes, that item runs again"
            )


def _parse(line: bytes, where: str) -> Row:
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{where}: not JSON; {_ADVICE}") from None
    if not isinstance(data, dict) or data.pop("v", None) != VERSION:
        raise InputError(f"{where}: expected a row of version {VERSION}; {_ADVICE}")
    missing, unknown = sorted(_TYPES.keys() - data.keys()), sorted(data.keys() - _TYPES.keys())
    wrong = [f"no {', '.join(missing)}"] * bool(missing)
    wrong += [f"unknown {', '.join(unknown)}"] * bool(unknown)
    wrong += [
        f"{name} is {type(data[name]).__name__}, not {kind.__name__}"
        for name, kind in _TYPES.items()
        if name in data and not isinstance(data[name], kind)
    ]
    if wrong:
        raise InputError(f"{where}: not a row ({'; '.join(wrong)}); {_ADVICE}")
    return Row(**data)


def _family(row: Row) -> tuple[str, str | None, str | None]:
    """Return what the rows of a table share: function, model and emotion."""
    return row.item.partition("[")[0], row.dims.get("model"), row.dims.get("emotion")


def group(rows: Iterable[Row], by: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Return rows by a name, in the order in which the names first come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return groups
