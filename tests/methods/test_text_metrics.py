"""Metrics on text: whole words, negation, bigrams, valence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from emolib.inputs.words import fold, words
from emolib.methods import text_metrics
from emolib.methods.text_metrics import (
    distinct_2,
    keyword_hits,
    keyword_rate,
    keyword_rates,
    sentiment,
)

LEXICON = ("grateful", "thanks", "angry")
texts = st.lists(st.sampled_from([*LEXICON, "Thanks!", "not", "never", "a", "I", "2"])).map(
    " ".join
)


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("Grateful, GRATEFUL; ungrateful gratefully", (2, 0)),
        ("not at all grateful", (0, 1)),
        ("not here and now grateful", (1, 0)),
        ("She wasn’t angry. She isn't angry", (0, 2)),
        ("grateful, not", (1, 0)),
        ("I did not. Grateful! No; thanks. Why not? Thanks", (3, 0)),
        ("no…\nthanks, I cannot be angry", (1, 1)),
        ("not not angry", (0, 1)),
    ],
)
def test_hits_are_whole_words_and_negators_reach_three(text, hits):
    assert keyword_hits(text, LEXICON) == hits


def test_a_lexicon_may_have_capitals_and_curly_apostrophes():
    assert keyword_hits("much obliged, y'all", {"Obliged", "Y’all"}) == (2, 0)


def test_a_lexicon_is_folded_once(monkeypatch):
    folded = []
    monkeypatch.setattr(text_metrics, "fold", lambda word: folded.append(word) or fold(word))
    lexicon = ("Onced", "Twiced")
    for text in ("onced upon", "onced upon a time", "twiced"):
        assert keyword_hits(text, lexicon) == keyword_hits(text, set(lexicon)) == (1, 0)
    assert sum(word in lexicon for word in folded) <= 2 * len(lexicon)


def test_a_text_is_read_once_for_all_lexicons(monkeypatch):
    read = []
    monkeypatch.setattr(text_metrics, "words", lambda text: read.append(text) or words(text))
    text = "A text that no other test reads. Thanks, not angry"
    for lexicon in (LEXICON, ("angry",), ("thanks",), ("text", "reads")):
        keyword_rates(text, lexicon)
    distinct_2([text])
    assert len(read) == 2


@given(texts)
def test_rate_is_plain_hits_per_hundred_words(text):
    plain, negated = keyword_hits(text, LEXICON)
    tokens = words(text)
    assert plain + negated == sum(token in LEXICON for token in tokens)
    rates = keyword_rates(text, LEXICON)
    assert rates == pytest.approx([100 * hits / max(1, len(tokens)) for hits in (plain, negated)])
    assert keyword_rate(text, LEXICON) == rates[0]


@given(texts)
def test_rate_does_not_change_when_the_text_is_said_twice_far_apart(text):
    filler = " x x x "
    once, twice = (keyword_hits(filler.join([text] * n), LEXICON) for n in (1, 2))
    assert twice == (2 * once[0], 2 * once[1])


@given(st.lists(texts, max_size=4))
def test_distinct_2_counts_bigrams_within_texts(several):
    bigrams = []
    for text in several:
        tokens = words(text)
        bigrams += [(tokens[i - 1], tokens[i]) for i in range(1, len(tokens))]
    expected = len(set(bigrams)) / len(bigrams) if bigrams else 0
    assert distinct_2(several) == expected


def test_sentiment_is_vader_s_compound():
    analyzer = SentimentIntensityAnalyzer()
    for text in ("I apologize for the delay.", "Thanks so much!", ""):
        assert sentiment(text) == analyzer.polarity_scores(text)["compound"]
    assert sentiment("I apologize for the delay.") < 0 == sentiment("")
