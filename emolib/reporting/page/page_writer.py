"""``report/index.html``: one file that needs no network, from the store.

Rows are read once, experiment by experiment, and each is shown to what makes a part of the page.
The same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.files import written
from emolib.reporting.page import page_sections
from emolib.reporting.page.assets import render
from emolib.reporting.page.baseline_check import baseline_of
from emolib.reporting.page.page_blobs import fit
from emolib.reporting.page.page_data import PageData
from emolib.reporting.page.page_findings import found_in
from emolib.reporting.page.page_parts import PageParts
from emolib.reporting.page.page_runs import made, settings
from emolib.reporting.page.page_tables import static_map
from emolib.reporting.page.page_words import name
from emolib.results.provenance import versions
from emolib.results.records import Store

DEFAULT_MB = 10.0
"""How large the page may become."""
FILE = "index.html"
_MB = 1e6
# What the sentences on what was left out add, once they are known.
_ROOM = 0.99


def write_page(
    results: Path,
    out: Path | None = None,
    *,
    max_mb: float = DEFAULT_MB,
    run: str | None = None,
    emotion: str | None = None,
    baseline: Path | None = None,
) -> Path:
    """Write ``index.html`` and return it.

    Args:
        results: The results folder of a profile.
        out: Folder of the page; ``report`` in `results` by default.
        max_mb: Megabytes that the page may have: beyond, the texts that changed least are left
            out, then what the weakest heads do pair by pair.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default.
        emotion: On this emotion alone.
        baseline: Of the regression check; the one in `results` by default.

    Raises:
        InputError: When there are no records, none on `emotion`, or the baseline is none.
    """
    store = Store(results)
    parts = PageParts(store, results, run, emotion, baseline or baseline_of(results))
    if not parts.experiments:
        about = f" on {emotion!r}" if emotion else ""
        raise InputError(f"{store.path}: no rows{about}; run `pytest experiments` first")
    parts.read()
    path = (out or results / "report") / FILE
    with written(path) as file:
        for piece in _pieces(parts, max_mb * _MB):
            file.write(_encoded(piece))
    return path


def _pieces(parts: PageParts, budget: float) -> Iterator[str]:
    """Return the page, of no more than so many bytes, in pieces."""
    data = PageData(parts)
    told, context = data.told(), _context(parts)
    bare = sum(len(_encoded(piece)) for piece in render(context, told, data.blobs))
    details = parts.by_size()
    named = [(f"{data.ids[study]}-{head}", detail) for study, head, detail in details]
    fitted = fit(named, budget * _ROOM - bare)
    context["limits"] = fitted.left_out
    return render(context, told, data.blobs | fitted.blobs)


def _encoded(piece: str) -> bytes:
    """Return text as UTF-8; halves of characters, which no file can hold, as question marks."""
    return piece.encode("utf-8", "replace")


def _context(parts: PageParts) -> dict[str, Any]:
    """Return what is read without scripts."""
    maps, views = parts.maps, parts.views
    default, runs = maps.default(), parts.store.runs()
    last = parts.store.find(parts.run) if parts.run else runs[-1] if runs else None
    profile = name(parts.results.resolve().name)
    told = found_in(parts.store, parts.run, parts.emotion)
    sections = [
        page_sections.heads(maps),
        page_sections.texts(parts.strongest(), parts.prompts),
        page_sections.circuits(views.circuits),
        page_sections.paths(views.paths),
        page_sections.controls(views.controls),
        page_sections.steering(views.steering),
        page_sections.units(views.units),
        page_sections.models(views.comparison),
        page_sections.check(parts.compared),
        page_sections.others(views.others),
        parts.provenance.section(parts.results),
        settings(last),
        page_sections.glossary(parts.words),
    ]
    return {
        "title": f"Heads: {profile}",
        "profile": profile,
        "made": made([last] if last else []),
        "made_by": versions()["emolib"],
        "version": parts.provenance.version_of("emolib"),
        **told._asdict(),
        "maps": [
            static_map(maps, study, default)
            for study in maps.studies
            if default is not None and default in maps.grids[study]
        ],
        "sections": [section for section in sections if section],
        "notes": parts.provenance.notes(),
        "limits": [],
    }
