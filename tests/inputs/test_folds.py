"""Whether an emotion's prompts can be dealt into folds."""

from __future__ import annotations

import pytest
from own_data import mine, said, write

from emolib.inputs.emotions import load_emotion
from emolib.inputs.folds import FREE, check_folds, held_out_of


def test_pairs_are_held_out_by_template_and_lists_by_prompt(folder):
    pair = {"id": "p", "template": "t", "prompt": "A {slot} b", "emotion": "x", "neutral": "y"}
    pairs = [pair, pair | {"id": "q"}, pair | {"id": "r", "template": "u"}]
    write("data/pairs/joy.json", {"emotion": "joy", "version": 1, "pairs": pairs})
    write("data/neutral_prompts.json", {"prompts": ["three", "four", "five"]})
    assert held_out_of(load_emotion(mine(), "joy")) == (2, "templates")
    assert held_out_of(load_emotion(mine(), "joy", free=True)) == (2, FREE)


def test_fewer_than_folds_is_one_line():
    check_folds(3, "templates", 3)
    assert said(check_folds, 2, "templates", 3, "exp_x") == (
        "exp_x: probes in 3 folds need at least 3 templates, got 2; lower probe_folds in the "
        "profile, or give more prompts"
    )
    assert said(check_folds, 0, FREE, 2).startswith("probes in 2 folds need at least 2 prompts of")


@pytest.mark.parametrize("free", [False, True])
def test_a_file_that_probes_are_tested_on_comes_with_the_emotion(folder, free):
    pair = {"id": "z", "template": "v", "prompt": "C {slot}", "emotion": "x", "neutral": "y"}
    write("data/more.json", {"emotion": "joy", "version": 1, "pairs": [pair]})
    plain = load_emotion(mine(), "joy", free=free)
    profile = mine('files.joy.probe_test = "more.json"\n')
    emotion = load_emotion(profile, "joy", free=free)
    test = emotion.probe_test
    assert [pair.id for pair in test.pairs] == ["z"] and test.free is None
    assert test.files == (folder / "data/more.json",) and test.lexicon == emotion.lexicon
    # What other experiments run on is as it was.
    assert emotion.hash == plain.hash != test.hash and plain.probe_test is None
    write("data/more.json", {"emotion": "fear", "version": 1, "pairs": [pair]})
    assert said(load_emotion, profile, "joy") == (
        f"{folder}/data/more.json: emotion: expected 'joy', got 'fear'"
    )
