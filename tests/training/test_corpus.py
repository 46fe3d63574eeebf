"""The corpus: deterministic, well-formed, and strict about what it holds out."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice
from math import log
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.training import corpus
from emolib.training.corpus import MOODS, acts, draw_scene, is_held_out, scenes, tables

KINDS = get_args(corpus.SceneKind)
seeds = st.integers(0, 2**32)


def test_same_seed_same_scenes():
    assert list(islice(scenes(3), 50)) == list(islice(scenes(3), 50))


def test_other_seed_other_scenes():
    assert list(islice(scenes(3), 50)) != list(islice(scenes(4), 50))


@given(seeds, st.sampled_from(MOODS))
def test_training_scenes_use_no_held_out_combination(seed, mood):
    scene = draw_scene(random.Random(seed), mood)
    assert not is_held_out(scene.frame, scene.act)


@given(seeds, st.sampled_from(MOODS))
def test_held_out_scenes_use_nothing_else(seed, mood):
    scene = draw_scene(random.Random(seed), mood, held_out=True)
    assert is_held_out(scene.frame, scene.act)


@given(seeds, st.sampled_from(MOODS), st.booleans())
def test_scenes_are_plain_text(seed, mood, held_out):
    scene = draw_scene(random.Random(seed), mood, held_out=held_out)
    assert scene.mood == mood
    assert re.fullmatch(r"[A-Za-z ,.?\"]+", scene.text), scene.text
    assert "  " not in scene.text
    assert not scene.prompt.endswith((" ", ".", '"'))
    assert re.match(r" [a-z]", scene.ending)
    assert not re.search(r"[.?!] [a-z]", scene.text), scene.text
    assert not re.search(r"\bI (is|were|has)\b|\bwith I\b|\bto I\b|\bat I\b", scene.text)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_and_act_occurs_on_both_sides_of_the_split(kind):
    """Only combinations are new in the prompts, never a word."""
    frames = tables()["frames"]
    for act in acts(kind):
        assert {is_held_out(frame, act) for frame in frames} >= {False}, act
    for frame in frames:
        assert {is_held_out(frame, act) for act in acts(kind)} == {True, False}, frame


def test_acts_of_different_kinds_share_no_wording():
    verbs = [act_verb for kind in KINDS for act_verb in {act.verb for act in acts(kind)}]
    assert len(verbs) == len(set(verbs))


def test_words_alone_do_not_tell_the_mood():
    """Naive Bayes on the prompt's words stays far below what the rules determine: 100 %.

    The moods anger and apology share their acts, if unevenly, and a helper who is the subject of
    the end stays neutral.
    """
    rng = random.Random(0)
    train = [draw_scene(rng, mood) for mood in MOODS for _ in range(1500)]
    counts = {mood: Counter[str]() for mood in MOODS}
    for scene in train:
        counts[scene.mood].update(set(scene.prompt.lower().split()))

    def guess(prompt: str) -> str:
        words = set(prompt.lower().split())
        return max(MOODS, key=lambda mood: sum(log((counts[mood][w] + 1) / 1502) for w in words))

    test = [draw_scene(rng, mood) for mood in MOODS for _ in range(200)]
    right = sum(guess(scene.prompt) == scene.mood for scene in test) / len(test)
    assert right < 0.8


def test_all_moods_have_distractors_alike():
    for mood in MOODS:
        prompts = [draw_scene(random.Random(seed), mood).prompt for seed in range(600)]
        share = sum(any(d in p for d in tables()["distractors"]) for p in prompts) / len(prompts)
        assert 0.15 < share < 0.35, mood


def test_pairs_need_no_more_than_the_seed():
    assert corpus.make_pairs("anger", seed=1) == corpus.make_pairs("anger", seed=1)
    assert corpus.make_pairs("anger", seed=1) != corpus.make_pairs("anger", seed=2)
