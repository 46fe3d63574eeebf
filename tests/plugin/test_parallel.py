"""``-n 2``: the same rows, files and ids as serial."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
from folders import INI, pairs

FULL = """
import pytest


@pytest.mark.results("patching/{model}_{emotion}_{heads}{variant}.json")
def exp_ablation(run, heads, ablation, record):
    clean, ablated = run(), run(ablation(heads))
    record(
        logit_diff=ablated.logit_diff - clean.logit_diff,
        sentiment=ablated.sentiment,
        text=ablated.texts,
    )


@pytest.mark.results("alignment/head_scores_{model}.json", shape="scores")
def exp_screening(screening, head, record):
    record(**screening.of(head))
"""
PROFILE = """
models = ["tiny-neo", "tiny-gpt2"]
emotions = ["gratitude", "anger"]
heads = ["2:0", "0:2"]
ablations = ["zero", "resample"]
max_new_tokens = 3
verify = 1
"""


def files(folder):
    """Return every results file without times and the order of the store."""
    found = {}
    for path in sorted(folder.results().rglob("*")):
        if not path.is_file():
            continue
        text = re.sub(r'"time": "[^"]*"', '"time": ""', path.read_text("utf-8"))
        if path.name == "records.jsonl":
            text = "\n".join(sorted(text.splitlines()))
        found[str(path.relative_to(folder.results()))] = text
    return found


LIGHT = """
def exp_light(emotion, heads, record):
    record(words=len(emotion.lexicon.words))
"""


@pytest.fixture
def full(folder):
    folder.write("exp_effect.py", FULL)
    folder.write("data/profiles/small.toml", PROFILE)
    folder.write("data/pairs/anger.json", json.dumps(pairs("anger")))
    return folder


def test_rows_and_files_are_those_of_a_serial_run(full):
    assert "24 recorded" in full.process().stdout
    serial = files(full)
    shutil.rmtree(full.results())
    parallel = full.process("-n", "2")
    assert "24 recorded" in parallel.stdout, parallel.stdout
    assert "@" not in parallel.stdout
    assert files(full) == serial
    assert len(serial) == 1 + 16 + 2 + 4
    kinds = {json.loads(line)["experiment"] for line in serial["records.jsonl"].splitlines()}
    assert kinds == {"ablation", "screening"}


@pytest.fixture
def light(full):
    """The same items from an experiment that needs no torch, which takes seconds to load."""
    full.write("exp_effect.py", LIGHT)
    return full


def test_a_serial_run_goes_on_from_a_parallel_one(light):
    light.process("-n", "2", "-k", "tiny-neo")
    again = light.process()
    assert "4 items from the store" in again.stdout and "8 recorded" in again.stdout


def test_stored_items_are_recorded_in_workers_too(light):
    light.process("-k", "gratitude")
    done = light.process("-n", "2", "-v")
    assert "RECORDED" in done.stdout and "8 recorded" in done.stdout
    assert len(light.rows()) == 8


def test_errors_in_workers_have_their_traceback(light):
    light.write("exp_effect.py", "def exp_it(emotion, heads, record): raise KeyError('no such')")
    done = light.process("-n", "2")
    assert "KeyError: 'no such'" in done.stdout and "8 errors" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("where", ["argument", "ini", "environment", "d"])
def test_an_own_choice_of_dist_stands(light, where):
    light.write(
        "exp_effect.py",
        "def exp_it(emotion, heads, record, worker_id): record(worker=worker_id)\n",
    )
    args = {"argument": ["--dist", "worksteal"], "d": ["-d"]}.get(where, [])
    if where == "ini":
        light.write("pytest.ini", INI + "addopts = --dist=worksteal\n")
    elif where == "environment":
        light.env["PYTEST_ADDOPTS"] = "--dist worksteal"
    done = light.process("-n", "2", "-v", *args)
    name = "LoadScheduling" if where == "d" else "WorkStealingScheduling"
    assert f"scheduling tests via {name}" in done.stdout
    assert "8 recorded" in done.stdout


def test_items_of_one_model_and_emotion_share_a_worker(light):
    light.write(
        "exp_effect.py",
        "def exp_it(emotion, heads, record, worker_id): record(worker=worker_id)\n",
    )
    light.process("-n", "2")
    workers = {}
    for row in light.rows():
        key = row["dims"]["model"], row["dims"]["emotion"]
        workers.setdefault(key, set()).add(row["labels"]["worker"])
    assert len(workers) == 4 and all(len(found) == 1 for found in workers.values())
    assert set.union(*workers.values()) == {"gw0", "gw1"}


def test_a_wrong_marker_fails_every_item_of_the_workers(light):
    light.write(
        "exp_effect.py",
        "import pytest\n\n@pytest.mark.results('../x.json')\ndef exp_it(record): record(n=1)\n",
    )
    done = light.process("-n", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "exp_it: results marker: expected a relative path to a file" in done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert light.rows() == [] and light.files() == {"records.jsonl"}


THREADS = """
import os
{torch_first}

def exp_threads(model_source, request, record):
    import torch

    before = torch.get_num_threads()
    request.getfixturevalue("model")
    pools = ("OMP", "MKL", "OPENBLAS", "RAYON")
    told = {{name: int(os.environ[f"{{name}}_NUM_THREADS"]) for name in pools}}
    record(torch=before, after=torch.get_num_threads(), **told)
"""


@pytest.mark.parametrize("torch_first", ["", "import torch"])
@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_keeps_to_its_share_of_the_cores(folder, torch_first, workers):
    for pool in ("OMP", "MKL", "OPENBLAS", "RAYON"):
        folder.env.pop(f"{pool}_NUM_THREADS", None)
    # Where torch is loaded by a conftest.py it is there before the session begins.
    folder.write("conftest.py", torch_first)
    folder.write("exp_effect.py", THREADS.format(torch_first=torch_first))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    done = folder.process("-n", str(workers))
    assert done.returncode == 0, done.stdout
    assert folder.rows()
    for row in folder.rows():
        assert set(row["values"].values()) == {max(1, cores // workers)}


def test_fewer_threads_that_the_user_asked_for_stay_fewer(folder):
    folder.write("exp_effect.py", THREADS.format(torch_first=""))
    folder.env |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "4096"}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert folder.process("-n", "1").returncode == 0
    (row,) = folder.rows()
    assert row["values"].pop("RAYON") == cores
    assert set(row["values"].values()) == {1}
