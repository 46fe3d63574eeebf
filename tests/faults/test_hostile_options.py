"""Hostile values for every option of the plugin and every argument of every command."""

from __future__ import annotations

import random

import pytest
from campaign import Tally
from hostile_values import PLACES, TEXTS, places
from pytest_emolib.options import OPTIONS
from sandbox import Sandbox, changes, refusal, rude, settings

VALUES = TEXTS | PLACES
FOR_EVERY = (
    "empty", "blanks", "newlines", "long", "many digits", "minus", "nan", "not UTF-8", "escape",
    "up", "zeros", "full", "formula", "option", "semicolons", "format", "a folder", "a FIFO",
    "a loop of links", "bytes", "a deep list", "below a file",
)  # fmt: skip
"""What every option is given; what its own kind is given beside them: `OWN`."""
NUMBERS = (
    "zero", "one", "plus", "underscored", "padded", "huge", "fraction", "exponent", "hex", "inf",
    "true", "none", "arabic digits", "superscript", "percent",
)  # fmt: skip
SPECS = (
    "head", "head twice", "no such head", "minus head", "spaced head", "arabic head", "top none",
    "top minus", "random many", "layer text", "layer far", "arabic digits", "list", "long path",
)  # fmt: skip
OWN = {
    "--head-spec": SPECS,
    "--unit-spec": SPECS,
    "--shard": ("shard none", "shard beyond", "shard", *NUMBERS),
    **dict.fromkeys(("--max-new-tokens", "--seed", "--batch-size", "--verify"), NUMBERS),
}
PLACED = ("dots", "dot", "absolute", "null", "long path", "a dangling link", "an empty file", "key")
_LITERALLY = {
    "minus": "-1", "nan": "nan", "formula": "=cmd|' ", "option": "-n", "semicolons": "a;b;c",
    "format": "%s{0}{name}%(x)s", "key": "a=b", "up": "../../x",
}  # fmt: skip
ACCEPTED: dict[tuple[str, str], str] = {
    ("--head-spec", "head"): '0: heads=["0:0"], items=["tiny-neo-gratitude-L0H0"]',
    ("--unit-spec", "head"): '0: units=["0:0"]',
    ("--verify", "zero"): "0: verify=0",
    # As the profile has it.
    ("--verify", "one"): "0",
    ("--verify", "arabic digits"): "0: verify=12",
    ("--max-new-tokens", "one"): "0: max_new_tokens=1",
    ("--max-new-tokens", "plus"): "0: max_new_tokens=1",
    # Numbers as Python reads them.
    ("--max-new-tokens", "underscored"): "0: max_new_tokens=10",
    ("--max-new-tokens", "padded"): "0: max_new_tokens=7",
    ("--max-new-tokens", "arabic digits"): "0: max_new_tokens=12",
    # No number follows from it.
    ("--batch-size", "one"): "0",
    ("--batch-size", "arabic digits"): "0",
    ("--seed", "zero"): "0",
    ("--seed", "one"): "0: seed=1",
    ("--seed", "plus"): "0: seed=1",
    ("--seed", "underscored"): "0: seed=10",
    ("--seed", "padded"): "0: seed=7",
    ("--seed", "arabic digits"): "0: seed=12",
    ("--seed", "huge"): "0: seed=10000000000",
    ("--shard", "shard"): "0",
    # Folders that can be made are made, and pytest takes the last of two.
    **{("--results-dir", name): f"0: {where}" for name, where in _LITERALLY.items()},
    ("--results-dir", "a folder"): "0: things/folder/small",
    ("--results-dir", "a folder as a word"): "0: things/folder/small",
    ("--results-dir", "dots"): "0: ../small",
    ("--results-dir", "dot"): "0: small",
    ("--results-dir", "twice"): "0: y",
    # What stands alone is what it stands for, and the rest an option of its own.
    ("--item-files", "an option for a value"): "0",
    ("--html", "an option for a value"): "0",
}
"""What is no refusal, and what came of it otherwise than of a run without the option."""


