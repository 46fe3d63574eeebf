"""``--device``, and a GPU for each worker. No GPU is here: what torch says of one is made up."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from folders import LIGHT
from hypothesis import given
from hypothesis import strategies as st
from pytest_emolib import devices
from pytest_emolib.devices import deal, gpu_of, settled, visible

from emolib.inputs.profiles import load_profile


@pytest.mark.parametrize(
    ("setting", "count", "gpus"),
    [
        (None, 3, ("0", "1", "2")),
        ("2,5", 2, ("2", "5")),
        ("GPU-a, GPU-b", 2, ("GPU-a", "GPU-b")),
        ("0,-1,2", 1, ("0",)),
        ("", 0, ()),
    ],
)
def test_the_gpus_that_are_seen_are_the_caller_s(setting, count, gpus):
    assert visible(setting, count) == gpus


@pytest.mark.parametrize(
    ("worker", "gpus", "gpu"),
    [
        ("gw0", ("2", "5"), "2"),
        ("gw3", ("2", "5"), "5"),
        ("gw3", ("0", "1", "2"), "0"),
        ("gw3", ("2",), None),
        ("gw3", (), None),
        ("master", ("2", "5"), None),
    ],
)
def test_each_worker_has_one_of_them(worker, gpus, gpu):
    assert gpu_of(worker, gpus) == gpu


@given(st.integers(2, 8), st.integers(1, 32))
def test_workers_are_dealt_out_evenly(n_gpus, n_workers):
    gpus = tuple(map(str, range(n_gpus)))
    dealt = [gpu_of(f"gw{worker}", gpus) for worker in range(n_workers)]
    counts = [dealt.count(gpu) for gpu in gpus]
    assert max(counts) - min(counts) <= 1


@pytest.fixture
def two_gpus(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")


@pytest.mark.parametrize(("device", "gpu"), [("cuda", "7"), ("cuda:0", None), ("cpu", None)])
def test_a_worker_gets_a_gpu_where_the_device_leaves_it_open(two_gpus, device, gpu):
    assert deal("gw1", device) == gpu


def config(gpu=None, *, collectonly=False):
    made = SimpleNamespace(option=SimpleNamespace(collectonly=collectonly))
    if gpu is not None:
        made.workerinput = {"emolib_gpu": gpu}
    return made


def on(device):
    return load_profile("demo").override(device=device)


def test_a_worker_sees_its_gpu_alone(two_gpus):
    assert settled(config("7"), on("auto")).device == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_worker_whose_torch_has_computed_already_is_set_to_it(two_gpus, monkeypatch):
    import torch

    chosen = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    settled(config("7"), on("cuda"))
    assert chosen == [1] and os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


def test_a_device_that_is_named_outright_is_everyone_s(two_gpus):
    assert settled(config("7"), on("cuda:1")).device == "cuda:1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


@pytest.mark.parametrize("name", ["cuda:99", "mps", "nonsense"])
def test_a_device_that_is_not_there_is_refused_before_anything_loads(folder, name):
    if name == "mps" and sys.platform == "darwin":
        pytest.skip("there may be one here")
    result = folder.pytest(f"--device={name}")
    assert result.ret == 4 and not folder.results().exists()
    (line,) = (line for line in result.errlines if line.startswith("ERROR"))
    assert line.startswith(f"ERROR: --device {name}: not usable here (")
    assert line.endswith("); use cpu")


def test_auto_is_the_cpu_where_there_is_no_gpu_and_shares_its_rows(folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    folder.write("exp_effect.py", LIGHT)
    assert "3 recorded" in folder.pytest("--device=auto").stdout.str()
    assert {row["provenance"]["device"] for row in folder.rows()} == {"cpu"}
    assert "3 items from the store" in folder.pytest("--device=cpu").stdout.str()


def test_listing_items_and_a_run_on_the_cpu_do_not_ask_torch(monkeypatch):
    monkeypatch.setattr(devices, "_take", None)
    monkeypatch.setitem(sys.modules, "emolib.models.placement", None)
    assert settled(config(), on("cpu")).device == "cpu"
    assert settled(config(collectonly=True), on("cuda:99")).device == "cuda:99"
