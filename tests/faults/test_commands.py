"""Hostile values for every argument of every command, in a folder with results of a run."""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

import pytest
from campaign import Tally
from hostile_values import PLACES, TEXTS, places
from made import make_results
from sandbox import Sandbox, changes, refusal, rude

from emolib.__main__ import _parser
from emolib.commands import shared

VALUES = TEXTS | PLACES
FOR_EVERY = (
    "empty", "blanks", "newlines", "long", "many digits", "minus", "zero", "nan", "not UTF-8",
    "escape", "bidi", "zeros", "full", "formula", "option", "format", "list", "a folder", "a FIFO",
    "a loop of links", "a dangling link", "bytes", "below a file", "a deep list", "up",
)  # fmt: skip
NUMBERS = ("one", "plus", "underscored", "padded", "huge", "fraction", "exponent", "hex", "inf",
           "arabic digits", "superscript", "true")  # fmt: skip
GOOD = {
    ("init", "folder"): ["new"],
    ("diff", "a"): ["results/demo"],
    ("diff", "b"): ["results/other"],
    ("launch", "shards"): ["--shards=2"],
    ("launch", "words"): ["--", "pytest"],
}
"""What the others are given while one is hostile; launch has no pytest of any profile to run."""
SHARED = {
    "profile": ("runs", "diff"),
    "results_dir": ("runs", "merge"),
    "output_dir": ("report", "export"),
    "head_scores": ("compare",),
    "emotion": ("report",),
    "of_run": ("export",),
}
"""Arguments that many commands have, and which of them are given all of it."""
LEFT_OUT = {("models", "model"), ("models", "write")}
"""What takes torch (`test_model_folders`), or minutes."""
PLACED = {
    "minus": "-1", "nan": "nan", "zero": "0", "formula": "=cmd|' ", "option": "-n", "list": "a,b",
    "format": "%s{0}{name}%(x)s", "up": "../../x",
}  # fmt: skip
"""Names that a file or a folder may have, and what is made of them."""
NOTHING, OBEYED = ("empty", "blanks"), ("newlines", "not UTF-8", "escape", "bidi")
COUNTED = ("one", "huge", "arabic digits")
ALMOST = ("plus", "underscored", "padded", "fraction")
ACCEPTED: dict[tuple[str, str, str], str] = {
    **{
        (command, place, name): f"0: {made}"
        for command, place in (
            ("init", "folder"), ("plots", "--output-dir"), ("report", "--output-dir"),
            ("view", "--output-dir"), ("compare", "--output-dir"), ("export", "--output-dir"),
            ("columns", "--write"), ("diff", "--html"),
        )
        for name, made in PLACED.items()
    },
    # An option in its place.
    ("init", "folder", "option"): "",
    ("init", "folder", "a folder"): "0: things/folder/data, things/folder/exp_first.py, 1 more",
    ("plots", "--output-dir", "a folder"): "0: things/folder/ablation_sentiment_comparison.png, "
    "things/folder/effect_by_layer.png, 6 more",
    ("report", "--output-dir", "a folder"): "0: things/folder/head_analysis_report.md, "
    "things/folder/references.bib, 1 more",
    ("view", "--output-dir", "a folder"): "0: things/folder/index.html",
    ("compare", "--output-dir", "a folder"): "0: things/folder/model_comparison.csv, "
    "things/folder/model_comparison.md",
    ("export", "--output-dir", "a folder"): "0: things/folder/attention_patterns.csv, "
    "things/folder/attention_patterns_prompts.csv, 6 more",
    **{(command, "--top-n", n): "0" for command in ("plots", "report", "diff") for n in COUNTED},
    **{("view", "--max-mb", n): "0" for n in (*COUNTED, *ALMOST)},
    # Of two folders it is not asked whose they are, or where.
    **{("diff", "--profile", n): "0" for n in FOR_EVERY if n not in NOTHING},
    **{("diff", "--results-dir", n): "0" for n in FOR_EVERY if n not in (*NOTHING, *OBEYED)},
    # They take the place of the file that is there.
    **{
        (command, option, name): f"0: changed some/where/work/{VALUES[name]}"
        for command, option in (("columns", "--write"), ("diff", "--html"))
        for name in ("bytes", "a deep list")
    },
}  # fmt: skip
"""What is no refusal, and what it made outside of the results folder."""


def commands():
    """Yield by name the arguments of every command, as argparse has them."""
    (subparsers,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in subparsers.choices.items():
        yield name, [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]


def given(command, action):
    """Return by name what an argument is given; what many commands take, a few of it by each."""
    several = action.dest in SHARED and command not in SHARED[action.dest]
    every = random.Random(f"{command} {action.dest}").sample(FOR_EVERY, 4 if several else 25)
    return [
        *every,
        *(NUMBERS if action.type not in (None, Path, shared.name, shared.place) else ()),
    ]


def typed():
    """Yield (name, arguments) of everything that is typed at emolib."""
    for command, actions in commands():
        for action in actions:
            if (command, action.dest) in LEFT_OUT or command == "models":
                continue
            others = [
                word
                for other in actions
                if other is not action
                for word in GOOD.get((command, other.dest), ())
            ]
            flag = action.option_strings[0] if action.option_strings else ""
            if action.nargs == 0:
                yield (command, flag, "a value"), [command, f"{flag}=1", *others]
                continue
            for name in given(command, action):
                value = VALUES[name]
                if flag:
                    yield (command, flag, name), [command, f"{flag}={value}", *others]
                elif action.dest == "words":
                    yield (command, action.dest, name), [command, *others, "--", "pytest", value]
                else:
                    at = {"a": 0}.get(action.dest, len(others))
                    words = [*others[:at], value, *others[at:]]
                    yield (command, action.dest, name), [command, *words]
    yield ("", "command", "none"), []
    yield ("", "command", "unknown"), ["x\n"]


@pytest.fixture(scope="module")
def sandbox(light, tmp_path_factory):
    made = Sandbox.made(tmp_path_factory.mktemp("commands"), light)
    make_results(made.work / "results/demo", models=("one",), emotions=("joy",))
    shutil.copytree(made.work / "results/demo", made.work / "results/other")
    places(made.work)
    # The index is made by whoever reads first.
    assert made.emolib("runs").code == 0
    made.keep()
    return made


def tried(sandbox, name, args):
    """Yield what is wrong with a command."""
    before = sandbox.listing()
    done = sandbox.emolib(*args)
    yield from rude(done)
    if done.code == 2:
        of_argparse = ": error: " in done.out and not done.errors
        yield from () if of_argparse else refusal(done, (2,))
        yield from changes(before, sandbox.listing())
    did = "" if done.code == 2 else f"{done.code}: {sandbox.did(before, {})}".removesuffix(": ")
    if did != ACCEPTED.get(name, ""):
        yield f"did {did!r}, not {ACCEPTED.get(name, '')!r}: {done.out[-200:]}"
    sandbox.restore(before)


def test_arguments_of_commands(sandbox, size):
    tally = Tally("hostile arguments of commands", size)
    every = list(typed())
    for name, args in every if size.is_whole else random.Random(0).sample(every, 4):
        tally.case(" ".join(name), tried(sandbox, name, args))
    tally.end()
