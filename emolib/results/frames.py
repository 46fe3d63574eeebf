"""Records as flat lines and as pandas frames: what exports write and what a notebook loads."""

from __future__ import annotations

import importlib
import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emolib.errors import InputError
from emolib.results.blocks import Block, by_prompt, flat
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import RECORDS, segments
from emolib.results.tested import tested

if TYPE_CHECKING:
    import pandas as pd

Lines = list[dict[str, Any]]
"""Lines of a table, each a value by the name of its column."""
# What a line has in a column that it does not name, as pandas has it.
_GAP = math.nan


def needed(package: str, what: str) -> Any:
    """Return a package of the extra ``export``.

    Args:
        package: Its name.
        what: What needs it, for the message.

    Raises:
        InputError: When it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{what} needs {error.name}; install emolib's extra: pip install 'emolib[export]'"
        ) from None


def to_frame(blocks: Iterable[Block], what: str) -> pd.DataFrame:
    """Return blocks of lines as a pandas frame, a column for every name in any of them.

    Args:
        blocks: The lines.
        what: What needs pandas, for the message.

    Raises:
        InputError: When pandas is not installed.
    """
    pd, np = needed("pandas", what), needed("numpy", what)
    columns: dict[str, array[float] | list[Any]] = {}
    count = 0
    for block in blocks:
        for name in block.names:
            if name not in columns:
                columns[name] = array("d", [_GAP]) * count
            values = block.column(name)
            # Eight bytes a number; in a list every number is an object.
            if isinstance(columns[name], array) and set(map(type, values)) != {float}:
                columns[name] = list(columns[name])
            columns[name].extend(values)
        count += block.length
        for column in columns.values():
            if len(column) < count:
                column.extend([_GAP] * (count - len(column)))
    found = {}
    for name in list(columns):
        # One by one, so that no more than one column is there twice.
        column = columns.pop(name)
        found[name] = pd.Series(np.frombuffer(column) if isinstance(column, array) else column)
    return pd.DataFrame(found)


class Frames:
    """The records of one results folder or of several as pandas frames.

    Opened, it holds outlines: what was run and the summaries of every metric. Vectors and texts
    are read from the disk when `prompts` asks for them, one experiment at a time.

    Attributes:
        profiles: The folders, by their names.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Read the outlines of the stores in these folders.

        Raises:
            InputError: When a store is damaged.
        """
        self.profiles = {folder.name: folder for folder in folders}
        self._stores = {name: Store(folder) for name, folder in self.profiles.items()}

    def __repr__(self) -> str:
        """Return what was loaded, on one line."""
        rows = sum(1 for _ in self._outlines())
        return f"<{', '.join(self.profiles)}: {rows} rows of {', '.join(self.experiments)}>"

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments that have rows, as in ``head_ablation``."""
        names = (store.experiments() for store in self._stores.values())
        return list(dict.fromkeys(itertools.chain.from_iterable(names)))

    def rows(self, experiment: str | None = None, *, tests: bool = True) -> pd.DataFrame:
        """Return a frame with a line per record, those that can stand in one table.

        Args:
            experiment: Only this one.
            tests: With p, q and max-T. The table of the run has them; where there is none of
                these rows they are computed, which takes a while.

        Returns:
            A `pandas.DataFrame` with the columns ``profile``, ``item``, ``experiment``, what the
            item ran on (``model``, ``emotion``, ``heads``, ``units``, ``ablation``, as far as
            items have them), labels, and every metric: a number under its name, a vector as its
            mean under its name with ``_ci_low``, ``_ci_high``, ``_n`` and ``_d_z`` beside it,
            each in the metric's unit. The first vector of an experiment also has ``_p``, ``_q``,
            ``_max_t`` and ``_max_t_hall`` over the rows of its table, and ``_ci_t_low`` and
            ``_ci_t_high`` (`emolib.results.chances`). `emolib.results.glossary` says what they are.

        Raises:
            InputError: When there is no such experiment.
        """
        if experiment is not None:
            self._check(experiment)
        return to_frame(self._blocks(experiment, tests), "emolib.load")

    def prompts(self, experiment: str) -> pd.DataFrame:
        """Return a frame with a line per record and prompt of one experiment.

        Args:
            experiment: One of `experiments`.

        Returns:
            A `pandas.DataFrame` with the columns ``profile``, ``item``, what the item ran on,
            labels, ``record`` (from 0 in the item), ``prompt_index``, and per prompt ``id`` and
            ``template`` of the pair, texts, values of vectors in the metric's unit, and lists as
            JSON.

        Raises:
            InputError: When there is no such experiment.
        """
        self._check(experiment)
        blocks = (
            block
            for profile, store in self._stores.items()
            for block in by_prompt(store.whole_rows(experiment), profile=profile)
        )
        return to_frame(blocks, "emolib.load")

    def _blocks(self, experiment: str | None, tests: bool) -> Iterator[Block]:
        for profile, store in self._stores.items():
            chosen = store.experiments() if experiment is None else [experiment]
            more = {name: tested(store, name) if tests else {} for name in chosen}
            for row in store.rows(experiment):
                named = {"profile": profile, "item": "", "experiment": row.experiment}
                told = more[row.experiment].get((row.item, row.row), {})
                yield Block(1, named | flat(row) | dict(told), {})

    def _outlines(self, experiment: str | None = None) -> Iterator[tuple[str, Row]]:
        for profile, store in self._stores.items():
            for row in store.rows(experiment):
                yield profile, row

    def _check(self, experiment: str) -> None:
        if experiment not in self.experiments:
            raise InputError(
                f"experiment {experiment!r}: no rows in {', '.join(self.profiles)}; expected one "
                f"of {', '.join(self.experiments)}"
            )


def load(path: str | Path) -> Frames:
    r"""Return the records in a results folder as frames.

    >>> from tempfile import TemporaryDirectory
    >>> row = Row("exp_x.py::exp_x[L0H1]", "x", "k", 0, 1, {"heads": "L0H1"}, values={"kl": 0.5})
    >>> with TemporaryDirectory() as results:
    ...     store = Store(Path(results))
    ...     store.append([row])
    ...     store.close()
    ...     frame = load(results).rows()
    >>> frame[["experiment", "heads", "kl"]].to_dict("records")
    [{'experiment': 'x', 'heads': 'L0H1', 'kl': 0.5}]

    Args:
        path: The results folder of a profile (``results/demo``), or the folder above it, of whose
            profiles all are loaded.

    Raises:
        InputError: When there are no records at `path`, a store is damaged, or pandas is not
            installed.
    """
    needed("pandas", "emolib.load")
    folder = Path(path)
    if segments(folder):
        # Of ``.`` the name is empty.
        return Frames([folder.resolve()])
    found = sorted(below for below in folder.glob("*/") if segments(below))
    if not found:
        got = "a folder without" if folder.is_dir() else "a file" if folder.exists() else "nothing"
        raise InputError(
            f"{path}: expected a results folder with {RECORDS}/, or the folder above some, got "
            f"{got}{' any' if folder.is_dir() else ''}; run `pytest experiments` first, or name "
            "the folder of its --results-dir"
        )
    return Frames(found)
