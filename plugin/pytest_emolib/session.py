"""What the hooks do: from collected functions to items, from reports to rows and tables."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_emolib import options
from pytest_emolib.progress import Progress

if TYPE_CHECKING:
    from pytest_emolib.lab import Lab

_KEY = pytest.StashKey["ExperimentSession"]()
RECORDED = pytest.StashKey[list[dict[str, Any]]]()
STORED = pytest.StashKey[str]()
DECLARED = pytest.StashKey[dict[str, Any]]()
MARKERS = (
    "results(path, shape='item'): the results file of an experiment, under the results folder; "
    "the path may name {model}, {emotion}, {heads}, {units}, {ablation} and {variant}",
    "effects(metric, gated=(), controls=(), **labels): the metric by which --effects-save and "
    "--effects-compare know an experiment; heads are those of the profile and of the marker",
    "gated: set by emolib on items of declared heads and controls: -m gated runs these alone",
)
_SKIPPED = ("node_modules", "site-packages", "__pycache__")
_WRITTEN = {"rows": True}
Status = tuple[str, str, str | tuple[str, dict[str, bool]]]


def session_of(config: pytest.Config) -> ExperimentSession:
    """Return the session object of a pytest run."""
    return config.stash[_KEY]


class ExperimentSession:
    """One pytest run. All that takes imports of emolib happens in its `lab`, made when needed."""

    _current: ExperimentSession

    def __init__(self, config: pytest.Config) -> None:
        """Hold the config; read nothing yet."""
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.progress = Progress(config)
        self.replayed = 0
        self.item: pytest.Item | None = None
        self._refused = ""
        self._failed = ""
        self._previous: ExperimentSession | None = getattr(ExperimentSession, "_current", None)

    @classmethod
    def attach(cls, config: pytest.Config) -> None:
        """Make the session object of a config, and undo that with the config."""
        for marker in MARKERS:
            config.addinivalue_line("markers", marker)
        made = config.stash[_KEY] = cls._current = cls(config)
        config.add_cleanup(made._detach)
        if options.get(config, "--plan"):
            made.plan_only()

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to run: items are listed or planned."""
        return bool(self.config.option.collectonly or options.get(self.config, "--plan"))

    def plan_only(self) -> None:
        """Put the plan in the place of the run."""
        from pytest_emolib.planning import PlanOnly

        self.config.pluginmanager.register(PlanOnly(self.config, self), "emolib_plan")

    def _detach(self) -> None:
        # pytester runs a session inside a session; the outer one comes back.
        if self._previous is not None:
            ExperimentSession._current = self._previous

    @classmethod
    def current(cls) -> ExperimentSession:
        """Return the session of the running config, for the hook that is given no config."""
        return cls._current

    @cached_property
    def lab(self) -> Lab:
        """The profile, models and store of this run."""
        from pytest_emolib.lab import Lab

        return Lab(self.config)

    @property
    def has_lab(self) -> bool:
        """Whether any experiment has been seen."""
        return "lab" in self.__dict__

    def _expects_experiments(self) -> bool:
        """Tell whether experiments are asked for, without importing any."""
        if options.given(self.config):
            return True
        patterns = [p for p in self.config.getini("python_files") if p.startswith("exp_")]
        places = [Path(str(arg).partition("::")[0]) for arg in self.config.args]
        return any(_leads_to(place, patterns) for place in places)

    def start(self, session: pytest.Session) -> None:
        """Check profile, models, prompts, heads and results folder.

        Raises:
            pytest.UsageError: When one is wrong: exit code 4, nothing written.
        """
        if not self._expects_experiments():
            return
        from pytest_emolib.settings import check_rootdir
        from pytest_emolib.threads import limit_threads

        limit_threads()
        self.progress.session = session
        with _usage_errors():
            if not self.is_worker:
                check_rootdir(self.config)
            self.lab.check()
            if not self.is_worker and not self.is_dry:
                self.lab.store.check_free()

    def begin(self, session: pytest.Session) -> None:
        """Open the store where this process will write to it.

        Raises:
            pytest.UsageError: When it cannot be written or another run is writing.
        """
        if any(map(_records, session.items)) and not self.is_dry:
            self._open()
            self._pair_off(session.items)

    def _pair_off(self, items: list[pytest.Item]) -> None:
        from pytest_emolib.companions import Companions

        # Where items are dealt out one by one, companions run in other processes.
        if not self.is_worker or self.config.workerinput.get("emolib_whole"):  # type: ignore[attr-defined]
            self.lab.companions = Companions(self.lab, items)

    def brief(self, node: Any) -> None:
        """Give a worker what it needs of the store: the keys.

        Raises:
            pytest.UsageError: When the store cannot be written or another run is writing.
        """
        if self._expects_experiments():
            self._open()
            node.workerinput["emolib_stored"] = list(self.lab.store)
            node.workerinput["emolib_whole"] = not _dist_given(self.config)

    def _open(self) -> None:
        if not self.is_worker:
            with _usage_errors():
                self.lab.store.open()

    def header(self) -> list[str]:
        """Return the line on the profile for pytest's header."""
        return [self.lab.header()] if self.has_lab and not self.is_worker else []

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize a function that asks for a model, an emotion, heads or an ablation."""
        if "emolib_case" not in metafunc.fixturenames:
            return
        marks = list(metafunc.definition.iter_markers("parametrize"))
        from emolib.errors import InputError

        try:
            cases = self.lab.cases(metafunc.fixturenames, marks)
        except InputError as error:
            # Raised here it would be an error of collecting the file, with a traceback.
            self._refused = str(error)
            return
        ids = [case.id for case in cases]
        metafunc.parametrize("emolib_case", cases, ids=ids, indirect=True)

    def declare(self, items: list[pytest.Item]) -> None:
        """Mark the items whose effects the regression check is on."""
        from emolib.errors import InputError

        try:
            for item in filter(_records, items):
                if item.get_closest_marker("effects") and (found := self.lab.gate.declared(item)):
                    item.stash[DECLARED] = found
                    item.add_marker("gated")
        except InputError as error:
            self._refused = self._refused or str(error)

    def check_effects(self) -> None:
        """Save or compare the effects of this run, with a report for each."""
        if not self.has_lab or self.is_worker or self.is_dry:
            return
        from emolib.errors import InputError
        from pytest_emolib.gate import reports

        try:
            checks = self.lab.gate.finish()
        except InputError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        strict = bool(options.get(self.config, "--effects-strict"))
        for report in reports(checks, strict=strict):
            self.config.hook.pytest_runtest_logreport(report=report)

    def collected(self, items: list[pytest.Item]) -> None:
        """Check what the items run on and where they write.

        Raises:
            pytest.UsageError: When a function's heads cannot be told, a results marker is wrong or
                two items write one file. A worker has no way to end the run like that: there each
                item fails in its setup.
        """
        recording = [item for item in items if _records(item)]
        if not recording:
            return
        from emolib.errors import InputError
        from pytest_emolib.items import check_outputs

        try:
            self.lab.check_items(recording)
            check_outputs(recording)
        except InputError as error:
            self._refused = self._refused or str(error)
        if self._refused and not self.is_worker:
            raise pytest.UsageError(self._refused)

    def before(self, item: pytest.Item) -> None:
        """Replace the work of an item whose rows are in the store by nothing."""
        self.item = item
        if not _records(item):
            return
        if self._refused:
            pytest.fail(self._refused, pytrace=False)
        key = self.lab.key(item)
        if self.lab.holds(key):
            item.stash[STORED] = key
            # On the instance: pytest's own protocol still runs around it.
            item.setup = item.runtest = lambda: None  # type: ignore[method-assign]

    def reported(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> pytest.TestReport:
        """Put rows, or the key of stored ones, on the report of an item's call."""
        if call.excinfo is not None and report.failed and _records(item):
            from emolib.errors import InputError

            if call.excinfo.errisinstance(InputError):
                # What the user gave is wrong, and the message says so: no line of code is at fault.
                report.longrepr = f"{item.nodeid}: {call.excinfo.value}"
        if report.when != "call" or not _records(item):
            return report
        extra: dict[str, Any] = {}
        if report.passed and STORED in item.stash:
            extra["stored"] = item.stash[STORED]
        elif report.passed and item.stash.get(RECORDED, None):
            extra["rows"] = self.lab.rows(item, item.stash[RECORDED])
            # pytest keeps every item to the end.
            del item.stash[RECORDED]
        elif report.failed and call.excinfo is not None:
            expected = (AssertionError, pytest.fail.Exception)
            extra["raised"] = not call.excinfo.errisinstance(expected)
        if DECLARED in item.stash and extra.keys() & {"rows", "stored"}:
            extra["declared"] = item.stash[DECLARED]
        report.emolib = extra  # type: ignore[attr-defined]
        return report

    def received(self, report: pytest.TestReport) -> None:
        """Write an item's rows and its results file; in a worker, leave both to the controller."""
        if self.is_worker:
            return
        extra = _extra(report)
        if not extra:
            self._advance(report)
            return
        from emolib.errors import InputError

        try:
            if declared := extra.get("declared"):
                self.lab.gate.note(extra.get("stored") or extra["rows"][0]["key"], declared)
            if "rows" in extra:
                self.lab.receive(extra["rows"])
                # pytest keeps every report to the end; the rows are on disk.
                report.emolib = _WRITTEN  # type: ignore[attr-defined]
            elif "stored" in extra:
                self.replayed += 1
                self.lab.replay(extra["stored"])
        except InputError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        if "verdict" not in extra:
            self._advance(report)

    def _advance(self, report: pytest.TestReport) -> None:
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self.progress.advance(report)

    def status(self, report: pytest.CollectReport | pytest.TestReport) -> Status | None:
        """Return ``recorded`` or ``error`` for experiments, None to leave it to pytest."""
        extra = _extra(report)
        if verdict := extra.get("verdict"):
            return verdict, "", ""
        if "rows" in extra or "stored" in extra:
            if self.progress.shown:
                return "recorded", "", ""
            return "recorded", "r", ("RECORDED", {"green": True})
        if extra.get("raised"):
            return "error", "E", ("ERROR", {"red": True})
        ended = getattr(report, "when", "collect") == "call" or report.skipped
        if ended and not report.failed and not hasattr(report, "wasxfail") and self.progress.shown:
            return report.outcome, "", ""
        return None

    def finish(self, session: pytest.Session) -> None:
        """Write the tables from the store and close it."""
        self.progress.close()
        if not self.has_lab or self.is_worker:
            return
        from emolib.errors import InputError

        try:
            self.lab.finish()
        except InputError as error:
            self._failed = str(error)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Print the tables of this run and where everything was written."""
        if self.has_lab and not self.is_worker:
            self.lab.summarize(reporter, self.replayed)
        if self._failed:
            reporter.write_line(f"ERROR: {self._failed}", red=True)

    def scheduler(self, log: Any) -> Any:
        """Return xdist's scheduler for experiments, None to leave it to xdist."""
        if _dist_given(self.config) or not self._expects_experiments():
            return None
        from pytest_emolib.scheduling import CaseScheduling

        return CaseScheduling(self.config, log, self.lab.scope)


def _records(item: pytest.Item) -> bool:
    return "record" in getattr(item, "fixturenames", ())


def _dist_given(config: pytest.Config) -> bool:
    """Tell whether the command line, the ini file or PYTEST_ADDOPTS chose how to distribute."""
    arguments = [
        *config.invocation_params.args,
        *config.getini("addopts"),
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
    ]
    return any(str(argument).startswith(("--dist", "-d")) for argument in arguments)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn wrong input into pytest's own usage error: one message, exit code 4."""
    from emolib.errors import InputError

    try:
        yield
    except InputError as error:
        raise pytest.UsageError(str(error)) from None


def _leads_to(place: Path, patterns: Collection[str]) -> bool:
    """Tell whether a path is a file of one of the patterns or a folder with one below it."""

    def fits(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    if not place.is_dir():
        return fits(place.name)
    for _, folders, files in os.walk(place):
        if any(map(fits, files)):
            return True
        folders[:] = [name for name in folders if name[0] != "." and name not in _SKIPPED]
    return False


def _extra(report: Any) -> dict[str, Any]:
    extra: dict[str, Any] = getattr(report, "emolib", None) or {}
    return extra
