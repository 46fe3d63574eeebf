"""The one exception for what a user can put right."""

from __future__ import annotations

import re

UNSEEN = "\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""What no text shows, as a class of a regular expression has it: controls beyond ASCII but the end
of a line, marks of direction, which reorder what is read, halves of characters."""
_LONGEST_WORD, _LONGEST = 400, 1600
"""Characters of one word, and of a message, beyond which their middle is left out."""
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


class InputError(ValueError):
    """Bad input: the message says what was expected, what was got and what to do next.

    It is one line that a terminal shows and does not obey, whatever it quotes.
    """

    def __init__(self, message: str) -> None:
        """Take a message; what it quotes may be anything."""
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""Return text as a line of bounded length in which nothing is obeyed.

    >>> one_line("a\x1b[31m b\nERROR: c")
    'a\ufffd[31m b ERROR: c'
    """
    line = " ".join(text.splitlines())
    line = _cut(_LONG_WORD.sub(lambda word: _cut(word[0], _LONGEST_WORD), line), _LONGEST)
    return line if line.isprintable() else "".join(map(_seen, line))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2) :]}"


def _seen(sign: str) -> str:
    if sign.isprintable():
        return sign
    return " " if sign.isspace() else "\ufffd"
