"""Shards on this machine by submitit: the rows of a run of all items, a few at a time."""

from __future__ import annotations

import io
import sys

import pytest

from emolib.errors import InputError
from emolib.launching import launch as launching
from emolib.launching.command import read_command
from emolib.launching.engines import Needs, engine
from emolib.launching.launch import launch
from emolib.results.records import Store

RUN = ["pytest", "--profile", "small", "-p", "no:cacheprovider"]


def test_without_submitit_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"--on local: needs submitit.*pip install 'emolib\[slurm"):
        engine("local", Needs(), tmp_path)


def test_it_has_no_settings(tmp_path):
    with pytest.raises(InputError, match="--set partition: --on local has no settings"):
        engine("local", Needs(settings={"partition": "gpu"}), tmp_path)


def run(folder, shards, *arguments, **needs):
    pytest.importorskip("submitit")
    shown = io.StringIO()
    command = read_command([*RUN, *arguments], folder)
    made = folder / "logs"
    lines = launch(command, shards, "local", Needs(**needs), made, shown)
    return lines, shown.getvalue(), made


@pytest.mark.slow
def test_all_items_are_recorded_once_by_shards_that_run_beside_each_other(folder, rows_of):
    lines, shown, logs = run(folder, 3, at_once=2)
    assert lines == [] and shown.splitlines()[-1] == "3/3 shards done"
    assert "2 at a time on this machine" in shown
    items = [row.item for row in rows_of(folder / "results/small")]
    assert len(items) == len(set(items)) == 8
    assert sorted(path.name for path in logs.glob("*.log")) == [
        f"shard-{number}-of-3.log" for number in (1, 2, 3)
    ]


@pytest.mark.slow
def test_a_shard_that_fails_is_told_of_and_the_others_end(folder, rows_of):
    (folder / "exp_light.py").write_text(
        "def exp_light(emotion, heads, record):\n"
        "    assert emotion.name != 'anger' or len(heads) != 1, 'on purpose'\n"
        "    record(n=1)\n"
    )
    lines, shown, _ = run(folder, 4, at_once=2)
    assert shown.splitlines()[-1] == "2/4 shards done, 2 failed"
    assert len(lines) == 2 and all(" ended with 1; " in line for line in lines)
    assert all("; again: pytest --profile=small" in line.replace("-p no:cacheprovider ", "")
               for line in lines)  # fmt: skip
    assert len(list(rows_of(folder / "results/small"))) == 4


@pytest.mark.slow
def test_wrong_input_is_told_as_the_shards_have_it(folder):
    lines, _, _ = run(folder, 1, "--head-spec", "99:0")
    assert len(lines) == 1 and "ended with 4 (ERROR: " in lines[0] and "99:0" in lines[0]


@pytest.mark.slow
def test_a_shard_that_runs_out_of_time_goes_on_from_what_it_stored(folder, rows_of, monkeypatch):
    """As a job of SLURM would: it is told, ends, is queued again and finds its rows."""
    pytest.importorskip("submitit")
    (folder / "exp_light.py").write_text(
        "import pathlib, time\n\n\n"
        "def exp_light(emotion, heads, record):\n"
        "    told = pathlib.Path('stopped')\n"
        "    if str(heads) == 'L0H2' and not told.exists():\n"
        "        told.touch()\n"
        "        time.sleep(600)\n"
        "    record(n=1)\n"
    )
    made = engine("local", Needs(minutes=20 / 60), folder / "logs/local")
    # It is told this long before its time is over.
    made._executor.update_parameters(signal_delay_s=4)
    monkeypatch.setattr(launching, "engine", lambda *_: made)
    command = read_command(RUN, folder)
    lines = launch(command, 1, "local", Needs(), folder / "logs", io.StringIO())
    assert lines == [] and (folder / "stopped").exists()
    items = [row.item for row in rows_of(folder / "results/small")]
    assert len(items) == len(set(items)) == 8
    first, second = Store(folder / "results/small").runs()
    assert 0 < first.items < 8 and not first.ended
    assert (second.items, second.replayed) == (8 - first.items, first.items)
