"""Runs and commands without permission, and with things in the way of all that they write."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from functools import partial

import pytest
from campaign import Tally
from folders import DATA, pairs
from made import make_results
from sandbox import OF_MATPLOTLIB, Sandbox, changes, refusal, rude

LIKE_ANY_OTHER = -1
EXPERIMENT = """
import pytest


@pytest.mark.results("own/{model}_{emotion}_{heads}.json")
def exp_own(emotion, heads, record):
    record(words=[1.0 * len(pair.id) for pair in emotion.pairs])


@pytest.mark.results("shared/{model}.json", shape="scores")
def exp_shared(head, emotion, record):
    record(atp_ig=[1.0, 3.0], delta_out=2.0)
"""
IN_THE_WAY = ("a folder", "a file", "a loop", "a dangling link", "a FIFO")
_OF_A_RUN = re.compile(r"\d{8}T\d{12}-|index\.sqlite|\.pytest_cache|/lock$")
ACCEPTED: dict[tuple[str, ...], int] = {
    # What the store holds already is written nowhere again.
    **{("read-only", f"results/small/{name}"): 0 for name in ("tables", "shared", "own")},
}
"""What goes on all the same, and how it ends."""
COMMANDS = {
    "columns": ["columns", "--write=out/columns.md"],
    "init": ["init", "out/new"],
    "runs": ["runs"],
    "pack": ["pack"],
    "merge": ["merge", "results", "--into=out/joined"],
    "export": ["export", "--output-dir=out"],
    "export of files": ["export", "--format=files"],
    "report": ["report", "--output-dir=out"],
    "compare": ["compare", "--output-dir=out"],
    "diff": ["diff", "results/demo", "results/other", "--html=out/diff.html"],
    "view": ["view", "--output-dir=out"],
    "plots": ["plots", "--output-dir=out"],
}


@pytest.fixture(scope="module")
def sandbox(light, tmp_path_factory):
    made = Sandbox.made(tmp_path_factory.mktemp("run"), light, EXPERIMENT)
    shutil.copytree(DATA / "models/tiny-neo", made.work / "model")
    shutil.copytree(DATA / "lexicons", made.work / "data/lexicons")
    return made


@pytest.fixture(scope="module")
def of_commands(light, tmp_path_factory):
    made = Sandbox.made(tmp_path_factory.mktemp("commands"), light)
    make_results(made.work / "results/demo", models=("one",), emotions=("joy",))
    shutil.copytree(made.work / "results/demo", made.work / "results/other")
    assert made.emolib("runs").code == 0
    made.keep()
    return made


RUN = ("--model=model", "--html", "--item-files=always", "--junitxml=out.xml")


def made_by(sandbox, run):
    """Return what a run makes: by path whether it is a folder; not what is named anew each time."""
    before = sandbox.listing()
    done = run()
    assert done.code == 0, done.out
    found = sandbox.listing()
    sandbox.restore(before)
    return {
        name: kind.startswith("d")
        for name, (kind, *_) in found.items()
        if name not in before and not _OF_A_RUN.search(name) and not name.startswith(OF_MATPLOTLIB)
    }


def put(what, path):
    """Put a thing where something is to be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match what:
        case "a folder":
            path.mkdir()
            (path / "x").touch()
        case "a file":
            path.write_text("mine")
        case "a loop":
            path.symlink_to(path.name)
        case "a dangling link":
            path.symlink_to("nowhere")
        case "a FIFO":
            os.mkfifo(path)
        case _:
            raise ValueError(what)


def hindered(sandbox, name, run, code, *, is_begun=False):
    """Yield what is wrong with a run that cannot go on.

    What was there stays as it was, whatever else it has written before it met what is in the way.
    """
    before = sandbox.listing()
    done = run()
    yield from rude(done)
    if done.code != ACCEPTED.get(name, code):
        yield f"ended with {done.code}: {done.out[-600:]}"
    if done.code == code:
        yield from refusal(done, (code,))
    for change in changes(before, sandbox.listing()):
        is_made_again = is_begun and change.startswith("changed some/where/work/results/")
        if not (change.startswith("made ") or is_made_again or _OF_A_RUN.search(change)):
            yield change
    sandbox.restore(before)


