"""The report of a study: what was run, what heads do, what is more than chance, and samples.

Made from the store alone, so that the same records give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from emolib.errors import InputError
from emolib.files import write_text
from emolib.reporting import report_heads, report_study, report_units
from emolib.reporting.experiments import (
    ABLATED,
    ATTENTION,
    CONTROLLED,
    PATCHED,
    SCREENED,
    UNITS,
)
from emolib.reporting.markdown import escape
from emolib.reporting.report_parts import strongest_rows
from emolib.results.records import Store

_OF_HEADS = (SCREENED, ABLATED, PATCHED, ATTENTION, CONTROLLED)


def write_report(
    results: Path,
    out: Path | None = None,
    *,
    emotion: str | None = None,
    top_n: int = 10,
    run: str | None = None,
) -> Path:
    """Write ``head_analysis_report.md`` and return it.

    Args:
        results: The results folder of a profile.
        out: Folder of the report; ``report`` in `results` by default.
        emotion: Report on this emotion alone.
        top_n: Heads a table.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default.

    Raises:
        InputError: When there are no records, or none on `emotion`.
    """
    store = Store(results)
    outlines = [row for row in store.rows(run=run) if emotion in (None, row.dims.get("emotion"))]
    if not outlines:
        about = f" on {emotion!r}" if emotion else ""
        raise InputError(f"{store.path}: no rows{about}; run `pytest experiments` first")
    keys = {row.key for row in outlines}
    rows = {
        name: [row for row in store.whole_rows(name, run=run) if row.key in keys]
        for name in sorted({row.experiment for row in outlines})
    }
    screened, ablated, patched, attended, controlled = (rows.get(name, []) for name in _OF_HEADS)
    of_units = {name: rows[name] for name in rows if name.startswith(UNITS)}
    others = {name: rows[name] for name in rows if name not in (*_OF_HEADS, *of_units)}
    folder = out or results / "report"
    sections = [
        f"# Head analysis: {escape(results.name)}",
        *report_study.in_short(ablated, patched),
        *report_study.setup([row for members in rows.values() for row in members]),
        *report_heads.screening(screened, top_n),
        *report_heads.ablation(ablated, top_n),
        *report_heads.patching(patched, top_n),
        *report_heads.controls(controlled, top_n),
        *report_units.units(of_units, top_n),
        *report_heads.attention(attended, top_n),
        *report_study.models(ablated, patched, screened),
        *report_study.significance(ablated, patched, *of_units.values()),
        *report_study.samples(ablated, "ablated_text"),
        *(("## Other experiments", *strongest_rows(others, top_n)) if others else ()),
        *report_study.figures(results, folder),
    ]
    path = folder / "head_analysis_report.md"
    write_text(path, "\n\n".join(sections) + "\n")
    return path
