"""What the hooks do: how items end, what is refused, and sessions inside a session."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from folders import pairs
from pytest_emolib.options import OPTIONS
from pytest_emolib.session import ExperimentSession, session_of


def test_recorded_failed_error_and_skipped_are_told_apart(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest

def exp_recorded(record): record(n=1)
def exp_asserts(record):
    record(n=1)
    assert 1 == 2
def exp_raises(record): raise KeyError("no such thing")
def exp_fixture_raises(record, missing_thing): pass
def exp_skips(record): pytest.skip("not today")
def exp_records_nothing(record): pass
def exp_plain(): pass
""",
    )
    result = folder.pytest("-rA")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*KeyError: 'no such thing'*", "*assert 1 == 2*", "*1 failed, 2 passed, 1 skipped, "
         "2 errors, 1 recorded in *"]
    )  # fmt: skip
    assert [row["item"].partition("::")[2] for row in folder.rows()] == ["exp_recorded"]


def test_x_stops_and_lf_runs_the_failed_one_again(folder):
    source = """
def exp_one(record): record(n=1)
def exp_two(record): raise RuntimeError("broken")
def exp_three(record): record(n=3)
"""
    folder.write("exp_effect.py", source)
    stopped = folder.pytest("-x")
    stopped.stdout.fnmatch_lines(["*stopping after 1 failures*", "*1 error, 1 recorded in*"])
    again = folder.pytest("--lf", "-v")
    again.stdout.fnmatch_lines(["*::exp_two ERROR*", "*1 error in*"])
    folder.write("exp_effect.py", source.replace('raise RuntimeError("broken")', "record(n=2)"))
    folder.pytest("--lf").stdout.fnmatch_lines(["*1 recorded in*"])


def test_works_without_xdist(folder):
    folder.pytest("-p", "no:xdist").stdout.fnmatch_lines(["*3 recorded in*"])


def test_plain_tests_of_others_are_left_alone(pytester):
    pytester.makepyfile(test_plain="def test_plain(): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*emolib: profile*")
    assert not (pytester.path / "results").exists()


def test_workers_are_not_even_started(folder):
    done = folder.process("-n", "2", "--head-spec", "9:9")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.strip().startswith("ERROR: head spec '9:9': L9H9 does not exist")
    assert "worker" not in done.stdout


