"""Experiments on the attention heads and MLP units that carry emotion in language models."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "study":
        from emolib.methods.study import study

        return study
    raise AttributeError(f"module 'emolib' has no attribute {name!r}")
