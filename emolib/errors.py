"""The one exception for what a user can put right."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message says what was expected, what was got and what to do next."""
