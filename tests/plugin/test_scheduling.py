"""Which worker of xdist runs an item, and what becomes of the items of one that died."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from folders import INI
from pytest_emolib.scheduling import CaseScheduling, tell, told
from xdist.remote import Producer

WORKER = "def exp_it(emotion, heads, record, worker_id): record(worker=worker_id)\n"


# Wherever it is read from, xdist makes one option of it.
ELSEWHERE = [pytest.param(where, marks=pytest.mark.slow) for where in ("ini", "environment")]


@pytest.mark.parametrize("where", ["argument", "d", "tx", *ELSEWHERE])
def test_a_choice_of_dist_keeps_together_what_is_computed_together(light, where, monkeypatch):
    light.write("exp_effect.py", WORKER)
    args = {
        "argument": ["-n", "2", "--dist", "worksteal"],
        "d": ["-n", "2", "-d"],
        "tx": ["--dist", "load", "--tx", "2*popen"],
    }.get(where, ["-n", "2"])
    if where == "ini":
        light.write("pytest.ini", INI + "addopts = --dist=worksteal\n")
    elif where == "environment":
        monkeypatch.setenv("PYTEST_ADDOPTS", "--dist worksteal")
    done = light.pytest("-v", *args)
    done.stdout.fnmatch_lines(["scheduling tests via CaseScheduling", "*8 recorded*"])
    by_study = workers_of(light)
    assert len(by_study) == 4 and all(len(found) == 1 for found in by_study.values())


@pytest.mark.parametrize("dist", ["loadfile", "loadscope"])
def test_where_whole_files_stay_together_xdist_deals_them_out(light, dist):
    light.write("exp_effect.py", WORKER)
    done = light.pytest("-n", "2", "-v", "--dist", dist)
    name = {"loadfile": "LoadFileScheduling", "loadscope": "LoadScopeScheduling"}[dist]
    done.stdout.fnmatch_lines([f"scheduling tests via {name}"])
    assert len(set.union(*workers_of(light).values())) == 1


def workers_of(light):
    """Return the workers that ran items, by model and emotion."""
    workers = {}
    for row in light.rows():
        key = row["dims"]["model"], row["dims"]["emotion"]
        workers.setdefault(key, set()).add(row["labels"]["worker"])
    return workers


def test_items_of_one_model_and_emotion_share_a_worker(light):
    light.write("exp_effect.py", WORKER)
    light.pytest("-n", "2")
    workers = workers_of(light)
    assert len(workers) == 4 and all(len(found) == 1 for found in workers.values())
    assert set.union(*workers.values()) == {"gw0", "gw1"}


class Node:
    """A worker as its scheduler sees it."""

    shutting_down = False

    def __init__(self, name):
        self.gateway, self.sent = SimpleNamespace(id=name), []

    def send_runtest_some(self, indices):
        self.sent += indices

    def shutdown(self):
        self.shutting_down = True


IDS = [f"exp.py::exp_it[L0H{i}]" for i in range(6)]


@pytest.fixture
def scheduler(tmp_path):
    """Give a scheduler for two workers of two units of three items."""
    config = SimpleNamespace(
        getvalue={"tx": ["popen", "popen"]}.__getitem__,
        option=SimpleNamespace(loadscopereorder=True),
    )
    for name in ("gw0", "gw1", "gw2"):
        tell(tmp_path, name, {name: f"unit {i // 3}" for i, name in enumerate(IDS)})
    return CaseScheduling(config, Producer("test"), tmp_path)


@pytest.fixture
def scheduled(scheduler):
    """Give one that has dealt them out, and its two workers."""
    nodes = [Node("gw0"), Node("gw1")]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, IDS)
    scheduler.schedule()
    return scheduler, nodes


def test_units_are_those_that_workers_tell(scheduled, tmp_path):
    _, nodes = scheduled
    assert [node.sent for node in nodes] == [[0, 1, 2], [3, 4, 5]]
    assert told(tmp_path, "gw0") == json.loads((tmp_path / "gw1.json").read_text("utf-8"))
    assert told(tmp_path, "gw7") == {}


def test_other_tests_are_dealt_out_one_by_one(tmp_path):
    config = SimpleNamespace(getvalue={"tx": ["popen"]}.__getitem__)
    made = CaseScheduling(config, Producer("test"), tmp_path)
    assert made._split_scope("test_it.py::test_it[1]") == "test_it.py::test_it[1]"


def test_the_item_that_a_worker_died_in_does_not_run_again(scheduled):
    made, (first, second) = scheduled
    made.mark_test_complete(first, 0)
    assert made.remove_node(first) == IDS[1]
    for index in (3, 4, 5):
        made.mark_test_complete(second, index)
    new = Node("gw2")
    made.add_node(new)
    made.add_node_collection(new, IDS)
    made.schedule()
    assert (second.sent + new.sent)[3:] == [2]


def test_a_worker_that_is_dealt_one_item_is_dealt_another_to_begin_it(scheduled):
    """Units of one item, as what is left of one, would leave it waiting for ever."""
    made, (first, _) = scheduled
    for number in range(3):
        made.workqueue[f"left {number}"] = {IDS[number]: False}
    made.assigned_work[first].clear()
    first.sent.clear()
    first.shutting_down = False
    made._reschedule(first)
    assert first.sent == [0, 1] and len(made.workqueue) == 1


def test_of_a_worker_that_died_with_nothing_left_nothing_is_dealt_out(scheduled):
    made, (first, _) = scheduled
    for index in (0, 1, 2):
        made.mark_test_complete(first, index)
    assert made.remove_node(first) is None and not made.workqueue


def test_of_a_unit_whose_last_item_killed_its_worker_nothing_is_dealt_out(scheduled):
    made, (first, _) = scheduled
    for index in (0, 1):
        made.mark_test_complete(first, index)
    assert made.remove_node(first) == IDS[2] and not made.workqueue


@pytest.mark.parametrize("had_collected", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_worker_that_dies_before_anything_is_dealt_out_is_as_if_it_had_not_been(
    scheduler, had_collected, is_first
):
    dead, other, successor = Node("gw0"), Node("gw1"), Node("gw2")
    for node in (dead, other):
        scheduler.add_node(node)
    if had_collected:
        scheduler.add_node_collection(dead, IDS)
    if not is_first and not had_collected:
        scheduler.add_node_collection(other, IDS)
    assert scheduler.remove_node(dead) is None and not other.shutting_down
    if is_first or had_collected:
        scheduler.add_node_collection(other, IDS)
    assert not scheduler.collection_is_completed
    scheduler.add_node(successor)
    scheduler.add_node_collection(successor, IDS)
    assert scheduler.collection_is_completed
    scheduler.schedule()
    assert sorted(other.sent + successor.sent) == list(range(6))


def test_a_successor_that_is_still_collecting_is_dealt_nothing(scheduled):
    made, (first, second) = scheduled
    assert made.remove_node(first) == IDS[0]
    successor = Node("gw2")
    made.add_node(successor)
    assert made.remove_node(second) == IDS[3] and not successor.sent
    made.add_node_collection(successor, IDS)
    made.schedule()
    assert successor.sent == [1, 2] and len(made.workqueue) == 1
