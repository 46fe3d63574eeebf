"""The report of a study: what was found and what not, and beside it a page of tables a subject.

Made from the store alone, so that the same records give the same bytes. What a row gives to each
section is taken as the row is read: of the whole store no more than one row is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from emolib.errors import InputError
from emolib.files import write_text
from emolib.reporting import (
    report_circuits,
    report_findings,
    report_heads,
    report_methods,
    report_paths,
    report_probes,
    report_specificity,
    report_steering,
    report_study,
    report_units,
)
from emolib.reporting.experiments import (
    ABLATED,
    ATTENTION,
    CIRCUIT,
    CIRCUITS,
    CONTROLLED,
    IMPORTANCES,
    PATCHED,
    PATHS,
    PROBED,
    SCREENED,
    SPECIFIC,
    STEERED,
    UNITS,
)
from emolib.reporting.findings import findings
from emolib.reporting.markdown import escape
from emolib.reporting.notes import clusters_of
from emolib.reporting.report_parts import strongest_rows
from emolib.results.abridged import abridged
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, study_of

# Whose rows stand beside each other in one section, with intervals of what is tested alone; those
# of others are let go of one by one.
_TOGETHER = (SCREENED, ABLATED, PATCHED)
# In the order of the report, each with the name of its page.
_ALONE = {
    PATHS: ("paths", report_paths.paths),
    CONTROLLED: ("controls", report_heads.controls),
    CIRCUITS: ("circuits", report_circuits.circuits),
    CIRCUIT: ("circuits", report_circuits.sets),
    SPECIFIC: ("specificity", report_specificity.specificity),
    PROBED: ("probes", report_probes.probes),
    ATTENTION: ("attention", report_heads.attention),
    STEERED: ("steering", report_steering.steering),
}
# Texts of a study that the report itself shows; the others are on their page.
_SAMPLES = 1
# Told elsewhere, or for other tools alone.
_UNTOLD = (IMPORTANCES,)
# The metrics that sections test against chance, beside the first of each study.
_TESTED = ("logit_diff", "atp_ig", "difference", *report_specificity.TESTED)


def write_report(
    results: Path,
    out: Path | None = None,
    *,
    emotion: str | None = None,
    top_n: int = 10,
    run: str | None = None,
) -> Path:
    """Write ``head_analysis_report.md`` and return it; beside it come ``tables/*.md`` and BibTeX.

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
    read = _Read(store, emotion, run)
    if not read.experiments:
        about = f" on {emotion!r}" if emotion else ""
        raise InputError(f"{store.path}: no rows{about}; run `pytest experiments` first")
    setup, samples = report_study.Setup(), report_study.Samples("ablated_text")
    kept: dict[str, list[Row]] = {}
    alone: dict[str, list[str]] = {}
    for name in read.experiments:
        if name in _UNTOLD:
            continue
        seen = [setup.see, samples.see] if name == ABLATED else [setup.see]
        rows = read.rows(name, seen)
        if name in _ALONE:
            alone[name] = list(_ALONE[name][1](rows, top_n))
        elif name in _TOGETHER or name.startswith(UNITS):
            kept[name] = rows
        else:
            alone[name] = list(strongest_rows({name: rows}, top_n))
    screened, ablated, patched = (kept.pop(name, []) for name in _TOGETHER)
    pages: dict[str, Iterable[str]] = {
        "screening": report_heads.screening(screened, top_n),
        "ablation": report_heads.ablation(ablated, top_n),
        "patching": report_heads.patching(patched, top_n),
    }
    for name, (page, tell) in _ALONE.items():
        pages[page] = chain(pages.get(page, ()), alone.pop(name, []) or tell([], top_n))
    pages["units"] = report_units.units(kept, top_n)
    pages["models"] = report_study.models(ablated, patched, screened)
    pages["significance"] = report_study.significance(
        ablated, patched, *kept.values(), clusters=read.clusters
    )
    pages["texts"] = samples.section()
    if alone:
        pages["others"] = chain(["## Other experiments"], *alone.values())
    folder = out or results / "report"
    title = f"# Head analysis: {escape(results.name)}"
    told = findings(store, run=run, emotion=emotion)
    sections = [
        title,
        *report_findings.found(told),
        *report_study.in_short(ablated, patched),
        *_write_pages(folder / "tables", title, pages),
        *samples.section(_SAMPLES),
        *report_methods.methods(setup, read.experiments),
        *setup.section(),
        *report_study.figures(results, folder),
    ]
    write_text(
        folder / report_methods.REFERENCES, report_methods.references(setup, read.experiments)
    )
    path = folder / "head_analysis_report.md"
    write_text(path, "\n\n".join(sections) + "\n")
    return path


def _write_pages(folder: Path, title: str, pages: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Write the pages of tables; yield the section that links them."""
    links = []
    for name, parts in pages.items():
        heading, *rest = parts
        text = [title, "[Back to the report](../head_analysis_report.md)", heading, *rest]
        write_text(folder / f"{name}.md", "\n\n".join(text) + "\n")
        not_run = rest[0] if len(rest) == 1 and rest[0].startswith("Not run") else ""
        link = f"[{heading.removeprefix('## ')}](tables/{name}.md)"
        links.append(f"- {link}{f': {not_run[0].lower()}{not_run[1:]}' if not_run else ''}")
    yield "## Tables"
    yield "\n".join(links)


class _Read:
    """The rows of a store that a report is on, abridged to what its sections take.

    Attributes:
        experiments: Names of those that have such rows, in order.
    """

    def __init__(self, store: Store, emotion: str | None, run: str | None) -> None:
        self._store, self._emotion, self._run = store, emotion, run
        self._tested: dict[str, set[str]] = {}
        known: set[tuple[str, StudyKey]] = set()
        for row in filter(self._is_on, store.rows(run=run)):
            tested = self._tested.setdefault(row.experiment, set(_TESTED))
            table = row.experiment, study_of(row)
            if row.values and table not in known:
                known.add(table)
                # The first metric of a study is what its rows are ranked and tested by.
                tested.add(next(iter(row.values)))
        self.experiments = sorted(self._tested)

    def rows(self, experiment: str, seen: Sequence[Callable[[Row], None]]) -> list[Row]:
        """Return the rows of an experiment, each of which is shown whole before."""

        def whole() -> Iterator[Row]:
            for row in filter(self._is_on, self._store.whole_rows(experiment, run=self._run)):
                for see in seen:
                    see(row)
                yield row

        tested = self._tested[experiment]
        return list(abridged(whole(), tested, tested if experiment in _TOGETHER else None))

    def clusters(self, row: Row) -> tuple[int, str]:
        """Return what `clusters_of` tells of the whole row."""
        return clusters_of(self._store[row.key][row.row])

    def _is_on(self, row: Row) -> bool:
        return self._emotion in (None, row.dims.get("emotion"))
