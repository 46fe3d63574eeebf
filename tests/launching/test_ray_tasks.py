"""Shards as tasks of Ray: on two nodes, of which one is killed, the rows are those of one run."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from emolib.errors import InputError
from emolib.launching.engines import Needs, engine
from emolib.launching.ray_tasks import RayTasks

# Each item takes a moment, so that a node can be killed in the midst of several.
EXPERIMENT = """
import os, time
from pathlib import Path
from emolib.interventions import zero


def exp_effect(run, heads, ablation, record):
    clean, ablated = run(), run(ablation(heads))
    time.sleep(0.3)
    record(logit_diff=ablated.logit_diff - clean.logit_diff, text=ablated.texts)
"""
PROFILE = """
models = ["tiny-gpt2"]
emotions = ["gratitude", "anger"]
heads = ["layer:1", "layer:2"]
ablations = ["zero", "mean"]
max_new_tokens = 3
"""
ITEMS = 32


def test_without_ray_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--on ray: needs Ray.*pip install 'emolib\[ray\]'"):
        engine("ray", Needs(), tmp_path)


class FakeRay:
    """What of Ray is asked before anything runs."""

    def __init__(self, nodes, error=None):
        self.found, self.error, self.is_up = nodes, error, False

    def init(self, **_):
        if self.error:
            raise self.error
        self.is_up = True

    def nodes(self):
        return self.found

    def shutdown(self):
        self.is_up = False


def test_a_cluster_that_is_not_there_is_told_with_what_starts_one(monkeypatch, tmp_path):
    fake = FakeRay([], ConnectionError("no answer\nand more"))
    monkeypatch.setitem(sys.modules, "ray", fake)
    needs = Needs(settings={"address": "ray://10.0.0.1:10001"})
    with pytest.raises(InputError) as caught:
        RayTasks(needs, tmp_path)
    said = str(caught.value)
    assert "no cluster can be reached at ray://10.0.0.1:10001 (no answer); start one with" in said
    assert "\n" not in said


@pytest.mark.parametrize("given", ["setting", "environment"])
def test_where_nothing_listens_ray_is_not_asked(monkeypatch, tmp_path, given):
    # Ray would go on trying for minutes.
    monkeypatch.setitem(sys.modules, "ray", FakeRay([], AssertionError("was asked")))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound and not listening: nothing can be reached there.
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {"address": address} if given == "setting" else {}
        if given == "environment":
            monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=rf"reached at {address} \(.*refused.*\); start one"):
            RayTasks(Needs(settings=settings), tmp_path)


def test_where_something_listens_ray_is_asked(monkeypatch, tmp_path):
    fake = FakeRay([{"Alive": True, "Resources": {"CPU": 4.0}}])
    monkeypatch.setitem(sys.modules, "ray", fake)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert RayTasks(Needs(settings={"address": address}), tmp_path) and fake.is_up


def test_what_no_node_has_is_not_waited_for(monkeypatch, tmp_path):
    node = {"Alive": True, "Resources": {"CPU": 4.0}}
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    fake = FakeRay([node, dead])
    monkeypatch.setitem(sys.modules, "ray", fake)
    assert RayTasks(Needs(cpus=4), tmp_path) and fake.is_up
    with pytest.raises(InputError, match=r"no node has 4 CPUs and 1 GPUs .* largest has 4 and 0"):
        RayTasks(Needs(cpus=4, gpus=1), tmp_path)
    assert not fake.is_up


def test_it_has_one_setting(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", FakeRay([]))
    with pytest.raises(InputError, match="--set partition: --on ray has one setting, address="):
        RayTasks(Needs(settings={"partition": "gpu"}), tmp_path)


@pytest.fixture
def study(folder):
    (folder / "exp_light.py").unlink()
    (folder / "exp_effect.py").write_text(EXPERIMENT)
    (folder / "data/profiles/small.toml").write_text(PROFILE)
    return folder


def by_item(rows):
    return {row.item: row for row in rows}


@pytest.mark.slow
def test_a_node_that_is_killed_loses_no_row_and_doubles_none(study, rows_of):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    pytest_run = ["pytest", "--profile", "small", "-p", "no:cacheprovider"]
    serial = subprocess.run(
        [sys.executable, "-m", *pytest_run, "--results-dir=serial"], check=False
    )
    assert serial.returncode == 0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        launched = subprocess.Popen(
            [
                sys.executable, "-m", "emolib", "launch", "--shards", "4", "--on", "ray",
                "--set", f"address={cluster.address}", "--", *pytest_run,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        results = study / "results/small"
        # Until both nodes have recorded some of their shards.
        until(lambda: sum(count >= 2 for count in lines_of(results)) >= 2)
        cluster.remove_node(other, allow_graceful=False)
        before = sum(lines_of(results))
        printed, _ = launched.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert launched.returncode == 0, printed
    assert 0 < before < ITEMS
    rows = rows_of(results)
    assert len(rows) == len({row.key for row in rows}) == ITEMS
    assert len({(row.item, row.row) for row in rows}) == ITEMS
    # What a node computed anew it computed beside fewer runs, which is in the rounding.
    whole = by_item(rows_of(study / "serial/small"))
    for item, row in by_item(rows).items():
        assert (row.key, row.texts) == (whole[item].key, whole[item].texts)
        expected = whole[item].vectors["logit_diff"]
        assert row.vectors["logit_diff"] == pytest.approx(expected, abs=1e-4)


def lines_of(results):
    """Return of each file of the store how many rows it has."""
    return [
        text.count('"item"')
        for path in results.rglob("*.jsonl")
        if (text := path.read_text("utf-8"))
    ]


def until(holds, seconds=120.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
