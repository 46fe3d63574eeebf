"""Records as long frames, for other tools: csv, parquet, pickle, latex."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.outputs import per_prompt, write_text
from emolib.records import Row, Store
from emolib.tables import flat, to_columns

FORMATS = {"csv": ".csv", "parquet": ".parquet", "pickle": ".pkl", "latex": ".tex"}
Lines = list[dict[str, Any]]


def export(
    results: Path, fmt: str, out: Path | None = None, *, experiment: str | None = None
) -> list[Path]:
    """Write two frames per experiment and return the files.

    ``<experiment>`` has a line a record: what it ran on and every metric, a vector as its mean,
    95 % CI, n and d_z. ``<experiment>_prompts`` has a line a record and prompt: vectors and texts.

    Args:
        results: The results folder of a profile.
        fmt: One of `FORMATS`. Pickle is for older notebooks: it is written here and read nowhere.
        out: Where to; ``export`` in `results` by default.
        experiment: Only this one.

    Raises:
        InputError: When there is nothing to export, or a package that the format needs is missing.
    """
    store = Store(results / "records.jsonl")
    known = list(dict.fromkeys(row.experiment for row in store.rows()))
    if not known:
        raise InputError(f"{store.path}: no rows; run `pytest experiments` first")
    if experiment is not None and experiment not in known:
        raise InputError(
            f"--experiment {experiment}: no rows in {store.path}; expected one of "
            f"{', '.join(known)}"
        )
    write = _writer(fmt)
    folder = out or results / "export"
    made = []
    for name in [experiment] if experiment else known:
        rows = store.whole_rows(name)
        for stem, lines in ((name, [flat(row) for row in rows]), (f"{name}_prompts", _long(rows))):
            if lines:
                path = folder / f"{stem}{FORMATS[fmt]}"
                write(lines, path)
                made.append(path)
    return made


def _long(rows: Sequence[Row]) -> Lines:
    return [
        {"item": row.item} | row.dims | row.labels | {"record": row.row, "prompt_index": i} | values
        for row in rows
        for i, values in enumerate(per_prompt(row))
    ]


def _writer(fmt: str) -> Callable[[Lines, Path], None]:
    if fmt == "csv":
        return lambda lines, path: write_text(path, to_columns(lines))
    try:
        import pandas as pd

        if fmt == "parquet":
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--format {fmt} needs {error.name}; install emolib's extra: "
            "pip install 'emolib[export]'"
        ) from None

    def write(lines: Lines, path: Path) -> None:
        frame = pd.DataFrame(lines)
        if fmt == "latex":
            write_text(path, frame.to_latex(index=False, escape=True, longtable=True))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if fmt == "parquet":
            frame.to_parquet(path, index=False)
        else:
            frame.to_pickle(path)

    return write