def obstructed(sandbox, made, run, code, tally, size, label):
    """Try a run with everything in the way of every path that it makes."""
    every = [(name, what) for name, is_folder in made.items() for what in IN_THE_WAY
             if (what == "a folder") != is_folder]  # fmt: skip
    for name, what in every if size.is_whole else random.Random(0).sample(every, 1):
        before = sandbox.listing()
        put(what, sandbox.top / name)
        key = label, what, name.removeprefix("some/where/work/")
        tally.case(" ".join(key), hindered(sandbox, key, run, code))
        sandbox.restore(before)


def test_things_in_the_way_of_a_run(sandbox, size):
    tally = Tally("things in the way of what a run writes", size)

    run = partial(sandbox.pytest, *RUN)
    obstructed(sandbox, made_by(sandbox, run), run, 4, tally, size, "run")
    tally.end()


def test_things_in_the_way_of_commands(of_commands, size):
    tally = Tally("things in the way of what commands write", size)
    for command in COMMANDS if size.is_whole else ("columns",):
        run = partial(of_commands.emolib, *COMMANDS[command])
        obstructed(of_commands, made_by(of_commands, run), run, 2, tally, size, command)
    tally.end()


LOCKED = (
    "data/profiles/small.toml", "data/profiles", "data/pairs/gratitude.json", "data/pairs",
    "data/lexicons/gratitude.json", "data/lexicons/neutral.json", "data/lexicons", "model",
    "model/config.json", "model/model.safetensors", "model/tokenizer.json",
    "model/tokenizer_config.json", "given.json",
)  # fmt: skip
"""What is read, and may not be."""
NOT_THERE_YET = ("", "results")
READ_ONLY = ("results/small", "results/small/records", "results/small/tables",
             "results/small/shared", "results/small/own", "results/small/report")  # fmt: skip
"""Folders that are written to, and may not be."""


def test_without_permission(sandbox, size):
    tally = Tally("runs without permission", size)
    given = sandbox.write("given.json", json.dumps(pairs()))
    before = sandbox.listing()
    # Named outright: pytest itself looks into every folder otherwise.
    args = ["exp_effect.py", *RUN[:-1], "-p", "no:cacheprovider"]

    def run(*more):
        return sandbox.pytest(*args, *more, user=LIKE_ANY_OTHER)

    done = run()
    assert done.code == 0, done.out
    sandbox.restore(before)
    for name in LOCKED if size.is_whole else ():
        path = sandbox.work / name
        mode = path.stat().st_mode
        more = ["--prompts-file=given.json"] if path == given else []
        path.chmod(0)
        tally.case(
            f"may not read {name}", hindered(sandbox, ("locked", name), partial(run, *more), 4)
        )
        path.chmod(mode)
    for name in NOT_THERE_YET if size.is_whole else NOT_THERE_YET[:1]:
        (sandbox.work / name).mkdir(exist_ok=True)
        (sandbox.work / name).chmod(0o555)
        tally.case(f"read-only {name}", hindered(sandbox, ("begin", name), run, 4))
        (sandbox.work / name).chmod(0o755)
    for name in READ_ONLY if size.is_whole else ():
        for more in ((), ("--fresh",)):
            done = run()
            assert done.code == 0, done.out
            (sandbox.work / name).chmod(0o555)
            case = ("read-only", name, *more)
            again = hindered(sandbox, case, partial(run, *more), 4, is_begun=True)
            tally.case(" ".join(case), again)
            (sandbox.work / name).chmod(0o755)
            shutil.rmtree(sandbox.work / "results")
    given.unlink()
    tally.end()
