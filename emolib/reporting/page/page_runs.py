"""Where the numbers come from: models, runs and settings, for who asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from emolib.reporting.notes import notes
from emolib.reporting.page.page_tables import Section, table_of
from emolib.reporting.page.page_words import name, shown
from emolib.reporting.runs import runs, time_of
from emolib.results.glossary import setting as entry
from emolib.results.rows import Row
from emolib.results.runs import Run
from emolib.results.selection import StudyKey, study_of


class Provenance:
    """Models, and what was left out of studies, from rows seen one by one."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.models: dict[str, dict[str, Any]] = {}
        self._versions: dict[str, set[str]] = {}
        self._left_out: dict[StudyKey, Row] = {}
        self._last: dict[str, Any] = {}

    def see(self, row: Row) -> None:
        """Take note of a row."""
        told = row.provenance
        if told is self._last or told == self._last:
            return
        self._last = told
        model = row.dims.get("model", "")
        if model not in self.models and isinstance(told.get("model"), dict):
            shape, found = told.get("shape", {}), told["model"]
            self.models[model] = {
                "model": model,
                "id": found.get("id"),
                "type": found.get("type"),
                "layers": shape.get("layers"),
                "heads a layer": shape.get("heads"),
                "weights": found.get("weights"),
                "tokenizer": found.get("tokenizer"),
            }
        for package, version in (told.get("versions") or {}).items():
            self._versions.setdefault(package, set()).add(str(version))
        kept = {key: told[key] for key in ("left_out", "in_pieces") if told.get(key)}
        if kept and study_of(row) not in self._left_out:
            slim = replace(row, provenance=kept, vectors={}, texts={}, lists={}, pairs={})
            self._left_out[study_of(row)] = slim

    def version_of(self, package: str) -> str:
        """Return the versions of a package that rows were recorded with, mostly one."""
        return shown(", ".join(sorted(self._versions.get(package, ()))))

    def notes(self) -> list[str]:
        """Return what was left out, in words."""
        return [shown(note) for note in sorted(notes(self._left_out.values()))]

    def section(self, results: Path) -> Section:
        """Return the section on models and runs."""
        tables = [
            table_of("Models", list(self.models.values())),
            table_of("Runs", runs(results), most=20),
            table_of(
                "Versions",
                [
                    {"package": package, "version": ", ".join(sorted(found))}
                    for package, found in sorted(self._versions.items())
                ],
            ),
        ]
        return Section("runs", "Where the numbers come from", tables=tables, folded=True)


def settings(run: Run | None) -> Section:
    """Return the settings of the last run."""
    lines = [
        {"setting": setting, "value": name(_value(value)), "what": _what(setting)}
        for setting, value in sorted((run.settings if run else {}).items())
        if value not in (None, {}, [])
    ]
    return Section("settings", "Settings", tables=[table_of("", lines, most=60)], folded=True)


def _what(setting: str) -> str:
    found = entry(setting)
    return found.what if found else ""


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def made(found: list[Run]) -> str:
    """Return when a run ended, or began where it did not end; the last of several."""
    last = max((run.ended or run.started for run in found), default="")
    return f"{time_of(last)} UTC" if last else ""
