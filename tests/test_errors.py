"""The one exception: whatever a message quotes, it is one line that is shown and not obeyed."""

from __future__ import annotations

import pytest
from hostile import HOSTILE

from emolib.errors import InputError


@pytest.mark.parametrize("text", [*HOSTILE, "a\u3000b", "x/" * 5000, "x y " * 5000, "9" * 10**6])
def test_a_message_is_one_line_of_bounded_length(text):
    said = str(InputError(f"file: expected a name, got {text}; name it"))
    assert said.isprintable() and len(said) < 2000
    assert said.startswith("file: expected a name, got ") and said.endswith("; name it")


def test_what_can_be_shown_stays_as_it_is():
    text = "data/é.json: expected 日本語, got 'a b'; it's 😀"
    assert str(InputError(text)) == text
    assert str(InputError("a\u3000b")) == "a b"
