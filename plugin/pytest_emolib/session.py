"""What the hooks do: from collected functions to items, from reports to rows and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_emolib import options, reports
from pytest_emolib.arguments import expects_experiments
from pytest_emolib.interrupts import Interrupts
from pytest_emolib.marks import MARKERS
from pytest_emolib.progress import Progress
from pytest_emolib.properties import Properties
from pytest_emolib.unselected import Unselected
from pytest_emolib.workers import Workers

if TYPE_CHECKING:
    from pytest_emolib.lab import Lab

_KEY = pytest.StashKey["ExperimentSession"]()


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
        self.workers = Workers(config)
        self.interrupts = Interrupts(config, self.workers.tidy)
        self.unselected = Unselected(config)
        self.properties = Properties(config)
        self.item: pytest.Item | None = None
        self._refused = ""
        self._failed = ""
        # Items that ended, and how many there were to run.
        self._ended: set[str] = set()
        self._to_run = 0
        self._previous: ExperimentSession | None = getattr(ExperimentSession, "_current", None)

    @classmethod
    def attach(cls, config: pytest.Config) -> None:
        """Make the session object of a config, and undo that with the config."""
        for marker in MARKERS:
            config.addinivalue_line("markers", marker)
        made = config.stash[_KEY] = cls._current = cls(config)
        config.add_cleanup(made.interrupts.restore)
        config.add_cleanup(made._detach)
        if made.workers.there_are and expects_experiments(config):
            made.workers.limit_restarts()
        if options.get(config, "--plan"):
            made.plan_only()

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to run: items are listed or planned."""
        return bool(self.config.option.collectonly or options.get(self.config, "--plan"))

    def plan_only(self) -> None:
        """Put the plan in the place of the run."""
        from pytest_emolib.plan import PlanOnly

        self.config.pluginmanager.register(
            PlanOnly(self.config, lambda: self.lab.plan), "emolib_plan"
        )

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

    def start(self, session: pytest.Session) -> None:
        """Check profile, models, prompts, heads and results folder.

        Raises:
            pytest.UsageError: When one is wrong: exit code 4, nothing written.
        """
        if not expects_experiments(self.config):
            return
        from pytest_emolib.settings import check_rootdir
        from pytest_emolib.threads import set_threads

        set_threads()
        self.progress.session = session
        with _usage_errors():
            if not self.is_worker:
                check_rootdir(self.config)
            self.workers.check()
            self.lab.check()
            if not self.is_worker and not self.config.option.collectonly:
                self.lab.check_prompts()
            if not self.is_worker and not self.is_dry:
                self.lab.writing.check_free()

    def begin(self, session: pytest.Session) -> None:
        """Open the store where this process will write to it.

        Raises:
            pytest.UsageError: When it cannot be written or another run is writing.
        """
        if self.is_dry:
            return
        # An empty shard leaves its mark in the store too: who joins the shards misses none.
        if any(map(reports.records, session.items)) or (self.has_lab and self.lab.part):
            self._open()
            self.lab.pair_off(session.items)

    def brief(self, node: Any) -> None:
        """Give a worker the keys of the store, and a GPU where there are several.

        Raises:
            pytest.UsageError: When the store cannot be written or another run is writing.
        """
        if expects_experiments(self.config):
            from pytest_emolib.devices import deal

            self._open()
            node.workerinput["emolib_gpu"] = deal(node.gateway.id, self.lab.profile.device)
            node.workerinput["emolib_stored"] = self.lab.writing.stored()
            self.workers.brief(node)

    def _open(self) -> None:
        if not self.is_worker:
            with _usage_errors():
                self.lab.writing.open()

    def header(self) -> list[str]:
        """Return the line on the profile for pytest's header."""
        return [self.lab.header()] if self.has_lab and not self.is_worker else []

    def ignored(self, path: Path) -> bool | None:
        """Tell whether a folder is that of a model, in which nothing is to run; None where not."""
        return True if self.has_lab and self.lab.is_of_a_model(path) else None

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize a function that asks for a model, an emotion, heads or an ablation."""
        if "emolib_case" not in metafunc.fixturenames:
            return
        from emolib.errors import InputError

        marks = metafunc.definition.iter_markers("parametrize")
        try:
            cases = self.lab.cases.of(metafunc.fixturenames, marks)
        except InputError as error:
            # Raised here it would be an error of collecting the file, with a traceback.
            self._refused = str(error)
            return
        ids = [case.id for case in cases]
        metafunc.parametrize("emolib_case", cases, ids=ids, indirect=True)

    def declare(self, items: list[pytest.Item]) -> None:
        """Mark the items whose effects the regression check is on."""
        from emolib.errors import InputError

        self.unselected.collected(items)
        try:
            for item in filter(reports.records, items):
                marked = item.get_closest_marker("effects")
                if marked and (found := self.lab.effects.declared(item)):
                    item.stash[reports.DECLARED] = found
                    item.add_marker("gated")
        except InputError as error:
            self._refused = self._refused or str(error)

    def ran(self) -> None:
        """Await Ctrl-C from the last item on, however the run came to its end."""
        if self.has_lab and not self.is_worker:
            self.interrupts.ran()

    def check_effects(self) -> None:
        """Save or compare the effects of this run, with a report for each."""
        if not self.has_lab or self.is_worker or self.is_dry:
            return
        from emolib.errors import InputError
        from pytest_emolib.effects import verdicts

        try:
            checks = self.lab.effects.finish()
        except InputError as error:
            self._end(str(error))
        strict = bool(options.get(self.config, "--effects-strict"))
        for report in verdicts(checks, strict=strict):
            self.config.hook.pytest_runtest_logreport(report=report)

    def collected(self, items: list[pytest.Item]) -> None:
        """Check what the items run on and where they write.

        Raises:
            pytest.UsageError: When a function's heads cannot be told, a results marker is wrong or
                two items write one file. A worker has no way to end the run like that: there each
                item fails in its setup.
        """
        self.unselected.chosen(items)
        recording = list(filter(reports.records, items))
        if not recording and options.get(self.config, "--shard") is None:
            return
        from emolib.errors import InputError
        from pytest_emolib.items import check_outputs

        try:
            self.lab.check_items(recording)
            if not (self.is_worker or self.is_dry):
                # A controller of workers collects nothing, and finds out in the end.
                self.lab.effects.check_declared(
                    any(reports.DECLARED in item.stash for item in recording)
                )
            check_outputs(recording)
        except InputError as error:
            self._refused = self._refused or str(error)
        if self._refused and not self.is_worker:
            raise pytest.UsageError(self._refused)
        if not self._refused:
            self._take_part(items)
            recording = list(filter(reports.records, items))
            self.lab.units = self.workers.tell_units(recording, self.lab.profile)

    def _take_part(self, items: list[pytest.Item]) -> None:
        """Leave of the items those of the shard, where one is asked for."""
        others = self.lab.others(items)
        if self.is_worker and self.lab.part:
            self.config.workeroutput["emolib_part"] = self.lab.part.told()  # type: ignore[attr-defined]
        if others:
            self.config.hook.pytest_deselected(items=others)
            gone = set(others)
            items[:] = [item for item in items if item not in gone]

    def node_collected(self, ids: Sequence[str]) -> None:
        """Take note of how many items a worker has: a shard's segment tells it from the start."""
        if self.has_lab and self.lab.part is None:
            self.lab.hear({"items": len(ids), "collected": len(ids), "batches": 0})

    def node_down(self, node: Any) -> None:
        """Take over what a worker says of its items: the controller collects nothing itself."""
        said = getattr(node, "workeroutput", {})
        self.unselected.hear(said)
        if self.has_lab and (told := said.get("emolib_part")):
            self.lab.hear(told)

    def before(self, item: pytest.Item) -> None:
        """Replace the work of an item whose rows are in the store by nothing."""
        self.item = item
        if not reports.records(item):
            return
        if self._refused:
            pytest.fail(self._refused, pytrace=False)
        self.lab.intact.begin(item)
        if self.lab.holds(item):
            item.stash[reports.STORED] = self.lab.rows.key(item)
            # On the instance: pytest's own protocol still runs around it.
            item.setup = item.runtest = lambda: None  # type: ignore[method-assign]

    def reported(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> pytest.TestReport:
        """Put rows, or the key of stored ones, on the report of an item's call."""
        if reports.records(item):
            if report.when == "call" and report.passed and (said := self.lab.intact.unseen(item)):
                reports.refuse(report, item, said)
            reports.carry(report, item, call, lambda *of: self.lab.rows.of(*of))
        return report

    def on_models(self) -> list[str]:
        """Return what the models in memory carry that is not their own."""
        return self.lab.intact.on_models() if self.has_lab else []

    def set_up(self, fixture: pytest.FixtureDef[Any], before: list[str]) -> None:
        """Refuse a fixture of more than one item that has put something on a model.

        The model is loaded anew when its first item ends: later ones would run without.
        """
        if fixture.scope != "function" and (new := set(self.on_models()) - set(before)):
            pytest.fail(
                f"fixture {fixture.argname!r} of scope {fixture.scope} puts {min(new)} on the "
                "model, which items that come later would not have: give it the scope function",
                pytrace=False,
            )

    def ended(self, item: pytest.Item) -> None:
        """Make what an item leaves on a model its own error, and nobody else's numbers."""
        if self.has_lab and (said := self.lab.intact.left(item)):
            pytest.fail(said, pytrace=False)

    def received(self, report: pytest.TestReport) -> None:
        """Write an item's rows and its results file; in a worker, leave both to the controller."""
        if self.is_worker:
            return
        self.properties.add(report)
        extra = reports.carried(report)
        if not extra:
            self._advance(report)
            return
        if extra.keys() & {"rows", "stored"}:
            self.workers.recorded(report)
        from emolib.errors import InputError

        try:
            if declared := extra.get("declared"):
                self.lab.effects.note(extra.get("stored") or extra["rows"][0]["key"], declared)
            if "rows" in extra:
                self.properties.note(report, self.lab.writing.receive(extra["rows"]))
                reports.lighten(report)
            elif "stored" in extra:
                self.properties.note(report, self.lab.writing.replay(extra["stored"]))
        except InputError as error:
            self._end(str(error))
        if "verdict" not in extra:
            self._advance(report)

    def _end(self, why: str) -> NoReturn:
        """End the run at once; why is said below its tables."""
        self._failed = self._failed or why
        pytest.exit("the run cannot go on", returncode=pytest.ExitCode.USAGE_ERROR)

    def _advance(self, report: pytest.TestReport) -> None:
        # Of an item whose worker died there is one report, of no phase.
        if report.when not in ("setup", "teardown") or (
            report.when == "setup" and not report.passed
        ):
            self._ended.add(report.nodeid)
            self.progress.advance(report)

    def status(self, report: pytest.CollectReport | pytest.TestReport) -> reports.Status | None:
        """Return ``recorded`` or ``error`` for experiments, None to leave it to pytest."""
        return reports.status(report, in_a_line=self.progress.shown)

    def interrupted(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """End in a line where Ctrl-C has come, and at once where it comes again."""
        if self.has_lab and not self.is_worker:
            self.interrupts.take(excinfo)

    def finish(self, session: pytest.Session) -> None:
        """Write the tables from the store and close it."""
        self.progress.close()
        if not self.has_lab or self.is_worker:
            return
        self._to_run = session.testscollected
        from emolib.errors import InputError

        if self.lab.part and self.lab.part.is_empty:
            # Nothing was left to run, as it should be.
            session.exitstatus = pytest.ExitCode.OK
        try:
            self.lab.writing.finish()
            self.lab.writing.write_page(
                self.lab.effects.path if self.lab.effects.compares else None
            )
        except InputError as error:
            self._failed = self._failed or str(error)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Print the tables of this run and where everything was written."""
        self.unselected.summarize(reporter)
        if self.has_lab and not self.is_worker:
            lab = self.lab
            for line in lab.cases.left_out.values():
                reporter.write_line(line, yellow=True)
            for line in self.workers.survived:
                reporter.write_line(line, yellow=True)
            lab.writing.summarize(reporter, lab.names, lambda *to: lab.effects.summarize(*to))
            if self.lab.part:
                reporter.write_line(self.lab.part.line(dry=self.is_dry))
            if (missing := self._to_run - len(self._ended)) > 0 and not self.is_dry:
                reporter.write_line(
                    f"ended early: {missing} of {self._to_run} items did not run; the same command "
                    "goes on with them",
                    yellow=True,
                )
        if self._failed:
            reporter.write_line(f"ERROR: {self._failed}", red=True)

    def scheduler(self, log: Any) -> Any:
        """Return xdist's scheduler for experiments, None to leave it to xdist."""
        if not (expects_experiments(self.config) and self.workers.are_dealt_units):
            return None
        from pytest_emolib.scheduling import CaseScheduling

        return CaseScheduling(self.config, log, self.workers.folder)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn wrong input into pytest's own usage error: one message, exit code 4."""
    from emolib.documents import refused
    from emolib.errors import InputError

    try:
        yield
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    except OSError as error:
        raise pytest.UsageError(refused(error)) from None
