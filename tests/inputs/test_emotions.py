"""An emotion as its files say it: pairs or free lists, lexicons, a hash, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_data import lexicon, mine, said, write

from emolib.files import hash_files
from emolib.inputs.emotions import load_emotion
from emolib.inputs.prompts import Lexicon, Pair, Turns, load_pairs


def test_an_emotion_has_pairs_or_free_lists(folder):
    write("data/neutral_prompts.json", {"prompts": ["three"]})
    profile = mine()
    emotion, free = load_emotion(profile, "joy"), load_emotion(profile, "joy", free=True)
    assert emotion.pairs == load_pairs(folder / "data/pairs/joy.json") and emotion.free is None
    assert free.pairs is None
    assert free.free == (("one", "two"), ("three",))


def test_the_hash_is_that_of_the_files_read(folder):
    profile = mine()
    before = load_emotion(profile, "joy").hash, load_emotion(profile, "joy", free=True).hash
    names = [("lexicon", "joy"), ("lexicon", "neutral"), ("pairs", "joy")]
    assert before[0] == hash_files(profile.path(*name) for name in names)
    write("data/joy_prompts.json", {"prompts": ["other"]})
    after = load_emotion(profile, "joy").hash, load_emotion(profile, "joy", free=True).hash
    assert after[0] == before[0] and after[1] != before[1]


def test_a_target_on_both_sides_is_refused(folder):
    write("data/lexicons/neutral.json", lexicon("neutral", "calm", "glad"))
    data = folder / "data"
    assert said(load_emotion, mine(), "joy") == (
        f"{data}/lexicons/joy.json: targets: 'glad' is a target of neutral too "
        f"({data}/lexicons/neutral.json); their difference would cancel it: keep it in one"
    )


def test_an_emotion_is_what_its_files_say(folder):
    write("data/lexicons/neutral.json", lexicon("neutral", "calm"))
    emotion = load_emotion(mine(), "joy")
    assert emotion.name == "joy"
    assert emotion.pairs == (Pair("p", "t", "A {slot} b", "x", "y"),)
    assert emotion.lexicon == Lexicon("joy", 1, ("glad",), ("glad",))
    assert emotion.neutral == Lexicon("neutral", 1, ("calm",), ("calm",))


@pytest.mark.parametrize("name", ["lexicons/joy", "lexicons/neutral", "pairs/joy"])
def test_every_file_that_is_read_is_in_the_hash(folder, name):
    write("data/lexicons/neutral.json", lexicon("neutral", "calm"))
    before = load_emotion(mine(), "joy").hash
    path = Path(f"data/{name}.json")
    path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")
    assert load_emotion(mine(), "joy").hash != before


def test_a_word_on_both_sides_that_is_no_target_of_both_is_none_of_its_business(folder):
    both = lexicon("neutral", "calm", "glad") | {"targets": ["calm"]}
    write("data/lexicons/neutral.json", both)
    assert load_emotion(mine(), "joy").neutral.words == ("calm", "glad")


@pytest.mark.parametrize(
    ("missing", "kind", "name", "free"),
    [
        ("lexicons/joy", "lexicon", "joy", False),
        ("pairs/joy", "pairs", "joy", False),
        ("joy_prompts", "prompts", "joy", True),
        ("neutral_prompts", "prompts", "neutral", True),
    ],
)
def test_a_file_that_is_missing_is_named_where_it_is_needed(
    folder, monkeypatch, missing, kind, name, free
):
    monkeypatch.setattr("emolib.inputs.profiles.data_root", lambda: folder / "data")
    write("data/lexicons/neutral.json", lexicon("neutral", "calm"))
    write("data/neutral_prompts.json", {"prompts": ["three"]})
    profile = mine()
    Path(f"data/{missing}.json").unlink()
    assert said(load_emotion, profile, "joy", free=free) == (
        f"emotion {name!r} has no {kind} file: expected {folder}/data/{missing}.json; write one "
        f"or take {name!r} out of the profile"
    )
    # Of the files that the other way of reading needs none is missing.
    if kind != "lexicon":
        assert load_emotion(profile, "joy", free=not free).name == "joy"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("pairs/joy", {"emotion": "fear"}, "emotion: expected 'joy', got 'fear'"),
        ("lexicons/joy", {"name": "fear"}, "name: expected 'joy', got 'fear'"),
        ("lexicons/neutral", {"name": "joy"}, "name: expected 'neutral', got 'joy'"),
    ],
)
def test_a_file_of_another_emotion_is_refused(folder, name, content, expected):
    pair = {"id": "p", "template": "t", "prompt": "A {slot} b", "emotion": "x", "neutral": "y"}
    whole = {"version": 1, "pairs": [pair]} if name == "pairs/joy" else lexicon("", "calm")
    write(f"data/{name}.json", whole | content)
    assert said(load_emotion, mine(), "joy") == f"{folder}/data/{name}.json: {expected}"


def test_turns_of_a_chat_need_the_chat_on(folder):
    turns = {"user": "A {slot} b"}
    pair = {"id": "p", "template": "t", "prompt": turns, "emotion": "x", "neutral": "y"}
    write("data/pairs/joy.json", {"emotion": "joy", "version": 1, "pairs": [pair]})
    write("data/joy_prompts.json", {"prompts": ["one", turns]})
    advice = (
        "turns of a chat need --chat (chat = true in a profile), which is off; turn it on, or "
        "write the prompt as text"
    )
    place = f"{folder}/data"
    assert said(load_emotion, mine(), "joy") == f"{place}/pairs/joy.json: pairs[0].prompt: {advice}"
    assert said(load_emotion, mine(), "joy", free=True) == (
        f"{place}/joy_prompts.json: prompts[1]: {advice}"
    )
    chat = mine("chat = true")
    assert load_emotion(chat, "joy").written("neutral") == (Turns("A y b"),)
    lists = load_emotion(chat, "joy", free=True)
    assert lists.written("emotion") == ("one", Turns("A {slot} b"))
    assert lists.places("emotion")[1] == f"{place}/joy_prompts.json: prompts[1]"
