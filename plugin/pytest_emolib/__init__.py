"""pytest plugin of emolib: experiments as items, metrics as tables in place of pass and fail.

Every hook is a line into `pytest_emolib.session.ExperimentSession`. Nothing of emolib, torch or
matplotlib is imported before an experiment needs it, so `pytest --help` stays as fast as it was.

An assertion here is the plugin's own and is not rewritten, however pytest came to load it:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_emolib.installed import expect_them, module_of
from pytest_emolib.options import add_options
from pytest_emolib.session import ExperimentSession, session_of

pytest_plugins = ("pytest_emolib.fixtures",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hang the session object on pytest's config; know the installed experiments.

    First, so that what it undoes is undone last: Ctrl-C is awaited to the end.
    """
    expect_them(config)
    ExperimentSession.attach(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse bad input before anything heavy loads."""
    session_of(session.config).start(session)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the profile and where results go."""
    return session_of(config).header()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Run nothing that lies in a model's folder."""
    return session_of(config).ignored(collection_path)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Call the installed experiments by their package."""
    return module_of(module_path, parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item per model, emotion, head set and ablation that a function asks for."""
    session_of(metafunc.config).parametrize(metafunc)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Mark what is gated before ``-m`` selects; refuse items that would write over each other."""
    session_of(config).declare(items)
    yield
    session_of(config).collected(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Become the one writer of the store before anything runs; then check the effects."""
    session_of(session.config).begin(session)
    try:
        result = yield
    finally:
        session_of(session.config).ran()
    session_of(session.config).check_effects()
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let an item whose rows are in the store pass without running."""
    session_of(item.config).before(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Refuse a fixture of many items that puts something on a model."""
    before = session_of(request.config).on_models()
    result = yield
    session_of(request.config).set_up(fixturedef, before)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """See what an item leaves on a model, its fixtures gone."""
    result = yield
    session_of(item.config).ended(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send an item's rows along with its report."""
    return session_of(item.config).reported(item, call, (yield))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write the rows, where this process is the one that writes."""
    ExperimentSession.current().received(report)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
    """Call an item that recorded recorded, and one that raised an error."""
    return session_of(config).status(report)


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """End in a line, and at once where it comes twice."""
    ExperimentSession.current().interrupted(excinfo)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the tables and let go of the store."""
    session_of(session.config).finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the tables."""
    session_of(terminalreporter.config).summarize(terminalreporter)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist which items are in the store."""
    session_of(node.config).brief(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Hear from a worker of xdist how many items the shard has."""
    session_of(node.config).node_collected(ids)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker of xdist what became of its items before any ran."""
    session_of(node.config).node_down(node)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport) -> None:
    """Leave recorded what was recorded when its worker died."""
    ExperimentSession.current().workers.died(crashitem, report)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep on one worker what is computed together."""
    return session_of(config).scheduler(log)
