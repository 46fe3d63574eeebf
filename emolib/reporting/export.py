"""Records as long frames, for other tools: csv, parquet, pickle, latex."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import write_bytes, write_text
from emolib.reporting.markdown import visible
from emolib.reporting.tables import to_columns
from emolib.results.frames import Lines, by_prompt, flat, needed
from emolib.results.records import Store

FORMATS = {"csv": ".csv", "parquet": ".parquet", "pickle": ".pkl", "latex": ".tex"}
_NEEDS = {"parquet": ("pandas", "pyarrow"), "pickle": ("pandas",)}
# A bracket after the end of a row would be read as its option.
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\textasciitilde{}", "[": "{[}", "]": "{]}"}
    | {"<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}"}
)


def write_export(
    results: Path,
    fmt: str,
    out: Path | None = None,
    *,
    experiment: str | None = None,
    run: str | None = None,
) -> list[Path]:
    """Write two frames per experiment and return the files.

    ``<experiment>`` has a line a record: what it ran on and every metric, a vector as its mean,
    95 % CI, n and d_z. ``<experiment>_prompts`` has a line a record and prompt: vectors, texts and
    lists, a list as JSON.

    Args:
        results: The results folder of a profile.
        fmt: One of `FORMATS`. Pickle is for older notebooks: it is written here and read nowhere.
        out: Where to; ``export`` in `results` by default.
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
    write = _writer(fmt)
    folder = out or results / "export"
    made = []
    for name in [experiment] if experiment else known:
        rows = list(store.whole_rows(name, run=run))
        frames = {name: [flat(row) for row in rows], f"{name}_prompts": by_prompt(rows)}
        for stem, lines in frames.items():
            if lines:
                path = folder / f"{stem}{FORMATS[fmt]}"
                write(lines, path)
                made.append(path)
    return made


def _writer(fmt: str) -> Callable[[Lines, Path], None]:
    if fmt == "csv":
        return lambda lines, path: write_text(path, to_columns(lines))
    if fmt == "latex":
        return lambda lines, path: write_text(path, _latex(lines))
    pd, *_ = (needed(package, f"--format {fmt}") for package in _NEEDS[fmt])

    def write(lines: Lines, path: Path) -> None:
        content = io.BytesIO()
        match fmt:
            case "parquet":
                pd.DataFrame(_uniform(lines)).to_parquet(content, index=False)
            case "pickle":
                pd.DataFrame(lines).to_pickle(content)
            case _:
                raise ValueError(f"--format: expected one of {', '.join(FORMATS)}, got {fmt!r}")
        write_bytes(path, content.getvalue())

    return write


def _latex(lines: Lines) -> str:
    """Return lines as a longtable, written here: pandas takes gigabytes for it."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    rows: list[list[Any]] = [names, *([line.get(name) for name in names] for line in lines)]
    head, *body = [" & ".join(map(_cell, row)) + r" \\" for row in rows]
    opening = rf"\begin{{longtable}}{{{'l' * len(names)}}}"
    parts = [opening, r"\hline", head, r"\hline", r"\endhead", *body, r"\hline"]
    return "\n".join([*parts, r"\end{longtable}"]) + "\n"


def _cell(value: Any) -> str:
    """Return a cell on one line, since LaTeX makes a paragraph of an empty one."""
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(visible(str(value)).split())
    return text.translate(_LATEX)


def _uniform(lines: Lines) -> Lines:
    """Return lines in which a column that has both texts and numbers has texts alone."""
    kinds: dict[str, set[bool]] = {}
    for line in lines:
        for name, value in line.items():
            if value is not None:
                kinds.setdefault(name, set()).add(isinstance(value, str))
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    return [
        {k: str(v) if k in mixed and v is not None else v for k, v in line.items()}
        for line in lines
    ]
