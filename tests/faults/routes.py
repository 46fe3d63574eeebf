"""Where rows of a store go: every table, plot, page, file and export that is made of them."""

from __future__ import annotations

import shutil
import warnings
from functools import partial
from pathlib import Path

from made import resamples
from stored import ill_said

from emolib.errors import InputError
from emolib.reporting.export import FORMATS, write_export
from emolib.reporting.merge import merge
from emolib.reporting.page.page_writer import write_page as write_view
from emolib.reporting.plots import draw
from emolib.reporting.report import write_report
from emolib.reporting.run_pairs import diff, side_of
from emolib.reporting.run_pairs_page import write_page
from emolib.reporting.run_pairs_told import as_json, lines
from emolib.reporting.runs import runs as told_runs
from emolib.reporting.tables import summary_table, write_table_of
from emolib.results.frames import load
from emolib.results.packing import pack
from emolib.results.records import Store


def export(fmt):
    return lambda folder, out: write_export(folder, fmt, out)


def exported_columns(folder, out):
    return write_export(folder, "csv", out, columns=["*diff*", "accuracy", "unit"])


def merged(folder, out):
    return list(merge([folder], out / "demo", "demo", mixed=True))


def repacked(folder, out):
    shutil.copytree(folder, out / "packed")
    return list(pack(out / "packed"))


def paired(folder, out):
    other = out / "other"
    if folder.exists():
        shutil.copytree(folder, other)
    found = diff(side_of(str(folder), folder, "demo"), side_of(str(other), other, "demo"))
    list(lines(found, 100))
    write_page(out / "diff.html", found)
    return as_json(found)


def tabled(folder, out):
    store = Store(folder)
    for name in store.experiments():
        write_table_of(out, name, partial(store.rows, name), store.whole_rows(name))
    rows = list(store.rows())
    return summary_table(rows) if rows else ""


def framed(folder, out):
    frames = load(folder)
    frames._repr_html_()
    return [frames.prompts(name) for name in frames.experiments], frames.rows()


def drawn(folder, out):
    with warnings.catch_warnings():
        # What no installed font has is told, in one line that names the plot.
        warnings.filterwarnings("ignore", ".*letters are drawn as boxes", UserWarning)
        return draw(folder, kind="svg")


ROUTES = {
    **{f"export {fmt}": export(fmt) for fmt in FORMATS}, "columns": exported_columns,
    "merge": merged, "pack": repacked, "diff": paired, "tables": tabled, "load": framed,
    "report": lambda folder, out: write_report(folder, out),
    "page": lambda folder, out: write_view(folder, out),
    "runs": lambda folder, out: told_runs(folder),
    "plots": drawn,
}  # fmt: skip
"""Where rows of a store go."""


def gone(route, folder, out):
    """Yield what goes wrong on a route that may refuse, and may do nothing else but work."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        with resamples(20):
            ROUTES[route](folder, out)
    except InputError as error:
        yield from (f"{route}: {problem}" for problem in ill_said(str(error)))
    except Exception as error:
        yield f"{route}: {error!r:.200} at {_where(error)}"


def _where(error):
    frame = error.__traceback__
    found = ""
    while frame is not None:
        if "/emolib/" in frame.tb_frame.f_code.co_filename:
            found = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return found
