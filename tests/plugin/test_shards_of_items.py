"""``--shard``: parts of the items that are one whole, with the numbers of a run of all of them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from folders import PROFILE, ids, rounded
from test_parallel import FULL

from emolib.engine import costs
from emolib.results.records import Store
from emolib.results.shard_runs import shard_sets

ITEMS = 27
ALL = ("--unit-spec", "top:1", "--unit-spec", "2:5,3:7", "-k", "not unit or tiny-neo-gratitude")

FAILING = """
def exp_it(emotion, heads, record):
    assert str(heads) == "L2H0", "on purpose"
    record(n=1)
"""
LIGHT_ONE = "def exp_it(emotion, record): record(n=1)\n"


@pytest.fixture
def full(light):
    light.write("exp_effect.py", FULL)
    return light


def listed(folder, *args):
    return ids(folder.pytest("--collect-only", "-q", *args))


def batch(name):
    """Return what an id shares with those that are computed together with it."""
    return re.sub(r"-L\d+H\d+(\+L\d+H\d+)*", "", name)


def comparable(rows):
    """Return rows without when they were recorded, and by which run, to be compared."""
    kept = [{k: v for k, v in row.items() if k != "time"} for row in rows]
    for row in kept:
        row["provenance"] = row["provenance"] | {"run": ""}
    return sorted(map(rounded, kept), key=lambda row: (row["item"], row["row"]))


@pytest.mark.parametrize("parts", [1, 5])
def test_every_item_is_of_one_shard_and_no_batch_is_split(full, parts):
    whole = listed(full, *ALL)
    shards = [listed(full, *ALL, "--shard", f"{i}/{parts}") for i in range(1, parts + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(whole)
    assert len(whole) == ITEMS
    # Ids are of several functions: what is told apart here is no finer than batches are.
    homes = {}
    for number, shard in enumerate(shards):
        for name in shard:
            homes.setdefault(batch(name), set()).add(number)
    functions = 4
    assert all(len(found) <= functions for found in homes.values())
    assert parts == 1 or all(0 < len(shard) < ITEMS for shard in shards)


def test_what_is_more_than_a_part_is_cut_into_blocks_of_layers(full):
    one = ("-k", "exp_ablation and tiny-neo-gratitude and not resample", "--head-spec", "all")
    shards = [listed(full, *one, "--shard", f"{number}/2") for number in (1, 2)]
    assert sorted(shards[0] + shards[1]) == sorted(listed(full, *one)) and all(shards)
    layers = [{re.search(r"-L(\d+)", name)[1] for name in shard} for shard in shards]
    assert not layers[0] & layers[1]


def test_the_rows_of_shards_are_those_of_the_whole(full):
    full.pytest(*ALL).assert_outcomes()
    whole = comparable(full.rows())
    parts = []
    for number in (1, 2, 3):
        shutil.rmtree(full.results())
        done = full.pytest(*ALL, "--shard", f"{number}/3")
        assert done.ret == 0
        count = len({row["item"] for row in full.rows()})
        done.stdout.fnmatch_lines([f"*shard {number}/3: {count} of {ITEMS} items; *emolib merge*"])
        parts += full.rows()
    assert comparable(parts) == whole


def test_the_split_is_that_of_the_items_and_not_of_what_is_stored_or_how_fast(light, monkeypatch):
    before = [listed(light, "--shard", f"{i}/3") for i in (1, 2, 3)]
    light.pytest("-k", "gratitude").stdout.fnmatch_lines(["*4 recorded*"])

    def speed_of(*_):
        raise AssertionError("a machine was measured")

    monkeypatch.setattr(costs, "speed_of", speed_of)
    assert [listed(light, "--shard", f"{i}/3") for i in (1, 2, 3)] == before


def test_a_plan_of_one_shard(light):
    light.write("exp_effect.py", FULL)
    whole = light.pytest("--plan", "-k", "ablation")
    found = [light.pytest("--plan", "-k", "ablation", "--shard", f"{i}/2") for i in (1, 2)]
    counts = []
    for result in found:
        assert result.ret == 0
        lines = [line.split() for line in result.outlines if line.startswith("tiny-")]
        counts.append(sum(int(cells[1]) for cells in lines))
        result.stdout.fnmatch_lines(["shard ?/2: * of 16 items"])
    assert sum(counts) == 16 and min(counts) > 0
    assert not light.results().exists() and whole.ret == 0


@pytest.mark.parametrize("text", ["9/8", "0/2", "two", "1"])
def test_what_is_no_shard_ends_the_run_in_a_line(light, text):
    done = light.pytest("--shard", text)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: --shard: expected I/N, *got '{text}'"])
    assert not light.results().exists()


@pytest.mark.parametrize("flag", ["--effects-save", "--effects-compare"])
def test_the_regression_check_is_of_the_whole(light, flag):
    done = light.pytest("--shard", "1/2", flag)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: --shard: the regression check is on all items*"])


def test_an_empty_shard_says_so_and_ends_well(light):
    # Two models by two emotions, each a batch: of nine parts five have none.
    done = light.pytest("--shard", "9/9")
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["shard 9/9 is empty: all 8 items are 4 batches*"])
    workers = light.pytest("--shard", "9/9", "-n", "1")
    assert workers.ret == 0
    workers.stdout.fnmatch_lines(["*is empty: all 8 items are 4 batches*"])


def test_nothing_that_was_asked_for_is_still_no_success(light):
    assert light.pytest("--shard", "1/2", "-k", "nothing").ret == 5


@pytest.mark.slow
def test_workers_share_a_shard(light):
    light.write("exp_effect.py", "def exp_it(emotion, heads, record): record(n=1)\n")
    expected = listed(light, "--shard", "2/3")
    done = light.pytest("--shard", "2/3", "-n", "2")
    assert done.ret == 0
    done.stdout.fnmatch_lines([f"*shard 2/3: {len(expected)} of 8 items*"])
    assert sorted(row["item"].partition("[")[2][:-1] for row in light.rows()) == sorted(expected)


def test_tests_that_are_no_experiments_are_dealt_out_too(light):
    light.write("exp_plain.py", "def exp_a(): pass\ndef exp_b(): pass\ndef exp_c(): pass\n")
    light.write("exp_effect.py", "")
    found = [light.pytest("--shard", f"{i}/2") for i in (1, 2)]
    passed = [int(re.search(r"(\d) passed", result.stdout.str())[1]) for result in found]
    assert sorted(passed) == [1, 2]


def test_shards_write_into_one_folder_side_by_side(light):
    """One that is still at work holds neither another nor the reader of what is there."""
    light.write(
        "exp_effect.py",
        "import pathlib, time\n\n\n"
        "def exp_it(emotion, heads, record):\n"
        "    record(n=1)\n"
        "    pathlib.Path('begun').touch()\n"
        "    while pathlib.Path('hold').exists():\n"
        "        time.sleep(0.02)\n",
    )
    hold = light.write("hold", "")
    first = subprocess.Popen(
        light.command("--shard", "1/2"), cwd=light.path, env=light.env, stdout=subprocess.PIPE
    )
    try:
        while not (light.path / "begun").exists():
            assert first.poll() is None
        hold.unlink()
        second = light.pytest("--shard", "2/2")
        hold.write_text("")
        whole = light.pytest("-k", "nothing")
    finally:
        hold.unlink(missing_ok=True)
        first.communicate(timeout=60)
    assert (first.returncode, second.ret, whole.ret) == (0, 0, 5)
    runs = Store(light.results()).runs()
    assert [(run.shard, run.items, run.lacks) for run in runs] == [("1/2", 4, 0), ("2/2", 4, 0)]
    assert len({row["item"] for row in light.rows()}) == 8


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_the_store_is_told_how_many_items_a_shard_is_to_have(light, workers):
    light.write("exp_effect.py", FAILING)
    started = light.process if workers else light.pytest
    started("--shard", "1/2", *workers)
    (run,) = Store(light.results()).runs()
    assert (run.shard, run.items, run.expected, run.lacks) == ("1/2", 2, 4, 2)
    light.write("exp_effect.py", FAILING.replace("assert", "assert True or"))
    started("--shard", "1/2", *workers)
    assert [run.lacks for run in Store(light.results()).runs()] == [2, 0]


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_an_empty_shard_is_in_the_store_too(light, workers):
    light.write("exp_effect.py", LIGHT_ONE)
    light.write("data/profiles/small.toml", PROFILE)
    started = light.process if workers else light.pytest
    for number in (1, 2):
        started("--shard", f"{number}/2", *workers)
    runs = Store(light.results()).runs()
    assert sorted((run.items, run.expected) for run in runs) == [(0, 0), (1, 1)]
    (whole,) = shard_sets(runs)
    assert whole.complaints() == []
