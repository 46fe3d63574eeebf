"""Metrics on generated text: sentiment, keyword rates, distinct bigrams."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from emolib.inputs.words import fold, words

_NEGATORS = frozenset(
    {"not", "cannot", "no", "never", "nothing", "without", "hardly", "neither", "nor"}
)


_END = re.compile(r"[.?!;…\n]")


_REACH = 3


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@lru_cache(maxsize=2**14)
def sentiment(text: str) -> float:
    """Return VADER's compound valence of a text, in [−1, 1]; 0 for an empty one.

    >>> sentiment("Thank you, that is wonderful!") > 0.5
    True
    """
    return float(_vader().polarity_scores(text)["compound"])


def keyword_hits(text: str, lexicon: Collection[str]) -> tuple[int, int]:
    """Return how many words of a text are in a lexicon: (plain, negated) hits.

    A hit is negated when one of the three words before it in its clause is a negator (not, never,
    don't, …).

    >>> keyword_hits("so grateful, not angry, grateful", {"grateful", "angry"})
    (1, 2)
    >>> keyword_hits("thankless", {"thank"}), keyword_hits("I did not. Thanks!", {"thanks"})
    ((0, 0), (1, 0))
    """
    folded = _folded(tuple(lexicon))
    plain = negated = 0
    for tokens in _clauses(text):
        for index, token in enumerate(tokens):
            if token in folded:
                before = tokens[max(0, index - _REACH) : index]
                if any(word in _NEGATORS or word.endswith("n't") for word in before):
                    negated += 1
                else:
                    plain += 1
    return plain, negated


@lru_cache(maxsize=2**6)
def _folded(lexicon: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(fold, lexicon))


# Several metrics and lexicons read a text, one right after the other.
@lru_cache(maxsize=2**12)
def _clauses(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the words of a text, clause by clause."""
    return tuple(tuple(words(clause)) for clause in _END.split(text))


def keyword_rate(text: str, lexicon: Collection[str]) -> float:
    """Return plain lexicon hits per 100 words; 0 for a text without words.

    >>> keyword_rate("thanks a lot indeed", {"thanks"})
    25.0
    """
    return keyword_rates(text, lexicon)[0]


def keyword_rates(text: str, lexicon: Collection[str]) -> tuple[float, float]:
    """Return plain and negated lexicon hits per 100 words; 0 for a text without words.

    >>> keyword_rates("thanks, but no thanks", {"thanks"})
    (25.0, 25.0)
    """
    return _rates(text, tuple(lexicon))


# Most texts of a run are those of the clean one.
@lru_cache(maxsize=2**14)
def _rates(text: str, lexicon: tuple[str, ...]) -> tuple[float, float]:
    # No word goes on behind the end of its clause.
    total = max(1, sum(map(len, _clauses(text))))
    plain, negated = keyword_hits(text, lexicon)
    return 100 * plain / total, 100 * negated / total


def distinct_2(texts: Sequence[str]) -> float:
    """Return unique over total bigrams of some texts together, in [0, 1]; 0 without bigrams.

    >>> distinct_2(["a b a b"])
    0.6666666666666666
    """
    bigrams: list[tuple[str, str]] = []
    for text in texts:
        tokens = [token for clause in _clauses(text) for token in clause]
        bigrams += pairwise(tokens)
    return len(set(bigrams)) / len(bigrams) if bigrams else 0.0
