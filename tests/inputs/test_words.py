"""The words of a text, as words are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.inputs.words import fold, words

TEXTS = st.text("abßÉéZ'’ 1_-.!\n", max_size=20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She’s 'so' GRATEFUL—truly_grateful.", ["she's", "so", "grateful", "truly", "grateful"]),
        ("Straße 3x 'tis rock'n'roll'", ["strasse", "x", "tis", "rock'n'roll"]),
        ("… 42 !", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@given(TEXTS)
def test_folding_twice_is_folding_once_and_knows_no_case_or_apostrophe(text):
    folded = fold(text)
    assert fold(folded) == folded
    assert fold(text.upper()) == fold(text.lower()) == folded
    assert fold(text.replace("'", "’")) == folded and "’" not in folded


@given(TEXTS)
def test_words_are_folded_letters_with_apostrophes_inside_alone(text):
    for word in words(text):
        assert word == fold(word) and words(word) == [word]
        assert word.replace("'", "").isalpha()
        assert word[0] != "'" and word[-1] != "'"


@given(TEXTS)
def test_no_letter_of_a_text_is_lost_and_none_is_added(text):
    letters = [letter for letter in fold(text) if letter.isalpha()]
    assert [letter for word in words(text) for letter in word if letter != "'"] == letters


@given(st.lists(TEXTS, max_size=4), st.sampled_from([" ", "\n", "… ", "7", "_", "-"]))
def test_the_words_of_texts_apart_are_those_of_each(texts, between):
    assert words(between.join(texts)) == [word for text in texts for word in words(text)]


@given(TEXTS)
def test_words_are_the_same_in_whatever_case(text):
    assert words(text.upper()) == words(text.lower()) == words(text)
