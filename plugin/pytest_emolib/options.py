"""The command line options, one table. Loaded with pytest itself, so it imports next to nothing."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest

# More digits than Python makes a number of.
_NO_NUMBER = re.compile(r"\d{4000,}")


def _text(value: str) -> str:
    """Return what was typed for an option.

    Raises:
        argparse.ArgumentTypeError: When that is nothing, which would pass for the default.
    """
    if not value.strip():
        raise argparse.ArgumentTypeError("expected a value, got nothing; leave the option out")
    if found := _NO_NUMBER.search(value):
        raise argparse.ArgumentTypeError(f"a number of {len(found[0])} digits")
    return value


def _whole(value: str) -> int:
    """Return a whole number that was typed."""
    try:
        return int(_text(value))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {value[:40]!r}") from None


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        flag: As it is typed.
        help: What ``--help`` says.
        metavar: What stands for its value there; None of an option that takes none.
        key: The field of the profile that it goes over; None where it goes over none. What that
            decides, and whether it is in the key of a row, the field itself says
            (`emolib.inputs.profiles`); options without a key decide no number.
        is_value: Whether its value is that of the field; else `settings` makes the field of it.
        is_place: Whether its value may be a path.
        repeats: Whether it may be given several times.
        type: What a value is made with.
        alone: Its value where the flag stands alone; None where it may not.
    """

    flag: str
    help: str
    metavar: str | None = None
    key: str | None = None
    is_value: bool = True
    is_place: bool = False
    repeats: bool = False
    type: Callable[[str], int] | None = None
    alone: str | None = None

    @property
    def dest(self) -> str:
        """The name that pytest keeps it under."""
        return "emolib_" + self.flag.strip("-").replace("-", "_")

    @property
    def how(self) -> dict[str, Any]:
        """How argparse reads it."""
        if self.metavar is None:
            return {"action": "store_true"}
        said: dict[str, Any] = {"metavar": self.metavar}
        if self.repeats:
            said["action"] = "append"
        said["type"] = self.type or _text
        if self.alone is not None:
            said |= {"nargs": "?", "const": self.alone}
        return said


