"""The report of a study: what was run, what heads do, what is more than chance, and samples.

Made from ``records.jsonl`` alone, so that the same records give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from emolib.errors import InputError
from emolib.files import write_text
from emolib.reporting.comparison import COMPARED
from emolib.reporting.markdown import escape
from emolib.reporting.report_heads import (
    ATTENTION,
    CONTROLLED,
    PATCHED,
    SCREENED,
    ablation,
    attention,
    controls,
    patching,
    screening,
    tables,
)
from emolib.reporting.report_study import (
    _figures,
    _in_short,
    _models,
    _samples,
    _setup,
    _significance,
)
from emolib.reporting.report_units import units
from emolib.results.records import Store

_UNITS = "unit_"


def write_report(
    results: Path, out: Path | None = None, *, emotion: str | None = None, top_n: int = 10
) -> Path:
    """Write ``head_analysis_report.md`` and return it.

    Args:
        results: The results folder of a profile.
        out: Folder of the report; ``report`` in `results` by default.
        emotion: Report on this emotion alone.
        top_n: Heads a table.

    Raises:
        InputError: When there are no records, or none on `emotion`.
    """
    store = Store(results / "records.jsonl")
    outlines = [row for row in store.rows() if emotion in (None, row.dims.get("emotion"))]
    if not outlines:
        about = f" on {emotion!r}" if emotion else ""
        raise InputError(f"{store.path}: no rows{about}; run `pytest experiments` first")
    keys = {row.key for row in outlines}

    rows = {
        name: [row for row in store.whole_rows(name) if row.key in keys]
        for name in sorted({row.experiment for row in outlines})
    }
    screened, ablated = rows.get(SCREENED, []), rows.get(COMPARED, [])
    patched, attended = rows.get(PATCHED, []), rows.get(ATTENTION, [])
    known = (SCREENED, COMPARED, PATCHED, CONTROLLED, ATTENTION)
    of_units = {name: rows[name] for name in rows if name.startswith(_UNITS)}
    others = {name: rows[name] for name in rows if name not in (*known, *of_units)}
    folder = out or results / "report"
    sections = [
        f"# Head analysis: {escape(results.name)}",
        *_in_short(ablated, patched),
        *_setup([row for members in rows.values() for row in members]),
        *screening(screened, top_n),
        *ablation(ablated, top_n),
        *patching(patched, top_n),
        *controls(rows.get(CONTROLLED, []), top_n),
        *units(of_units, top_n),
        *attention(attended, top_n),
        *_models(ablated, patched, screened),
        *_significance(ablated, patched, *of_units.values()),
        *_samples(ablated, "ablated_text"),
        *(tables("Other experiments", others, top_n) if others else ()),
        *_figures(results, folder),
    ]
    path = folder / "head_analysis_report.md"
    write_text(path, "\n\n".join(sections) + "\n")
    return path
