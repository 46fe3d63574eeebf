"""Metrics on generated text: sentiment, keyword rate, distinct bigrams. The prompt never counts.

Sentiment is VADER's compound score (Hutto & Gilbert 2014): valence, not emotion; an apology
often scores negative.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words(text: str) -> list[str]:
    """Return the words of a text, case-folded; an apostrophe stays inside its word.

    >>> words("Don't panic, Straße!")
    ["don't", 'panic', 'strasse']
    """
    return [fold(word) for word in _WORD.findall(text)]


def fold(word: str) -> str:
    """Return a word as words are compared: case-folded, with a straight apostrophe."""
    return word.replace("’", "'").casefold()
