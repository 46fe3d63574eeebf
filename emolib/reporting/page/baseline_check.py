"""The effects of declared heads as rows have them now, beside the baseline in the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.reporting.page.page_words import rounded
from emolib.reporting.regression_check import Check, changes, compare, counts
from emolib.results.baselines import Baseline, Declared, DeclaredEffect, effects_of, load
from emolib.results.rows import Row

DEFAULT = "baseline"
_LABELS = ("direction", "position")
_Place = tuple[str, tuple[tuple[str, str], ...]]


def baseline_of(results: Path) -> Path | None:
    """Return the baseline of a results folder: the one of the default name, else the first."""
    found = sorted((results / "effects").glob("*.json"))
    return next((path for path in found if path.stem == DEFAULT), found[0] if found else None)


@dataclass
class Compared:
    """What became of the effects of a baseline.

    Attributes:
        baseline: Its file, None where there is none.
        checks: Worst first.
        missing: Effects of the baseline that no row has.
        notes: What has changed besides, or why nothing can be compared.
    """

    baseline: Path | None = None
    checks: list[Check] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any] | None:
        """Return it as the data of the page has it, None where nothing was compared."""
        if not self.checks:
            return None
        return {
            "verdict": "drifted" if "drifted" in counts(self.checks) else "passed",
            "baseline": self.baseline.name if self.baseline else "",
            "counts": counts(self.checks),
            "not_run": self.missing,
            "effects": [_told(check) for check in self.checks],
            "notes": self.notes,
        }


def _told(check: Check) -> dict[str, Any]:
    v, effect = check.verdict, check.effect
    return {
        "name": effect.name,
        **{name: effect.dims.get(name, "") for name in ("model", "emotion", "heads")},
        "experiment": effect.experiment,
        "metric": effect.metric,
        "role": effect.role,
        "verdict": check.outcome,
        "why": check.why,
        "n": len(effect.values),
        "baseline": rounded(v.baseline) if v else None,
        "now": rounded(v.now if v else effect.mean),
        "drift": rounded(v.drift) if v else None,
        "ci": [rounded(end) for end in v.ci] if v and v.ci else None,
        "delta": rounded(v.delta) if v else None,
    }


class BaselineCheck:
    """Compares rows, seen one by one, with a baseline."""

    def __init__(self, path: Path | None) -> None:
        """Read the baseline.

        Args:
            path: Its file, None where there is none.

        Raises:
            InputError: When it is not one.
        """
        self._path = path
        self._baseline = load(path) if path else Baseline()
        self._wanted = {_place(effect): effect for effect in self._baseline.effects.values()}
        self._now = Baseline()

    def see(self, row: Row) -> None:
        """Take note of a whole row; of one that the baseline has no effect of, of nothing."""
        told = row.dims | {name: row.labels[name] for name in _LABELS if name in row.labels}
        for more in ({}, {"record": str(row.row)}):
            wanted = self._wanted.get(_named(row.experiment, told | more))
            if wanted is None or wanted.metric not in row.vectors:
                continue
            try:
                found = effects_of([row], Declared(wanted.metric, wanted.role))
            except (InputError, KeyError):
                # A row that does not say what it stands on has nothing to be compared by.
                continue
            values = tuple(row.vectors[wanted.metric])
            effect = DeclaredEffect(row.experiment, told | more, wanted.metric, wanted.role, values)
            self._now = Baseline(
                self._now.effects | {effect.name: effect}, self._now.grounds | found.grounds
            )

    def finish(self) -> Compared:
        """Return what became of the effects."""
        if self._path is None:
            return Compared()
        missing = [name for name in self._baseline.effects if name not in self._now.effects]
        found = Compared(self._path, missing=missing)
        try:
            found.checks = compare(self._path, self._baseline, self._now)
            told = changes(self._baseline, self._now)
            found.notes = [f"Changed since the baseline: {change}" for change in told]
        except InputError as error:
            found.notes = [str(error)]
        return found


def _place(effect: DeclaredEffect) -> _Place:
    return _named(effect.experiment, effect.dims)


def _named(experiment: str, dims: dict[str, str]) -> _Place:
    return experiment, tuple(sorted(dims.items()))
