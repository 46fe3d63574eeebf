"""The command line options. Loaded with pytest itself, so it imports next to nothing."""

from __future__ import annotations

from typing import Any

import pytest

_FLAGS: dict[str, dict[str, Any]] = {
    "--profile": {
        "metavar": "NAME",
        "help": "what to run: demo (default: the embedded models), baseline, extended, or a "
        ".toml file of your own",
    },
    "--model": {
        "metavar": "ID",
        "action": "append",
        "help": "run this model, not the profile's: an embedded name, a local folder, a .gguf "
        "file or a Hub id; repeatable",
    },
    "--head-spec": {
        "metavar": "SPEC",
        "action": "append",
        "help": "3:5 one head; 0:0,0:1,3:5 a joint set; all, layer:3, top:10 (by |atp_ig|) or "
        "random:10 one head at a time; repeatable",
    },
    "--unit-spec": {
        "metavar": "SPEC",
        "action": "append",
        "help": "3:1021 one MLP unit; 3:1021,3:77 a joint set; top:10 (by |atp|) or random:10 one "
        "unit at a time; repeatable",
    },
    "--prompts-file": {
        "metavar": "FILE",
        "action": "append",
        "help": "aligned pairs of an emotion, in place of the profile's; repeatable",
    },
    "--emotion-prompts": {
        "metavar": "[EMOTION=]FILE",
        "action": "append",
        "help": "a free list of emotion prompts, in place of the pairs; repeatable",
    },
    "--neutral-prompts": {
        "metavar": "FILE",
        "help": "a free list of neutral prompts, in place of the pairs",
    },
    "--ablation": {
        "metavar": "KIND",
        "action": "append",
        "help": "zero, mean or resample; repeatable",
    },
    "--position": {
        "metavar": "WHERE",
        "help": "prompt positions that interventions edit: last, slot, after_slot or all",
    },
    "--patch-generated": {
        "action": "store_true",
        "help": "patch at every generated token too, with z of the paired prompt's last token",
    },
    "--max-new-tokens": {"metavar": "N", "type": int, "help": "length of greedy continuations"},
    "--results-dir": {
        "metavar": "DIR",
        "help": "where results go, a folder per profile inside (default: results)",
    },
    "--device": {"metavar": "NAME", "help": "torch device (default: cpu)"},
    "--dtype": {"metavar": "NAME", "help": "float32 (default), float64, bfloat16 or float16"},
    "--batch-size": {"metavar": "N|auto", "help": "prompts per forward (default: auto)"},
    "--seed": {"metavar": "N", "type": int, "help": "seed of every draw"},
    "--fresh": {"action": "store_true", "help": "recompute what the store already holds"},
    "--plan": {
        "action": "store_true",
        "help": "print what would run and what it costs, and run nothing",
    },
    "--effects-save": {
        "metavar": "NAME",
        "nargs": "?",
        "const": "baseline",
        "help": "save the effects of declared heads as the baseline NAME (default: baseline)",
    },
    "--effects-compare": {
        "metavar": "NAME",
        "nargs": "?",
        "const": "baseline",
        "help": "compare them with the baseline NAME and fail where one has drifted; "
        "-m gated runs no more than them",
    },
    "--effects-strict": {
        "action": "store_true",
        "help": "fail where the pairs do not tell whether an effect has drifted, too",
    },
    "--effects-json": {"metavar": "FILE", "help": "write what became of them as JSON"},
    "--effects-new-weights": {
        "action": "store_true",
        "help": "compare although a model's weights are others than the baseline's",
    },
    "--table-format": {"metavar": "FMT", "help": "any format of tabulate (default: simple)"},
}


def add_options(parser: pytest.Parser) -> None:
    """Add the options to pytest's."""
    group = parser.getgroup("emolib", "experiments on heads (emolib)")
    for flag, settings in _FLAGS.items():
        group.addoption(flag, dest=_dest(flag), default=None, **settings)


def _dest(flag: str) -> str:
    return "emolib_" + flag.strip("-").replace("-", "_")


def given(config: pytest.Config) -> bool:
    """Tell whether any of the options was given."""
    return any(config.getoption(_dest(flag)) is not None for flag in _FLAGS)


def get(config: pytest.Config, flag: str) -> Any:
    """Return the value of one option."""
    return config.getoption(_dest(flag))
