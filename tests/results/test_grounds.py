"""Grounds: when two runs can be compared, and when they must give equal numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emolib.inputs.profiles import COMPARED
from emolib.results.grounds import Ground, differs, ground_of, moved, replayable
from emolib.results.rows import Row

GROUND = Ground(
    *("m", "joy", "gpt2", "w", "t", "p"),
    settings={"dtype": "float32", "position": "last"},
    device="cpu",
    ids=("a", "b"),
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"type": "llama"}, "model type: gpt2 -> llama"),
        ({"tokenizer": "u"}, "tokenizer: t -> u"),
        ({"prompts": "q"}, "prompt set: p -> q"),
        ({"settings": {"dtype": "float64"}}, "dtype: float32 -> float64"),
        ({"ids": ("a", "c")}, "pairs: 2 -> 2, of other ids"),
    ],
)
def test_what_makes_runs_incomparable(change, told):
    assert differs(GROUND, replace(GROUND, **change)) == [told]


def test_a_baseline_from_before_there_was_a_chat_stands_on_plain_prompts():
    now = GROUND.settings | {"chat": False, "system": None}
    assert differs(GROUND, replace(GROUND, settings=now)) == []
    now |= {"chat": True, "system": "Be kind."}
    assert differs(GROUND, replace(GROUND, settings=now)) == [
        "chat: False -> True", "system: None -> Be kind.",
    ]  # fmt: skip


@pytest.mark.parametrize("change", [{"weights": "v"}, {"device": "cuda"}])
def test_other_weights_and_devices_move_numbers_but_can_be_compared(change):
    now = replace(GROUND, **change)
    assert differs(GROUND, now) == [] and moved(GROUND, now) and not replayable(GROUND, now)


def test_pairs_that_are_not_known_yet_do_not_differ():
    assert differs(GROUND, replace(GROUND, ids=())) == []


def test_replay_needs_single_precision():
    half = replace(GROUND, settings={"dtype": "bfloat16"})
    assert replayable(GROUND, GROUND) and not replayable(half, half)


@pytest.mark.parametrize(("count", "ids"), [(2, ("a", "b")), (3, ("0", "1", "2"))])
def test_a_row_tells_what_it_stands_on(count, ids):
    told = {name: name for name in COMPARED}
    told |= {"model": {"type": "gpt2", "weights": "w", "config": "c", "tokenizer": "t"}}
    told |= {"prompts": "p", "device": "cpu", "clean_gap": 3.0, "commit": "abc+"}
    row = Row("x.py::exp_e[m]", "e", "k", 0, 1, {"model": "m", "emotion": "joy"},
              pairs={"ids": ["a", "b"]}, provenance=told, time="now")  # fmt: skip
    found = ground_of(row, count)
    assert (found.study, found.weights, found.gap, found.ids) == (("m", "joy"), "w-c", 3.0, ids)
    assert found.settings == {name: name for name in COMPARED}
    assert (found.commit, found.time, found.versions) == ("abc+", "now", {})