def given(option):
    """Return by name what an option is given."""
    own = OWN.get(option.flag, PLACED if option.is_place or option.metavar == "FILE" else ())
    return [*FOR_EVERY, *own]


def typed():
    """Yield (name, arguments) of everything that is typed at pytest."""
    for option in OPTIONS:
        if option.metavar is None:
            yield (option.flag, "a value of a switch"), [f"{option.flag}=1"]
            continue
        for name in given(option):
            yield (option.flag, name), [f"{option.flag}={VALUES[name]}"]
        if option.alone is None:
            yield (option.flag, "nothing at the end"), [option.flag]
        yield (option.flag, "an option for a value"), [option.flag, "--fresh"]
        yield (option.flag, "an empty word"), [option.flag, ""]
        yield (option.flag, "a folder as a word"), [option.flag, "things/folder"]
        if not option.repeats:
            yield (option.flag, "twice"), [f"{option.flag}=x", f"{option.flag}=y"]


@pytest.fixture(scope="module")
def sandbox(light, tmp_path_factory):
    made = Sandbox.made(tmp_path_factory.mktemp("options"), light)
    places(made.work)
    return made


@pytest.fixture(scope="module")
def usual(sandbox):
    """Give the settings of a run without options."""
    before = sandbox.listing()
    done = sandbox.pytest()
    assert done.code == 0, done.out
    (segment,) = sandbox.work.rglob("*.jsonl")
    found = settings(segment)
    sandbox.restore(before)
    return found


def tried(sandbox, usual, name, args, accepted, **how):
    """Yield what is wrong with a run of pytest."""
    before = sandbox.listing()
    done = sandbox.pytest(*args, **how)
    yield from rude(done)
    if done.code == 4:
        yield from refusal(done, (4,))
        yield from changes(before, sandbox.listing())
    did = "" if done.code == 4 else f"{done.code}: {sandbox.did(before, usual)}".removesuffix(": ")
    if did != accepted.get(name, ""):
        yield f"did {did!r}, not {accepted.get(name, '')!r}: {done.out[-300:]}"
    sandbox.restore(before)


def test_values_of_options(sandbox, usual, size):
    tally = Tally("hostile values of the options of pytest", size)
    every = list(typed())
    for name, args in every if size.is_whole else random.Random(0).sample(every, 5):
        tally.case(" ".join(name), tried(sandbox, usual, name, args, ACCEPTED))
    tally.end()


ENVIRONMENT = (
    "XDG_CACHE_HOME", "HOME", "TMPDIR", "COLUMNS", "LANG", "HF_HOME", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)  # fmt: skip
SET_TO = (
    "empty", "newlines", "long", "many digits", "minus", "nan", "not UTF-8", "escape", "a FIFO",
    "a loop of links", "below a file", "zeros",
)  # fmt: skip


def test_environment(sandbox, usual, size):
    """Whatever variables are set to, a run does what it does without."""
    tally = Tally("hostile variables of the environment", size)
    every = [(name, value) for name in ENVIRONMENT for value in SET_TO]
    for name, value in every if size.is_whole else random.Random(0).sample(every, 1):
        text = str(sandbox.work / PLACES[value]) if value in PLACES else TEXTS[value]
        key = name, value
        tally.case(" ".join(key), tried(sandbox, usual, key, (), {key: "0"}, env={name: text}))
    tally.end()


def test_zeros_in_an_ini_file(sandbox, usual, size):
    """No command line can hold a NUL; ``addopts`` can."""
    tally = Tally("NUL in the values of options", size)
    ini = (sandbox.work / "pytest.ini").read_text("utf-8")
    # Of --profile the one that is typed goes.
    flags = [o.flag for o in OPTIONS if o.metavar is not None and o.flag != "--profile"]
    for flag in flags if size.is_whole else flags[:1]:
        for value in ("a\0b", "\0"):
            sandbox.write("pytest.ini", f"{ini}\naddopts = {flag}={value}\n")
            tally.case(f"{flag} {value!r}", tried(sandbox, usual, (flag, "NUL"), (), {}))
    sandbox.write("pytest.ini", ini)
    tally.end()
