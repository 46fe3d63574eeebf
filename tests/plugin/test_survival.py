"""Interrupted and started again, a run computes what is missing; no row is lost or doubled."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
from folders import DATA
from pytest_emolib import rows

from emolib.results import provenance
from emolib.results.records import Store

SLOW = """
import os, time
from pathlib import Path


def exp_effect(model_source, emotion, heads, profile, record):
    with Path("ran.txt").open("a") as file:
        file.write(f"{os.getpid()} {heads}\\n")
    time.sleep(float(os.environ.get("PAUSE", "0")))
    for _ in range(500):
        if not Path("hold").exists():
            break
        time.sleep(0.02)
    words = len(emotion.lexicon.words)
    record(words=words, layer=heads.heads[0].layer, seed=profile.seed)
"""

HEADS = ("--head-spec", "layer:0", "--head-spec", "layer:2")


@pytest.fixture
def slow(folder):
    folder.write("exp_effect.py", SLOW)
    return folder


# What workers have recorded the main process has written, as that of a run without them.
serial_and_workers = pytest.mark.parametrize(
    "workers",
    [pytest.param([], id="serial"), pytest.param(["-n", "2"], id="n2", marks=pytest.mark.slow)],
)


def ran(folder):
    path = folder.path / "ran.txt"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [tuple(line.split(" ", 1)) for line in lines]


def wait_for_rows(folder, count):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if len(folder.rows()) >= count:
            return
        time.sleep(0.02)
    pytest.fail(f"no {count} rows within a minute")


def start(folder, *args):
    """Start a run whose items take long enough to be met in the middle of it."""
    env = folder.env | {"PAUSE": "0.3"}
    return subprocess.Popen(
        folder.command(*args), cwd=folder.path, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Where the tests run in the background of a shell, children would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def assert_whole(folder, count):
    items = Counter(row["item"] for row in folder.rows())
    assert len(items) == count and set(items.values()) == {1}


@serial_and_workers
def test_sigkill_of_the_main_process(slow, workers):
    run = start(slow, *HEADS, *workers)
    wait_for_rows(slow, 2)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    kept = [row["item"] for row in slow.rows()]
    assert 2 <= len(kept) < 8
    (slow.path / "ran.txt").unlink()
    again = slow.pytest(*HEADS, *workers)
    again.stdout.fnmatch_lines([f"*{len(kept)} items from the store*", "*8 recorded*"])
    assert len(ran(slow)) == 8 - len(kept)
    assert_whole(slow, 8)


def test_sigkill_of_a_worker(slow):
    run = start(slow, "-n", "2", *HEADS, "--model", "tiny-neo", "--model", "tiny-gpt2")
    wait_for_rows(slow, 2)
    pid = int(ran(slow)[-1][0])
    assert pid != run.pid
    os.kill(pid, signal.SIGKILL)
    out, _ = run.communicate(timeout=120)
    assert "crashed" in out and run.returncode == 1
    assert len({row["item"] for row in slow.rows()}) == len(slow.rows()) <= 16
    again = slow.pytest(*HEADS, "--model", "tiny-neo", "--model", "tiny-gpt2")
    again.stdout.fnmatch_lines(["*16 recorded*"])
    assert_whole(slow, 16)


DYING = """
import os

import pytest


def die(name, when):
    if os.environ["DIES"] == when and "tiny-neo-anger-L0H2" in name:
        os._exit(1)


@pytest.fixture
def leaving(request):
    yield
    die(request.node.name, "in teardown")


def exp_it(emotion, heads, leaving, request, record):
    record(n=1)
    die(request.node.name, "in call")
