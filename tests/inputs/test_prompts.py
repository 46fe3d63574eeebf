"""Prompt files: what is read, and the message on each way of getting one wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.prompts import (
    Pair,
    Turns,
    load_lexicon,
    load_pairs,
    load_prompts,
    pairs_emotion,
)

PAIR = {
    "id": "p1",
    "template": "t1",
    "prompt": "She {slot} him",
    "emotion": "hit",
    "neutral": "met",
}
PAIRS = {"emotion": "joy", "version": 1, "pairs": [PAIR]}
LEXICON = {"name": "joy", "version": 2, "words": ["glad", "y’all"], "targets": ["glad"]}
OBJECT = "expected a pairs file, an object with the keys emotion, version, pairs"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "file.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def message(load, path, *args):
    """Return what is said about a file, without its path."""
    with pytest.raises(InputError) as error:
        load(path, *args)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_files_are_read_as_they_are(write):
    assert load_prompts(write({"prompts": ["Übung macht", " b "]})) == ("Übung macht", " b ")
    (pair,) = load_pairs(write(PAIRS), "joy")
    assert pair == Pair("p1", "t1", "She {slot} him", "hit", "met")
    assert pairs_emotion(write(PAIRS)) == "joy"
    lexicon = load_lexicon(write(LEXICON), "joy")
    assert (lexicon.version, lexicon.words, lexicon.targets) == (2, ("glad", "y’all"), ("glad",))


def test_a_prompt_may_be_turns_of_a_chat(write):
    turns = {"system": "Be kind.", "user": "Hello"}
    assert load_prompts(write({"prompts": ["a", turns, {"user": "a"}]})) == (
        "a", Turns("Hello", "Be kind."), Turns("a"),
    )  # fmt: skip
    entry = PAIR | {"prompt": {"system": "You {slot} him.", "user": "Why?"}}
    (pair,) = load_pairs(write(PAIRS | {"pairs": [entry]}))
    assert pair.written("emotion") == Turns("Why?", "You hit him.")
    assert pair.text("neutral") == "You met him.\n\nWhy?"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ({"system": "{slot}"}, ": field 'user' is missing; expected system, user"),
        ({"user": "{slot}", "tool": "x"}, ": unknown field 'tool'; expected system, user"),
        ({"user": "{slot}", "system": ""}, ".system: expected text, got an empty string"),
        ({"user": ["{slot}"]}, ".user: expected text, got a list"),
        ({"user": "{slot}", "system": "{slot}"}, ": expected {slot} exactly once, got it 2 times"),
        ({"user": "a", "system": "b"}, ": expected {slot} exactly once, got it 0 times"),
    ],
)
def test_turns_that_are_wrong(write, prompt, expected):
    path = write(PAIRS | {"pairs": [PAIR | {"prompt": prompt}]})
    assert message(load_pairs, path) == f"pairs[0].prompt{expected}"


def test_turns_that_stand_twice_are_told_as_text(write):
    turns = {"system": "a", "user": "b"}
    assert message(load_prompts, write({"prompts": [turns, "c", turns]})) == (
        "prompts[2]: 'a\\n\\nb' stands at [0] already; remove one"
    )


@given(*[st.text("a{}slot ", max_size=9)] * 4)
def test_sides_differ_in_the_slot_alone(before, after, emotion, neutral):
    pair = Pair("p", "t", before + "{slot}" + after, emotion, neutral)
    if pair.prompt.count("{slot}") == 1:
        assert pair.text("emotion") == before + emotion + after
        assert pair.text("neutral") == before + neutral + after


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", f"not JSON (line 1, column 1: Expecting value); {OBJECT}"),
        ("[1]", f"{OBJECT}, got a list"),
        ("null", f"{OBJECT}, got null"),
        ("true", f"{OBJECT}, got a boolean"),
        ("1.5", f"{OBJECT}, got the number 1.5"),
        ('"x"', f"{OBJECT}, got a string"),
        ({"emotion": "joy", "pairs": []}, f"{OBJECT}; 'version' is missing"),
        (PAIRS | {"lang": "en"}, "unknown key 'lang'; the keys are emotion, version, pairs"),
        (PAIRS | {"emotion": 3}, "emotion: expected text, got the number 3"),
        (PAIRS | {"version": 0}, "version: expected a whole number from 1, got 0"),
        (PAIRS | {"version": True}, "version: expected a whole number from 1, got True"),
        (PAIRS | {"version": "1"}, "version: expected a whole number from 1, got '1'"),
        (PAIRS | {"pairs": {}}, "pairs: expected a list, got an object"),
        (PAIRS | {"pairs": []}, "pairs: expected at least one entry, got an empty list"),
        (PAIRS | {"pairs": ["x"]}, "pairs[0]: expected an object, got a string"),
        (
            PAIRS | {"pairs": [PAIR, PAIR]},
            "pairs.id[1]: 'p1' stands at [0] already; remove one",
        ),
    ],
)
def test_wrong_pairs_files(write, content, expected):
    assert message(load_pairs, write(content)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"note": "x"}, "pairs[0]: unknown field 'note'; expected id, template, prompt, emotion, "
         "neutral"),
        ({"template": " "}, "pairs[0].template: expected text, got an empty string"),
        ({"id": None}, "pairs[0].id: expected text, got null"),
        ({"prompt": "no slot"}, "pairs[0].prompt: expected {slot} exactly once, got it 0 times"),
        ({"prompt": "{slot} {slot}"}, "pairs[0].prompt: expected {slot} exactly once, got it 2 "
         "times"),
        ({"neutral": "hit"}, "pairs[0].neutral: expected another text than on the emotion side, "
         "got 'hit' on both"),
    ],
)  # fmt: skip
def test_wrong_pairs(write, change, expected):
    assert message(load_pairs, write(PAIRS | {"pairs": [PAIR | change]})) == expected


@pytest.mark.parametrize("field", PAIR)
def test_pairs_without_a_field(write, field):
    short = {key: value for key, value in PAIR.items() if key != field}
    assert message(load_pairs, write(PAIRS | {"pairs": [short]})) == (
        f"pairs[0]: field {field!r} is missing; expected id, template, prompt, emotion, neutral"
    )


def test_pairs_of_another_emotion(write):
    assert message(load_pairs, write(PAIRS), "fear") == "emotion: expected 'fear', got 'joy'"


def test_files_that_cannot_be_read(tmp_path):
    assert message(load_pairs, tmp_path / "none.json") == f"no such file; {OBJECT}"
    assert message(load_pairs, tmp_path) == f"is a folder; {OBJECT}"
    path = tmp_path / "latin.json"
    path.write_bytes('{"emotion": "é"}'.encode("latin-1"))
    assert message(load_pairs, path) == f"not UTF-8 (byte 13); {OBJECT}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "expected a prompt file, an object with the keys prompts; 'prompts' is missing"),
        ({"prompts": ["a", ""]}, "prompts[1]: expected text, got an empty string"),
        ({"prompts": ["a", "b", "a"]}, "prompts[2]: 'a' stands at [0] already; remove one"),
    ],
)
def test_wrong_prompt_files(write, content, expected):
    assert message(load_prompts, write(content)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "fear"}, "name: expected 'joy', got 'fear'"),
        ({"words": []}, "words: expected at least one entry, got an empty list"),
        ({"words": ["glad", "so glad"]}, "words[1]: expected one word, got 'so glad'"),
        ({"targets": ["so glad"]}, "targets[0]: expected one word, got 'so glad'"),
        ({"targets": ["a", "a"]}, "targets[1]: 'a' stands at [0] already; remove one"),
        ({"words": ["well-off"]}, "words[0]: expected letters and inner apostrophes alone, got "
         "'well-off', which no word of a text would match"),
        ({"words": ["glad!"]}, "words[0]: expected letters and inner apostrophes alone, got "
         "'glad!', which no word of a text would match"),
    ],
)  # fmt: skip
def test_wrong_lexicons(write, change, expected):
    assert message(load_lexicon, write(LEXICON | change), "joy") == expected


def test_every_json_value_is_read_or_refused_with_the_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "file.json"
    values = st.recursive(
        st.none() | st.booleans() | st.integers(0, 2) | st.text("a{}", max_size=2),
        lambda inner: st.lists(inner, max_size=2) | st.sampled_from([PAIR]),
        max_leaves=3,
    )

    @given(st.fixed_dictionaries({"emotion": values, "version": values, "pairs": values}))
    def check(content):
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            assert load_pairs(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")

    check()


def test_the_project_s_own_files_are_valid():
    root = Path(__file__).parents[2] / "data"
    assert all(load_lexicon(path, path.stem) for path in root.glob("lexicons/*.json"))
    assert all(load_prompts(path) for path in root.glob("*_prompts.json"))


def test_a_pair_has_two_sides():
    pair = Pair(**PAIR)
    assert (pair.text("emotion"), pair.text("neutral")) == ("She hit him", "She met him")
    with pytest.raises(AssertionError, match="unreachable"):
        pair.text("other")
