"""Runs that are killed, interrupted or lose a worker: no row lost, doubled or changed, no hang."""

from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import replace

import pytest
from campaign import Tally
from forks import rude
from place import FEW, MANY, Place

FILES = (
    "emolib/files.py",
    *(f"emolib/results/{name}.py" for name in (
        "records", "segments", "index", "intake", "events", "lines", "item_files", "made",
        "reading",
    )),
    "pytest_emolib/writing.py",
)  # fmt: skip
"""What writes: every line that a run has in them is a point to strike at."""
LEFT_OPEN = ("-W", "ignore::ResourceWarning",
             "-W", "ignore::pytest.PytestUnraisableExceptionWarning")  # fmt: skip
"""Between a file's opening and the block that closes it, an interrupt leaves it to be collected."""
SLOWLY = {"PAUSE": "0.004"}


@pytest.fixture(scope="module")
def many(light, tmp_path_factory):
    return Place.made(tmp_path_factory.mktemp("kills") / "many", light, MANY)


@pytest.fixture(scope="module")
def few(light, tmp_path_factory):
    return Place.made(tmp_path_factory.mktemp("kills") / "few", light, FEW)


def moments(seconds, count, seed):
    draw = random.Random(seed)
    return [draw.uniform(0, seconds) for _ in range(count)]


def is_orphan_s(out):
    """Tell what execnet prints of a worker that it starts while pytest itself is killed."""
    said = out[out.find("Traceback") :]
    return "emolib" not in said and 'File "<string>", line 5' in said and "BrokenPipe" in said


@pytest.mark.parametrize(("workers", "small", "whole"), [((), 6, 140), (("-n", "2"), 1, 60)])
def test_killed_at_random(many, size, workers, small, whole):
    tally = Tally(f"SIGKILL at random, {' '.join(workers) or 'serial'}", size)
    seconds = many.run(*workers, env=SLOWLY).seconds
    many.empty()
    found = Counter()
    draw = random.Random(1)
    for moment in moments(seconds, size.of(small, whole), 0):
        before = many.rows()
        whom = draw.choice(["all", "main"])
        done = many.run(*workers, env=SLOWLY, strike=[(moment, signal.SIGKILL, whom)])
        found["met a run"] += done.code == -signal.SIGKILL
        found["left rows"] += len(many.rows()) > len(before)
        orphaned = whom == "main" and is_orphan_s(done.out)
        found["orphans at their start"] += orphaned
        seen = rude(replace(done, out="") if orphaned else done)
        tally.case(f"{whom} at {moment:.3f} s", [*seen, *many.problems(before)])
        if len(many.rows()) == len(many.whole):
            tally.bad += list(many.unfinished(*workers))
            many.empty()
    tally.bad += list(many.unfinished(*workers))
    assert found["met a run"] > tally.tried / 3
    tally.end(**found)


@pytest.fixture(scope="module")
def points(few):
    """Give of each line that writes when it is met, once by chance."""
    few.empty()
    met = few.path / "met"
    few.run(point=(FILES, 0, 0), met=met)
    few.empty()
    lines = met.read_text().split()
    met.unlink()
    draw, met_at = random.Random(0), {}
    for number, line in enumerate(lines, 1):
        met_at.setdefault(line, []).append(number)
    assert len(met_at) > 300
    return sorted(draw.choice(at) for at in met_at.values())


def test_killed_at_every_line_that_writes(few, size, points):
    tally = Tally("SIGKILL at every line that writes", size)
    chosen = points if size.is_whole else random.Random(2).sample(points, 5)
    for number in chosen:
        done = few.run(point=(FILES, number, signal.SIGKILL))
        problems = [*rude(done), *few.problems({})]
        if done.code != -signal.SIGKILL:
            problems.append(f"was to be killed, ended with {done.code}")
        tally.case(f"line {number}", [*problems, *few.unfinished()])
        few.empty()
    tally.end()


def test_interrupted_at_every_line_that_writes(few, size, points):
    """Ctrl-C between any two lines: exit code 2, tables of what is there, no traceback."""
    tally = Tally("Ctrl-C at every line that writes", size)
    chosen = points if size.is_whole else random.Random(3).sample(points, 5)
    for number in chosen:
        done = few.run(*LEFT_OPEN, point=(FILES, number, signal.SIGINT))
        problems = [*rude(done), *few.problems({})]
        if done.code != pytest.ExitCode.INTERRUPTED:
            problems.append(f"ended with {done.code}: {done.out[-1500:]}")
        tally.case(f"line {number}", [*problems, *few.unfinished()])
        few.empty()
    tally.end()


@pytest.mark.parametrize(
    ("workers", "small", "whole"),
    [((), 3, 40), pytest.param(("-n", "2"), 1, 40, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_at_random(many, size, workers, small, whole, times):
    tally = Tally(f"Ctrl-C, {times} ×, {' '.join(workers) or 'serial'}", size)
    seconds = many.run(*workers, env=SLOWLY).seconds
    many.empty()
    # Before pytest has begun it ends as any program of Python does.
    start = 0.35 * seconds if workers else 0.3
    for moment in moments(seconds - start, size.of(small, whole), 4):
        at = start + moment
        strike = [(at + 0.2 * n, signal.SIGINT, "all") for n in range(times)]
        done = many.run(*LEFT_OPEN, *workers, env=SLOWLY, strike=strike)
        problems = [*rude(done), *many.problems({})]
        if done.struck and done.code not in (0, pytest.ExitCode.INTERRUPTED):
            problems.append(f"ended with {done.code}: {done.out[-1500:]}")
        if times == 2 and done.seconds > at + 0.2 + 3:
            problems.append(f"ended {done.seconds - at - 0.2:.1f} s after the second")
        tally.case(f"at {at:.3f} s", problems)
        if random.Random(at).random() < 0.2:
            tally.bad += list(many.unfinished())
        many.empty()
    tally.end()


def test_workers_killed(many, size):
    """A worker that dies costs its item alone, and the run ends with a count."""
    tally = Tally("SIGKILL of a worker, -n 2", size)
    args = ("-n", "2")
    seconds = many.run(*args, env=SLOWLY).seconds
    many.empty()
    found = Counter()
    draw = random.Random(5)
    for moment in moments(0.8 * seconds, size.of(1, 50), 6):
        whom = str(draw.randrange(2))
        strike = [(0.2 * seconds + moment, signal.SIGKILL, whom)]
        done = many.run(*args, env=SLOWLY, strike=strike)
        problems = [*rude(done), *many.problems({})]
        missing = len(many.whole) - len(many.rows())
        if done.code not in (0, 1):
            problems.append(f"ended with {done.code}: {done.out[-1500:]}")
        if missing > 1:
            problems.append(f"{missing} items are missing: {done.out[-1500:]}")
        found["cost an item"] += missing == 1
        tally.case(f"worker {whom} at {strike[0][0]:.3f} s", [*problems, *many.unfinished()])
        many.empty()
    tally.end(**found)