OPTIONS = (
    Option(
        "--profile",
        "what to run: demo (default: the embedded models), baseline, extended, or a .toml file of "
        "your own",
        "NAME",
        is_place=True,
    ),
    Option(
        "--model",
        "run this model, not the profile's: an embedded name, a local folder, a .gguf file or a "
        "Hub id; repeatable",
        "ID",
        key="models",
        is_place=True,
        repeats=True,
    ),
    Option(
        "--head-spec",
        "3:5: head 5 of layer 3; 0:0,0:1,3:5: these together; all, layer:3, top:10 (by |atp_ig|) "
        "or random:10: one head at a time; repeatable",
        "SPEC",
        key="heads",
        repeats=True,
    ),
    Option(
        "--unit-spec",
        "3:1021: MLP unit 1021 of layer 3; 3:1021,3:77: these together; top:10 (by |atp|) or "
        "random:10: one unit at a time; repeatable",
        "SPEC",
        key="units",
        repeats=True,
    ),
    Option(
        "--prompts-file",
        "aligned pairs of an emotion, in place of the profile's; repeatable",
        "FILE",
        key="files",
        is_value=False,
        is_place=True,
        repeats=True,
    ),
    Option(
        "--emotion-prompts",
        "a free list of emotion prompts, in place of the pairs; repeatable",
        "[EMOTION=]FILE",
        key="files",
        is_value=False,
        is_place=True,
        repeats=True,
    ),
    Option(
        "--neutral-prompts",
        "a free list of neutral prompts, in place of the pairs",
        "FILE",
        key="files",
        is_value=False,
        is_place=True,
    ),
    Option(
        "--ranking",
        "circuits take heads in the order of this file, not of screening: names, or importance "
        "scores as MIB's circuit track has them; repeatable",
        "[EMOTION=]FILE",
        key="files",
        is_value=False,
        is_place=True,
        repeats=True,
    ),
    Option(
        "--probe-test",
        "aligned pairs of an emotion that probes of the profile's prompts are tested on; "
        "repeatable",
        "FILE",
        key="files",
        is_value=False,
        is_place=True,
        repeats=True,
    ),
    Option(
        "--chat",
        "put prompts to the model as the user's turn of its chat template",
        key="chat",
    ),
    Option(
        "--system",
        "with --chat: a system turn before it, where a prompt has none of its own",
        "TEXT",
        key="system",
    ),
    Option(
        "--classifier",
        "a folder with a sequence classifier of transformers (safetensors) that reads the "
        "continuations: each of its labels is a metric; repeatable",
        "DIR",
        key="classifiers",
        is_place=True,
        repeats=True,
    ),
    Option(
        "--ablation",
        "what takes the place of what is ablated: zero, mean, resample or optimal; repeatable",
        "KIND",
        key="ablations",
        repeats=True,
    ),
    Option(
        "--circuit-ablation",
        "what becomes of the heads outside a circuit: patch (default), zero or mean",
        "KIND",
        key="circuit_ablation",
    ),
    Option(
        "--position",
        "where in the prompt interventions edit: last, slot, after_slot or all",
        "WHERE",
        key="position",
    ),
    Option(
        "--patch-generated",
        "patch at every generated token too, with z of the paired prompt's last token",
        key="patch_generated",
    ),
    Option(
        "--verify",
        "how many of screening's strongest heads are patched exactly (default: 5), beside a random "
        "sample of the others that bounds what the ranking missed; all: every head",
        "N|all",
        key="verify",
        is_value=False,
    ),
    Option(
        "--max-new-tokens",
        "length of greedy continuations, in tokens",
        "N",
        key="max_new_tokens",
        type=_whole,
    ),
    Option(
        "--results-dir",
        "where results go, a folder per profile inside (default: results)",
        "DIR",
        is_place=True,
    ),
    Option(
        "--device",
        "torch device (default: cpu), or auto: cuda if there is one, else mps, else cpu",
        "NAME",
        key="device",
    ),
    Option("--dtype", "float32 (default), float64, bfloat16 or float16", "NAME", key="dtype"),
    Option(
        "--batch-size",
        "prompts per forward (default: auto)",
        "N|auto",
        key="batch_size",
        is_value=False,
    ),
    Option("--seed", "seed of every draw", "N", key="seed", type=_whole),
    Option(
        "--item-files",
        "write a results file per item: auto (default: in runs of up to 500 items), always (the "
        "option alone) or never; those that are there are kept up to date",
        "WHEN",
        alone="always",
    ),
    Option("--fresh", "compute anew what the store already holds"),
    Option("--plan", "print what would run and what it costs; run nothing"),
    Option(
        "--shard",
        "run the I-th of N parts of the items, each about as long; what is computed together is "
        "never split; `emolib merge` joins the results",
        "I/N",
    ),
    Option(
        "--effects-save",
        "save the effects of declared heads as the baseline NAME (default: baseline)",
        "NAME",
        alone="baseline",
    ),
    Option(
        "--effects-compare",
        "compare the effects of declared heads with the baseline NAME (default: baseline) and fail "
        "where one has drifted; with -m gated nothing else runs",
        "NAME",
        alone="baseline",
    ),
    Option(
        "--effects-strict",
        "with --effects-compare: fail, too, where the pairs do not tell whether an effect drifted",
    ),
    Option(
        "--effects-json", "with --effects-compare: write what became of the effects as JSON", "FILE"
    ),
    Option(
        "--effects-new-weights",
        "with --effects-compare: compare although a model's weights are not the baseline's",
    ),
    Option(
        "--tables",
        "what is printed at the end: short (default: a line per model and emotion), all (a table "
        "per experiment) or none",
        "HOW",
    ),
    Option(
        "--html",
        "write report/index.html at the end: one page to explore the results in, which needs no "
        "network; --emolib-html where pytest-html is installed, whose own --html is",
    ),
    Option("--table-format", "any format of tabulate (default: simple)", "FMT"),
)
HTML, HTML_BESIDE = "--html", "--emolib-html"
_BY_FLAG = {option.flag: option for option in OPTIONS}


def add_options(parser: pytest.Parser) -> None:
    """Add the options to pytest's."""
    group = parser.getgroup("emolib", "experiments on heads (emolib)")
    for option in OPTIONS:
        # Two plugins with one option end every run of pytest.
        taken = option.flag == HTML and find_spec("pytest_html")
        flag = HTML_BESIDE if taken else option.flag
        group.addoption(flag, dest=option.dest, default=None, help=option.help, **option.how)


def given(config: pytest.Config) -> bool:
    """Tell whether any of the options was given."""
    return any(config.getoption(option.dest) is not None for option in OPTIONS)


def get(config: pytest.Config, flag: str) -> Any:
    """Return the value of one option."""
    return config.getoption(_BY_FLAG[flag].dest)


def overrides(config: pytest.Config) -> dict[str, Any]:
    """Return by field of the profile what was given for it, None where nothing was."""
    found: dict[str, Any] = {}
    for option in OPTIONS:
        if option.key is not None and option.is_value:
            value = config.getoption(option.dest)
            found[option.key] = tuple(value) if isinstance(value, list) else value
    return found


def flag_of(key: str) -> str:
    """Return the option over a field of the profile, the field's own name where there is none."""
    return next((option.flag for option in OPTIONS if option.key == key), key)