"""


def test_an_item_that_kills_its_worker_failed_and_is_not_recorded(light, monkeypatch):
    light.write("exp_effect.py", DYING)
    monkeypatch.setenv("DIES", "in call")
    done = light.pytest("-n", "2")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*crashed while running*", "*1 failed*7 recorded*"])
    assert_whole(light, 7)
    assert not any("tiny-neo-anger-L0H2" in row["item"] for row in light.rows())
    monkeypatch.setenv("DIES", "no more")
    light.pytest().stdout.fnmatch_lines(["*7 items from the store*"])
    assert_whole(light, 8)


def test_an_item_that_had_recorded_when_its_worker_died_is_not_failed(light):
    light.write("exp_effect.py", DYING)
    light.env["DIES"] = "in teardown"
    done = light.process("-n", "2")
    assert "8 recorded" in done.stdout and "1 failed" not in done.stdout, done.stdout
    assert "a worker died behind exp_effect.py::exp_it[tiny-neo-anger-L0H2]" in done.stdout
    assert done.returncode == pytest.ExitCode.OK
    assert_whole(light, 8)


def test_a_run_that_stops_at_its_first_error_says_what_is_missing(light):
    light.write("exp_effect.py", "def exp_it(heads, record):\n    record(n=1)\n    assert 0\n")
    out = light.pytest("-x").stdout
    out.fnmatch_lines(["ended early: 3 of 4 items did not run; the same command goes on with them"])
    light.write("exp_effect.py", "def exp_it(heads, record):\n    record(n=1)\n")
    whole = light.pytest().stdout
    whole.fnmatch_lines(["*4 recorded*"])
    whole.no_fnmatch_line("*ended early*")


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["serial", "n2"])
def test_ctrl_c_writes_the_tables_of_what_is_there(slow, workers):
    run = start(slow, *HEADS, *workers)
    wait_for_rows(slow, 2)
    os.kill(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == pytest.ExitCode.INTERRUPTED, out + err
    assert "KeyboardInterrupt" in out and "written to results/small" in out
    said = re.search(r"ended early: (\d+) of 8 items did not run; the same command goes on", out)
    assert said and 0 < int(said[1]) < 8, out
    assert "INTERNALERROR" not in out
    lines = slow.results("tables/effect.csv").read_text("utf-8").splitlines()
    assert len(lines) - 1 == len(slow.rows()) >= 2
    slow.pytest(*HEADS).stdout.fnmatch_lines(["*8 recorded*"])
    assert_whole(slow, 8)


def test_a_second_run_runs_nothing(slow):
    slow.pytest()
    (segment,) = slow.segments()
    first, rows = segment.read_bytes(), slow.rows()
    count = len(ran(slow))
    slow.pytest("-v").stdout.fnmatch_lines(
        ["*RECORDED*", "*3 items from the store (--fresh recomputes)*", "*3 recorded*"]
    )
    assert len(ran(slow)) == count == 3
    assert segment.read_bytes() == first and slow.rows() == rows


def test_rows_and_files_tell_which_run_they_are_of(slow):
    slow.write(
        "exp_effect.py",
        "import pytest\n\n@pytest.mark.results('own/{heads}.json')\n"
        "def exp_it(heads, record): record(n=len(heads))\n",
    )
    slow.pytest("-k", "L2H0", "--seed=1")
    slow.pytest("--seed=1")
    first, second = Store(slow.results()).runs()
    assert (first.items, second.items, second.replayed) == (1, 2, 1)
    assert second.command == "pytest --profile small --seed=1" and second.settings["seed"] == 1
    assert [row["provenance"]["run"] for row in slow.rows()] == [first.id] + [second.id] * 2
    for name, run in (("L2H0", first), ("L3H1", second)):
        content = json.loads(slow.results(f"own/{name}.json").read_text("utf-8"))
        assert content["provenance"]["run"] == run.id
    report = slow.python("-m", "emolib", "report", "--profile", "small", "--run", first.id)
    assert report.returncode == 0, report.stderr
    text = slow.results("report/head_analysis_report.md").read_text("utf-8")
    assert first.id in text and second.id not in text
    listed = slow.python("-m", "emolib", "runs", "--profile", "small").stdout
    assert first.id in listed and second.id in listed


def test_fresh_recomputes(slow):
    slow.pytest()
    slow.pytest("--fresh").stdout.fnmatch_lines(["*3 recorded*"])
    assert len(ran(slow)) == 6 and len(slow.rows()) == 6
    assert len(slow.results("tables/effect.csv").read_text("utf-8").splitlines()) == 4


@pytest.mark.parametrize(
    "change",
    [
        "--seed=1",
        "--position=all",
        "--max-new-tokens=4",
        "--dtype=float64",
        "code",
        "helper",
        "data",
    ],
)
def test_a_change_of_what_decides_the_numbers_recomputes(slow, change):
    slow.pytest("-k", "L2H0")
    args = []
    if change == "code":
        slow.write("exp_effect.py", SLOW + "\n")
    elif change == "helper":
        slow.write("helper.py", "x = 1")
    elif change == "data":
        path = slow.path / "data/pairs/gratitude.json"
        path.write_text(path.read_text("utf-8").replace("gratitude-000", "first"), "utf-8")
    else:
        args = [change]
    slow.pytest("-k", "L2H0", *args)
    assert len(ran(slow)) == 2


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "added_tokens.json"])
def test_a_change_of_a_model_s_files_recomputes(slow, name):
    model = slow.path / "mine"
    shutil.copytree(DATA / "models/tiny-neo", model)
    slow.pytest("--model=./mine", "-k", "L2H0")
    path = model / name
    path.write_text((path.read_text("utf-8") if path.exists() else "{}") + "\n", "utf-8")
    slow.pytest("--model=./mine", "-k", "L2H0")
    assert len(ran(slow)) == 2


@pytest.mark.parametrize("library", ["vaderSentiment", "scipy", "python"])
def test_a_change_of_a_library_recomputes(slow, library, monkeypatch):
    slow.pytest("-k", "L2H0")
    monkeypatch.setattr(rows, "versions", lambda: provenance.versions() | {library: "0"})
    slow.pytest("-k", "L2H0")
    assert len(ran(slow)) == 2


@pytest.mark.parametrize(
    "args", [["-k", "L3H1"], ["--batch-size", "5"], ["--table-format", "html"]]
)
def test_a_change_of_nothing_that_matters_does_not(slow, args):
    slow.pytest()
    slow.pytest(*args)
    assert len(ran(slow)) == 3


def test_a_torn_last_line_is_repaired_with_a_message(slow):
    slow.pytest()
    (path,) = slow.segments()
    # Its last line tells when it ended.
    data = path.read_bytes()[:-150]
    path.write_bytes(data)
    torn = len(data) - data.rindex(b"\n") - 1
    result = slow.pytest()
    result.stdout.fnmatch_lines(
        [f"*{path.name}: its last line was torn (the run was killed while writing); left out "
         f"{torn} bytes, that item runs again", "*3 recorded*"]
    )  # fmt: skip
    assert_whole(slow, 3)
    assert len(ran(slow)) == 4
    assert "its last line was torn" not in slow.pytest().stdout.str()


def test_other_damage_names_the_line_and_leaves_the_file(slow):
    slow.pytest()
    (path,) = slow.segments()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:50] + b"\n" + b"".join(lines[2:]))
    damaged = path.read_bytes()
    result = slow.pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: *{path.name}: line 2: not JSON; restore the file from a copy or move it away "
         "to start afresh"]
    )  # fmt: skip
    assert path.read_bytes() == damaged


def test_two_runs_do_not_write_one_store(slow):
    run = start(slow, *HEADS)
    wait_for_rows(slow, 1)
    hold = slow.write("hold", "")
    second = slow.pytest(*HEADS)
    listed = slow.pytest(*HEADS, "--collect-only", "-q")
    hold.unlink()
    run.communicate(timeout=60)
    assert listed.ret == pytest.ExitCode.OK
    listed.stdout.fnmatch_lines(["*8 tests collected*"])
    assert second.ret == pytest.ExitCode.USAGE_ERROR
    second.stderr.fnmatch_lines(
        ["*another run is writing to it; wait for it, or choose another folder*"]
    )
    assert_whole(slow, 8)


@serial_and_workers
def test_two_runs_started_together_double_no_row(slow, workers):
    runs = [start(slow, *HEADS, *workers) for _ in range(2)]
    said = [run.communicate(timeout=60)[1] for run in runs]
    codes = sorted(run.returncode for run in runs)
    # Whichever came second was refused, or found every row there.
    assert codes in ([0, 0], [0, pytest.ExitCode.USAGE_ERROR]), said
    assert_whole(slow, 8)


def test_tables_that_cannot_be_written_leave_the_rows(slow):
    slow.write("results/small/tables", "a file in the way")
    result = slow.pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        ["*- effect -*", "ERROR: *tables/effect.csv: cannot be written (*); make room for it, or "
         "choose another --results-dir", "*3 recorded*"]
    )  # fmt: skip
    assert_whole(slow, 3)


def test_a_results_file_that_is_gone_is_written_again(slow):
    slow.write(
        "exp_effect.py",
        "import pytest\n\n@pytest.mark.results('own/{heads}.json')\n"
        "def exp_it(heads, record): record(n=len(heads))\n",
    )
    slow.pytest()
    path = slow.results("own/L2H0.json")
    text = path.read_text("utf-8")
    path.unlink()
    slow.pytest()
    assert path.read_text("utf-8") == text


def test_going_back_to_stored_settings_brings_their_results_files_back(slow):
    slow.write(
        "exp_effect.py",
        "import pytest\n\n@pytest.mark.results('own/{heads}.json')\n"
        "def exp_it(emotion, heads, profile, record): record(n=profile.max_new_tokens)\n",
    )
    path = slow.results("own/L2H0.json")
    slow.pytest()
    first = path.read_text("utf-8")
    slow.pytest("--max-new-tokens=7")
    assert path.read_text("utf-8") != first
    slow.pytest().stdout.fnmatch_lines(["*3 items from the store*"])
    assert path.read_text("utf-8") == first


def test_tables_hold_every_row_of_the_state_that_ran_last(slow):
    """Going back to stored settings lasts, and a run of other experiments changes nothing."""
    slow.write("exp_other.py", "def exp_other(heads, record): record(n=1)")

    def table():
        lines = slow.results("tables/effect.csv").read_text("utf-8").splitlines()[1:]
        return [line.partition("[")[2].partition("]")[0] for line in lines]

    whole = [f"tiny-neo-gratitude-{name}" for name in ("L0H0+L0H1", "L2H0", "L3H1")]
    slow.pytest("exp_effect.py")
    slow.pytest("exp_effect.py", "--position=all", "-k", "L2H0")
    assert table() == whole[1:2]
    slow.pytest("exp_effect.py")
    assert table() == whole
    slow.pytest("exp_other.py")
    assert table() == whole
    slow.pytest("exp_effect.py", "--head-spec=1:0")
    assert table() == sorted([*whole, "tiny-neo-gratitude-L1H0"])
    # What was run under other settings in between is not lost either.
    slow.pytest("exp_effect.py", "--position=all", "-k", "L2H0")
    assert table() == whole[1:2] and len(ran(slow)) == 5


def test_going_back_to_stored_settings_brings_their_table_back(slow):
    slow.pytest("--seed=1")
    first = slow.results("tables/effect.csv").read_text("utf-8")
    slow.pytest("--position=all")
    assert slow.results("tables/effect.csv").read_text("utf-8") != first
    slow.pytest("--seed=1").stdout.fnmatch_lines(["*3 items from the store*"])
    assert slow.results("tables/effect.csv").read_text("utf-8") == first
    assert len(ran(slow)) == 6
