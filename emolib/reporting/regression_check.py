"""The regression check as a whole: a run against its baseline, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from emolib.errors import InputError
from emolib.files import to_json, write_text
from emolib.reporting.cells import number
from emolib.reporting.drifts import Drift
from emolib.reporting.drifts import in_words as drifts_in_words
from emolib.reporting.wording import counted
from emolib.results.baselines import Baseline, DeclaredEffect
from emolib.results.grounds import Ground, differs, replayable
from emolib.stats.regression import OUTCOMES, Outcome, Verdict, judge, tolerance

_SHOWN = 6
# The change that a gated effect should be large enough to show, as a share of it.
_GUARDED = 0.25


@dataclass(frozen=True)
class Check:
    """One declared effect and what became of it; no verdict where the baseline lacks it."""

    effect: DeclaredEffect
    verdict: Verdict | None

    @property
    def outcome(self) -> Outcome:
        """The outcome; of what the baseline lacks nothing can be concluded."""
        return self.verdict.outcome if self.verdict else "inconclusive"

    @property
    def why(self) -> str:
        """What decided, where it needs saying."""
        return self.verdict.why if self.verdict else "not in the baseline; --effects-save adds it"

    @property
    def size(self) -> float:
        """The drift in units of δ."""
        return abs(self.verdict.drift) / self.verdict.delta if self.verdict else 0.0

    def __str__(self) -> str:
        """Return the check as one line."""
        if self.verdict is None:
            return f"{self.effect.name}: {self.outcome} ({self.why})"
        v = self.verdict
        ci = f", 90 % CI [{number(v.ci[0])}, {number(v.ci[1])}]" if v.ci else ""
        return (
            f"{self.effect.name}: {v.outcome}: {self.effect.metric} was {number(v.baseline)}, is "
            f"{number(v.now)}: drift {number(v.drift)}{ci}, δ {number(v.delta)}"
            + (f" ({v.why})" if v.why else "")
        )


def compare(path: Path, baseline: Baseline, now: Baseline) -> list[Check]:
    """Return a check per effect of this run, worst first.

    Args:
        path: The baseline's file, for messages.
        baseline: The baseline.
        now: The effects of this run.

    Raises:
        InputError: When the pairs of a study are not those of the baseline.
    """
    for study, ground in now.grounds.items():
        old = baseline.grounds.get(study)
        if old and (found := differs(old, ground)):
            raise InputError(
                f"{path}: {' on '.join(study)}: not comparable, {'; '.join(found)}; accept the "
                "new state with --effects-save"
            )
    checks = [
        Check(effect, _judge(baseline, effect, now.grounds[effect.study], len(now.effects)))
        for effect in now.effects.values()
    ]
    return sorted(checks, key=lambda c: (OUTCOMES.index(c.outcome), -c.size, c.effect.name))


def _judge(
    baseline: Baseline, effect: DeclaredEffect, ground: Ground, tests: int
) -> Verdict | None:
    before = baseline.effects.get(effect.name)
    if before is None or before.metric != effect.metric:
        return None
    old = baseline.grounds[effect.study]
    return judge(
        before.values,
        effect.values,
        gap=old.gap,
        tests=tests,
        replay=replayable(old, ground),
        role=effect.role,
    )


def counts(checks: Sequence[Check]) -> dict[str, int]:
    """Return how many checks came out how, worst first."""
    found = Counter(check.outcome for check in checks)
    return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome]}


def in_words(checks: Sequence[Check]) -> list[str]:
    """Return what became of the effects, a line for each head that has any that drifted.

    Args:
        checks: The checks, worst first.
    """
    drifted = [
        Drift(_head(check), verdict.baseline, verdict.now, check.effect.role == "control")
        for check in checks
        if check.outcome == "drifted" and (verdict := check.verdict)
    ]
    said = drifts_in_words(drifted)
    if unsure := sum(check.outcome == "inconclusive" for check in checks):
        said.append(f"{counted(unsure, 'effect')} of which the pairs do not tell")
    if not drifted and not unsure:
        every = counted(len(checks), "effect")
        said.append(f"{every} as {'it was' if len(checks) == 1 else 'they were'}")
    return said


def _head(check: Check) -> str:
    dims = check.effect.dims
    subject = dims.get("heads") or dims.get("units") or check.effect.name
    return f"{dims.get('model', '')} {subject}".strip()


def check_table(checks: Sequence[Check], fmt: str = "simple") -> str:
    """Return the checks as a table, worst first, long runs of good ones cut short."""
    bad = sum(check.outcome in OUTCOMES[:2] for check in checks)
    shown = checks[: max(bad, _SHOWN)]
    lines = [_line(check) for check in shown]
    table = tabulate(lines, headers="keys", tablefmt=fmt, disable_numparse=True)
    left = Counter(check.outcome for check in checks[len(shown) :])
    more = ", ".join(f"{count} {outcome}" for outcome, count in left.items())
    return table + (f"\n(and {more})" if more else "")


def _line(check: Check) -> dict[str, str]:
    v, effect = check.verdict, check.effect
    return {
        "verdict": check.outcome,
        "effect": effect.name + (" (control)" if effect.role == "control" else ""),
        "baseline": number(v.baseline) if v else "–",
        "now": number(v.now if v else effect.mean),
        "drift, 90 % CI": (
            number(v.drift) + (f" [{number(v.ci[0])}, {number(v.ci[1])}]" if v.ci else "")
            if v
            else "–"
        ),
        "δ": number(v.delta) if v else "–",
        "why": check.why,
    }


def weak(baseline: Baseline) -> list[str]:
    """Return the gated effects too small for a change of a quarter to be seen."""
    return [
        effect.name
        for effect in baseline.effects.values()
        if effect.role == "gated"
        and abs(effect.mean) * _GUARDED
        <= tolerance(effect.mean, baseline.grounds[effect.study].gap)
    ]


def changes(baseline: Baseline, now: Baseline) -> list[str]:
    """Return what is not as it was, though it does not keep runs from being compared."""
    found: dict[str, None] = {}
    for study, ground in now.grounds.items():
        old = baseline.grounds.get(study)
        if old is None:
            continue
        if old.weights != ground.weights:
            found[f"weights of {ground.model}: {old.weights[:16]} -> {ground.weights[:16]}"] = None
        if old.device != ground.device:
            found[f"device: {old.device} -> {ground.device}"] = None
        for name, version in ground.versions.items():
            if old.versions.get(name) != version:
                found[f"{name}: {old.versions.get(name)} -> {version}"] = None
    return list(found)


def write_summary(
    path: Path, checks: Sequence[Check], *, baseline: Path, missing: Sequence[str], failed: bool
) -> None:
    """Write the check as JSON for machines.

    Args:
        path: Where to.
        checks: The checks.
        baseline: The baseline's file.
        missing: Names of effects of the baseline that did not run.
        failed: Whether the check failed.

    Raises:
        InputError: When it cannot be written.
    """
    effects: list[dict[str, Any]] = []
    for check in checks:
        v, effect = check.verdict, check.effect
        entry: dict[str, Any] = {"name": effect.name, "experiment": effect.experiment}
        entry |= effect.dims | {"metric": effect.metric, "role": effect.role}
        entry |= {"verdict": check.outcome, "why": check.why, "n": len(effect.values)}
        if v:
            entry |= {"baseline": v.baseline, "now": v.now, "drift": v.drift}
            entry |= {"ci": v.ci and list(v.ci), "delta": v.delta}
        effects.append(entry)
    content = {
        "verdict": "failed" if failed else "passed",
        "baseline": str(baseline),
        "in_words": in_words(checks),
        "counts": counts(checks),
        "not_run": list(missing),
        "effects": effects,
    }
    write_text(path, to_json(content) + "\n")