def test_wrong_input_that_shows_in_the_run_is_a_line_without_a_traceback(folder):
    data = pairs(count=2)
    for pair in data["pairs"]:
        pair["emotion"] += " and more than that"
    folder.write("data/pairs/gratitude.json", json.dumps(data))
    result = folder.pytest("--head-spec", "2:0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = [line for line in result.outlines if "none of the 2 pairs aligns" in line]
    assert len(lines) >= 1 and lines[0].startswith("exp_effect.py::exp_effect[tiny-neo-gratitude")
    assert not any(line.startswith(("E  ", "> ")) for line in result.outlines)


def test_a_session_inside_a_session_is_the_current_one_until_it_ends(folder, pytestconfig):
    outer = ExperimentSession.current()
    assert outer is session_of(pytestconfig)
    folder.write(
        "exp_effect.py",
        """
from pytest_emolib.session import ExperimentSession, session_of

def exp_it(request, record):
    current = ExperimentSession.current()
    assert current is session_of(request.config) and current.item is request.node
    record(n=1)
""",
    )
    folder.pytest().stdout.fnmatch_lines(["*1 recorded*"])
    assert ExperimentSession.current() is outer and session_of(pytestconfig) is outer


@pytest.fixture
def option(pytestconfig, monkeypatch):
    """Give a function that sets an option of this run for the length of a test."""

    def given(flag, value):
        (found,) = (option for option in OPTIONS if option.flag == flag)
        monkeypatch.setattr(pytestconfig.option, found.dest, value)

    return given


def test_a_run_is_dry_where_items_are_listed_or_planned(pytestconfig, option, monkeypatch):
    session = ExperimentSession(pytestconfig)
    assert session.is_dry is False
    option("--plan", True)
    assert session.is_dry is True
    option("--plan", None)
    monkeypatch.setattr(pytestconfig.option, "collectonly", True)
    assert session.is_dry is True


def test_the_lab_is_made_when_it_is_first_asked_for(pytestconfig):
    session = ExperimentSession(pytestconfig)
    assert session.has_lab is False and session.header() == []
    assert session.lab is session.lab and session.has_lab is True


def test_where_no_experiment_is_expected_nothing_is_read(pytestconfig, option, monkeypatch):
    session = ExperimentSession(pytestconfig)
    monkeypatch.setattr(pytestconfig, "args", ["tests/test_files.py"])
    session.start(SimpleNamespace())
    assert session.has_lab is False and session.scheduler(None) is None


def test_wrong_input_is_pytest_s_own_usage_error(pytestconfig, option):
    option("--profile", "nosuch")
    with pytest.raises(pytest.UsageError) as error:
        ExperimentSession(pytestconfig).start(SimpleNamespace())
    assert str(error.value).startswith("--profile nosuch: unknown; expected one of ")
    # No traceback of where it was found.
    assert error.value.__suppress_context__ and error.value.__cause__ is None


class Item:
    """Stands in for an item that pytest collected."""

    def __init__(self, *fixtures):
        self.fixturenames, self.stash = fixtures, pytest.Stash()
        self.nodeid = self.name = "exp.py::exp_it"

    def get_closest_marker(self, name):
        return pytest.mark.results("../x.json").mark if name == "results" else None


@pytest.mark.parametrize("worker", [False, True])
def test_what_is_refused_ends_the_run_and_in_a_worker_each_item(pytestconfig, worker):
    session = ExperimentSession(pytestconfig)
    session.is_worker = worker
    plain, item = Item("tmp_path"), Item("record")
    session.collected([plain])
    if not worker:
        with pytest.raises(pytest.UsageError, match="results marker: expected a relative path"):
            session.collected([plain, item])
        return
    session.collected([plain, item])
    session.before(plain)
    with pytest.raises(pytest.fail.Exception, match="results marker: expected a relative path"):
        session.before(item)


def test_what_an_item_left_is_its_own_error(pytestconfig):
    session = ExperimentSession(pytestconfig)
    session.ended(Item("record"))
    session.lab = SimpleNamespace(intact=SimpleNamespace(left=lambda item: "it left a hook"))
    with pytest.raises(pytest.fail.Exception, match=r"^it left a hook$"):
        session.ended(Item("record"))


@pytest.mark.parametrize(
    ("dist", "ours"), [("load", True), ("worksteal", True), ("loadfile", False)]
)
def test_a_worker_is_told_what_is_stored_and_where_to_tell_its_units(
    pytestconfig, monkeypatch, option, dist, ours
):
    option("--seed", 0)
    monkeypatch.setattr(pytestconfig.option, "dist", dist, raising=False)
    session, opened = ExperimentSession(pytestconfig), []
    session.is_worker = False
    opening = {"open": lambda: opened.append(True)}
    writing = SimpleNamespace(**opening, stored=lambda: ["key"])
    session.lab = SimpleNamespace(writing=writing, profile=SimpleNamespace(device="cpu"))
    node = SimpleNamespace(workerinput={}, gateway=SimpleNamespace(id="gw0"))
    session.brief(node)
    told = {"emolib_gpu": None, "emolib_stored": ["key"]}
    if ours:
        told["emolib_units"] = str(session.workers.folder)
        assert session.workers.folder.is_dir()
    assert node.workerinput == told
    assert opened == [True]


def test_an_item_that_recorded_before_its_worker_died_stays_recorded(pytestconfig):
    session = ExperimentSession(pytestconfig)
    session.is_worker = False
    received = []
    writing = SimpleNamespace(replay=received.append)
    session.lab = SimpleNamespace(writing=writing, effects=None)

    def report(name, worker, **extra):
        made = pytest.TestReport(name, ("exp.py", None, ""), {}, "failed", "died", "???")
        made.node, made.emolib = worker, extra
        return made

    session.received(report("one", "gw0", stored="key"))
    session.received(report("two", "gw1", stored="other"))
    session.received(report("two", "gw1"))
    assert received == ["key", "other"]
    for name, worker, outcome in (
        ("one", "gw0", "passed"), ("one", "gw1", "failed"), ("three", "gw0", "failed"),
    ):  # fmt: skip
        died = report(name, worker)
        session.workers.died(name, died)
        assert died.outcome == outcome
