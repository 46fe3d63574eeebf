"""From a command to its shards: their jobs, the line of their progress, and how they ended."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from emolib.errors import InputError
from emolib.inputs.shards import Shard
from emolib.launching import launch as launching
from emolib.launching.command import read_command
from emolib.launching.engines import Needs


class Scripted:
    """An engine whose jobs end as a script says, one more at every look."""

    def __init__(self, codes, *, stays=False):
        self.codes, self.stays = codes, stays
        self.looks, self.jobs, self.stopped = 0, [], False

    def start(self, jobs):
        self.jobs = list(jobs)
        return "a script"

    def ended(self):
        if isinstance(self.codes, BaseException):
            raise self.codes
        self.looks += 1
        for job in self.jobs[: self.looks]:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.touch()
        done = self.jobs[: self.looks - 1]
        return {job.shard: code for job, code in zip(done, self.codes, strict=False)}

    def stop(self):
        self.stopped = True


@pytest.fixture
def command(tmp_path):
    return read_command(["pytest", "experiments", "-k", "a b"], tmp_path)


def run(monkeypatch, command, tmp_path, engine, **options):
    monkeypatch.setattr(launching, "_EVERY", 0.0)
    monkeypatch.setattr(launching, "engine", lambda *_: engine)
    shown = io.StringIO()
    lines = launching.launch(command, 3, "script", Needs(), tmp_path, shown, **options)
    return lines, shown.getvalue().splitlines()


def test_shards_are_told_of_in_a_line_until_all_have_ended(monkeypatch, command, tmp_path):
    engine = Scripted([0, 0, 0])
    lines, shown = run(monkeypatch, command, tmp_path, engine)
    assert lines == [] and engine.stopped
    assert shown == [
        f"3 shards on a script; logs: {tmp_path}",
        "0/3 shards done, 1 running, 2 waiting",
        "1/3 shards done, 1 running, 1 waiting",
        "2/3 shards done, 1 running",
        "3/3 shards done",
    ]


def test_a_shard_that_ended_badly_is_named_with_its_reason_and_its_command(
    monkeypatch, command, tmp_path
):
    (tmp_path / "shard-2-of-3.log").write_text("from a launch before\n")
    engine = Scripted([0, 4, "the node died"])
    original = engine.start

    def start(jobs):
        assert not any(job.log.exists() for job in jobs)
        jobs[1].log.write_text("begun\nERROR: no such thing\n\n")
        return original(jobs)

    engine.start = start
    lines, shown = run(monkeypatch, command, tmp_path, engine)
    again = f"again: pytest experiments -k 'a b' --results-dir={tmp_path}/results --shard"
    log = tmp_path / "shard-2-of-3.log"
    assert lines == [
        f"shard 2/3 ended with 4 (ERROR: no such thing); {log}; {again} 2/3",
        f"shard 3/3 was lost: the node died; {tmp_path}/shard-3-of-3.log; {again} 3/3",
    ]
    assert shown[-1] == "1/3 shards done, 2 failed"


def test_an_interrupt_ends_the_shards(monkeypatch, command, tmp_path):
    engine = Scripted(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, command, tmp_path, engine)
    assert engine.stopped


def test_who_does_not_wait_is_told_what_was_started(monkeypatch, command, tmp_path):
    engine = Scripted([0], stays=True)
    lines, shown = run(monkeypatch, command, tmp_path, engine, wait=False)
    assert lines is None and not engine.stopped and len(engine.jobs) == 3 and len(shown) == 1
    with pytest.raises(InputError, match="--no-wait: --on script ends its shards"):
        run(monkeypatch, command, tmp_path, Scripted([0]), wait=False)


def test_jobs_share_the_cores_that_a_shard_has(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("PYTHONPATH", "here")
    monkeypatch.setenv("SECRET", "not for others")
    command = read_command(["pytest", "-n", "2"], tmp_path)
    jobs = launching.jobs_of(command, 12, Needs(cpus=8), Path("logs"))
    assert [job.shard for job in jobs] == [Shard(number, 12) for number in range(1, 13)]
    assert jobs[0].log.name == "shard-01-of-12.log" and jobs[0].folder == Path.cwd()
    assert jobs[0].environment["OMP_NUM_THREADS"] == "4"
    assert jobs[0].environment["PYTHONPATH"] == "here" and "SECRET" not in jobs[0].environment
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launching.jobs_of(command, 1, Needs(8), Path())[0].environment["OMP_NUM_THREADS"] == "1"
