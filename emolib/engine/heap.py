"""Memory that was let go of, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

LARGE = 2**28
"""Bytes of weights from which it is worth the while."""


def give_back(weights: int) -> None:
    """Give memory that is free in this process's heap back; where the C library cannot, do nothing.

    glibc keeps what was freed between blocks that are in use, hundreds of megabytes after sweeps
    of several widths. Asking takes milliseconds, and using the memory anew as long again: for
    between sweeps of large models, not within.

    Args:
        weights: Bytes of the model's weights; below `LARGE` nothing is done.
    """
    if weights >= LARGE and (library := _library()) is not None:
        library.malloc_trim(0)


@cache
def _library() -> Any:
    """Return glibc, None where it is another C library."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None
