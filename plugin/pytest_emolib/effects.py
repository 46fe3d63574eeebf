"""The regression check in a run: which items are declared, and what became of their effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, assert_never

import pytest

from emolib.errors import InputError
from emolib.files import safe
from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import HeadSet, expand
from emolib.inputs.profiles import COMPARED, Profile
from emolib.inputs.targets import parse_set
from emolib.inputs.units import UnitSet, expand_units
from emolib.models.sources import Source
from emolib.reporting.regression_check import (
    Check,
    changes,
    check_table,
    compare,
    counts,
    in_words,
    weak,
    write_summary,
)
from emolib.results.baselines import (
    Baseline,
    Declared,
    check_grounds,
    effects_of,
    load,
    save,
)
from emolib.results.grounds import Ground
from emolib.results.rows import Row
from pytest_emolib.items import case_of
from pytest_emolib.options import get

DEFAULT = "baseline"
_OPTIONS = ("--effects-save", "--effects-compare")


class Effects:
    """What a run does with the effects of declared heads: nothing, save them or compare them.

    Attributes:
        checks: What became of the effects, worst first, once compared.
        failed: Whether the check failed.
    """

    def __init__(
        self,
        config: pytest.Config,
        profile: Profile,
        sources: Mapping[str, Source],
        emotions: Mapping[str, Emotion],
        folder: Path,
        rows: Callable[[str], Sequence[Row]],
    ) -> None:
        """Read the options.

        Args:
            config: Of the run.
            profile: What it declares, and the settings.
            sources: Its models by what the user typed.
            emotions: Its emotions by name.
            folder: Where baselines are.
            rows: From a key to the rows that an item recorded.

        Raises:
            InputError: When they contradict each other or name no baseline.
        """
        self._config, self._profile = config, profile
        self._sources, self._emotions, self._rows = sources, emotions, rows
        asked = {flag: get(config, flag) for flag in _OPTIONS}
        for flag, name in asked.items():
            if name is not None and (name != safe(name) or Path(name).exists()):
                raise InputError(
                    f"{flag} {name}: expected the name of a baseline; if {name} is what to run, "
                    f"write it before {flag}, and if it is a name, {flag}=NAME with letters, "
                    "digits and ._+- in it"
                )
        if all(asked.values()):
            raise InputError("--effects-save and --effects-compare: give one of them")
        for flag in ("--effects-strict", "--effects-json", "--effects-new-weights"):
            if get(config, flag) and not asked["--effects-compare"]:
                raise InputError(f"{flag} goes with --effects-compare; add it")
        self.saves, self.compares = map(bool, asked.values())
        name = next((name for name in asked.values() if name), DEFAULT)
        self.path = folder / f"{name}.json"
        self.checks: list[Check] = []
        self.failed = self._done = False
        self._lines: list[tuple[str, bool]] = []
        self._declared: dict[str, dict[str, Any]] = {}
        self._baseline = Baseline()

    def check(self) -> None:
        """Check the declared heads, and that a run can be compared with its baseline.

        Raises:
            InputError: When a declared head is not one of its model, there is no baseline, or it
                stands on another prompt set, model or setting.
        """
        for by_model in self._profile.effects.values():
            for model, names in by_model.items():
                for name in names:
                    self._check_name(model, name)
        if self.compares:
            self._baseline = load(self.path)
            new_weights = bool(get(self._config, "--effects-new-weights"))
            check_grounds(self.path, self._baseline, self._grounds(), new_weights=new_weights)

    def _check_name(self, model: str, name: str) -> None:
        if (source := self._sources.get(model)) is None:
            return
        chosen = parse_set(name)
        if isinstance(chosen, HeadSet):
            spec = ",".join(f"{head.layer}:{head.index}" for head in chosen)
            shape = source.n_layers, source.n_heads
            expand(spec, *shape, model=source.name, having=source.head_layers)
        elif source.no_units:
            raise InputError(f"{name}: {model} has no MLP units: {source.no_units}")
        else:
            spec = ",".join(f"{unit.layer}:{unit.index}" for unit in chosen)
            expand_units(spec, source.n_layers, source.n_units, model=source.name)

    def _grounds(self) -> list[Ground]:
        settings = {name: getattr(self._profile, name) for name in COMPARED}
        return [
            Ground(
                source.name,
                name,
                source.model_type,
                f"{source.weights_hash}-{source.config_hash}",
                source.tokenizer_hash,
                emotion.hash,
                settings,
                self._profile.device,
            )
            for source in self._sources.values()
            for name, emotion in self._emotions.items()
        ]

    def declared(self, item: pytest.Item) -> dict[str, Any] | None:
        """Return what is declared of an item as plain data, None where nothing is.

        Ranks (``top1``) are never gated: which head they stand for may change.

        Raises:
            InputError: When its marker is wrong.
        """
        marker = item.get_closest_marker("effects")
        case = case_of(item)
        chosen = case.heads or case.units
        if marker is None or case.source is None or case.emotion is None:
            return None
        if not isinstance(chosen, (HeadSet, UnitSet)):
            return None
        where = dict(marker.kwargs)
        own = {role: where.pop(role, ()) for role in ("gated", "controls")}
        if len(marker.args) != 1 or not all(isinstance(v, str) for v in (*marker.args, *where)):
            raise InputError(
                f"{item.nodeid}: effects marker: expected the name of a metric, as in "
                '@pytest.mark.effects("logit_diff"), with gated=[…], controls=[…] and labels if '
                "need be"
            )
        for role, in_marker in own.items():
            names = [*self._of_model(in_marker, case.source), *self._of_profile(role, case.source)]
            if str(chosen) in map(_canonical, names):
                role = role.removesuffix("s")
                return {"metric": marker.args[0], "role": role, "where": where}
        return None

    def _of_model(self, names: Any, source: Source) -> Sequence[str]:
        found = names.get(source.name, ()) if isinstance(names, Mapping) else names
        return list(found)

    def _of_profile(self, role: str, source: Source) -> Sequence[str]:
        by_model = self._profile.effects.get(role, {})
        typed = {source.name: model for model, source in self._sources.items()}
        return by_model.get(typed[source.name], ())

    def check_declared(self, are_some: bool) -> None:
        """Check that there are effects to save or compare, where that is asked for.

        Args:
            are_some: Whether there are.

        Raises:
            InputError: When there are not.
        """
        if (self.saves or self.compares) and not are_some:
            raise InputError(
                "no declared effect among what ran: declare heads under [effects.gated] in the "
                "profile or in the experiment's effects marker, and let -k leave some"
            )

    def note(self, key: str, declared: dict[str, Any]) -> None:
        """Take note of a declared item that recorded."""
        self._declared[key] = declared

    def finish(self) -> list[Check]:
        """Save or compare the effects of this run.

        Raises:
            InputError: When nothing declared ran, or the effects cannot be compared or saved.
        """
        self._done = True
        if not (self.saves or self.compares):
            return []
        now = Baseline()
        for key, declared in self._declared.items():
            found = effects_of(self._rows(key), Declared(**declared))
            now = Baseline(now.effects | found.effects, now.grounds | found.grounds)
        self.check_declared(bool(now.effects))
        if self.saves:
            self._save(now)
            return []
        self.checks = compare(self.path, self._baseline, now)
        missing = [name for name in self._baseline.effects if name not in now.effects]
        bad = counts(self.checks)
        strict = bool(get(self._config, "--effects-strict"))
        self.failed = "drifted" in bad or (strict and "inconclusive" in bad)
        self._tell(now, missing)
        if file := get(self._config, "--effects-json"):
            write_summary(
                Path(file), self.checks, baseline=self.path, missing=missing, failed=self.failed
            )
        return self.checks

    def _save(self, now: Baseline) -> None:
        kept = load(self.path).merged(now) if self.path.is_file() else now
        save(kept, self.path)
        others = len(kept.effects) - len(now.effects)
        more = f", {others} kept as they were" if others else ""
        self._lines.append((f"{len(now.effects)} effects saved to {self.path}{more}", False))
        for name in weak(now):
            self._lines.append((f"{name}: so small that δ hides a change of 25 %", True))

    def _tell(self, now: Baseline, missing: Sequence[str]) -> None:
        for change in changes(self._baseline, now):
            self._lines.append((f"changed since the baseline: {change}", True))
        if missing:
            first = ", ".join(missing[:2]) + (", …" if len(missing) > 2 else "")
            self._lines.append((f"{len(missing)} of the baseline did not run ({first})", True))
        if set(counts(self.checks)) - {"replayed", "equivalent"}:
            self._lines.append(
                (
                    f"baseline: {self.path}; to accept what is wanted: the same command with "
                    "--effects-save in place of --effects-compare",
                    True,
                )
            )

    def summarize(self, reporter: pytest.TerminalReporter, fmt: str) -> None:
        """Print what became of the effects."""
        if not (self.checks or self._lines):
            if (self.saves or self.compares) and not self._done:
                what = "compared" if self.compares else "saved"
                reporter.write_line(f"effects: the run did not end, so nothing was {what}")
            return
        reporter.write_sep("-", "effects")
        if self.checks:
            for line in in_words(self.checks):
                reporter.write_line(line, red=self.failed)
            told = ", ".join(f"{count} {outcome}" for outcome, count in counts(self.checks).items())
            reporter.write_line(f"{told}, against {self.path}", red=self.failed)
            reporter.write_line(check_table(self.checks, fmt))
        for line, warn in self._lines:
            reporter.write_line(line, yellow=warn)


@cache
def _canonical(name: str) -> str:
    """Return the name of a set as its items have it; asked anew for every item collected."""
    return str(parse_set(name))


def verdicts(checks: Sequence[Check], *, strict: bool) -> list[pytest.TestReport]:
    """Return a report per check, so that JUnit files and exit codes know of them.

    Args:
        checks: The checks.
        strict: Whether what is inconclusive fails too.
    """
    made = []
    for check in checks:
        nodeid = f"effects::{check.effect.name}"
        outcome, text = _reported(check, strict=strict)
        report = pytest.TestReport(
            nodeid,
            ("effects", None, nodeid),
            {},
            outcome,
            text,
            "call",
        )
        report.emolib = {"verdict": check.outcome}  # type: ignore[attr-defined]
        made.append(report)
    return made


def _reported(check: Check, *, strict: bool) -> tuple[Literal["passed", "failed", "skipped"], Any]:
    """Return what pytest is to call the outcome of a check, and the text it is to show."""
    match check.outcome:
        case "drifted":
            return "failed", str(check)
        case "inconclusive":
            return ("failed", str(check)) if strict else ("skipped", ("effects", 0, str(check)))
        case "equivalent" | "replayed":
            return "passed", None
        case _:
            assert_never(check.outcome)
