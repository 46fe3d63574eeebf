"""A disk without room: one line, exit code 4, and what was recorded stays and is gone on with."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from contextlib import contextmanager

import pytest
from campaign import Tally
from forks import rude
from place import MANY, Place

PAGE = 4096
ENOUGH = "size=64m,nr_inodes=10k"


def mount(*args):
    return subprocess.run(["mount", *args], capture_output=True, text=True, check=False)


@contextmanager
def disk(where):
    """Have a small disk at a folder, or skip where none can be had."""
    if os.geteuid() != 0 or (done := mount("-t", "tmpfs", "-o", ENOUGH, "tmpfs", where)).returncode:
        pytest.skip(f"no tmpfs can be mounted: {'not root' if os.geteuid() else done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", where], check=True)


@pytest.fixture(scope="module")
def place(light, tmp_path_factory):
    made = Place.made(tmp_path_factory.mktemp("disk") / "at", light, MANY)
    made.results.parent.mkdir()
    with disk(str(made.results.parent)):
        yield made


def used(place):
    """Return how many bytes and files a whole run takes."""
    done = place.run()
    assert done.code == 0, done.out
    found = os.statvfs(place.results)
    taken = (found.f_blocks - found.f_bfree) * PAGE, found.f_files - found.f_ffree
    place.empty()
    return taken


@pytest.mark.parametrize(("kind", "small", "whole"), [("size", 4, 48), ("nr_inodes", 1, 16)])
def test_no_room(place, size, kind, small, whole):
    tally = Tally(f"no room: {'bytes' if kind == 'size' else 'files'}", size)
    room, files = used(place)
    least, most = (PAGE, int(1.1 * room)) if kind == "size" else (3, files + 2)
    count = size.of(small, whole)
    sizes = [least + (most - least) * n // (count - 1) for n in range(count)] if count > 1 else [9]
    found = Counter()
    for number, limit in enumerate(sizes):
        workers = ("-n", "2") if number % 4 == 3 and size.is_whole else ()
        done = mount("-o", f"remount,{kind}={limit}", str(place.results.parent))
        assert done.returncode == 0, done.stderr
        done = place.run(*workers)
        problems = [*rude(done), *place.problems({})]
        found[done.code] += 1
        if done.code == pytest.ExitCode.USAGE_ERROR:
            if len(done.errors) != 1 or "make room for it" not in done.errors[0]:
                problems.append(f"said {done.errors}")
        elif done.code != 0:
            problems.append(f"ended with {done.code}: {done.out[-1500:]}")
        if hidden := list(place.results.rglob(".*.part")):
            problems.append(f"left {hidden}")
        found["rows kept"] += len(place.rows())
        assert mount("-o", f"remount,{ENOUGH}", str(place.results.parent)).returncode == 0
        what = f"{limit} {kind} {' '.join(workers)}"
        tally.case(what, [*problems, *place.unfinished()])
        place.empty()
    assert found[pytest.ExitCode.USAGE_ERROR] > count / 3
    tally.end(**{str(code): n for code, n in found.items()})


def test_no_room_while_a_run_writes(place, size):
    """Room that somebody else takes away, and gives back, between any two items."""
    tally = Tally("no room in the middle of a run", size)
    room, _ = used(place)
    draw = random.Random(7)
    for _ in range(size.of(1, 12)):
        limit = draw.randrange(room // 8, room)
        mount("-o", f"remount,size={limit}", str(place.results.parent))
        first = place.run("--item-files=never")
        kept = place.rows()
        mount("-o", f"remount,{ENOUGH}", str(place.results.parent))
        second = place.run("--item-files=never")
        problems = [*rude(first), *rude(second), *place.problems(kept)]
        if second.code != 0 or len(place.rows()) != len(place.whole):
            problems.append(f"the run after it ended with {second.code}")
        tally.case(f"{limit} bytes", problems)
        place.empty()
    tally.end()
