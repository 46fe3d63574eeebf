"""When free memory goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from emolib.engine import heap

PAGE = 4096


class Library:
    """Counts what is asked of it."""

    def __init__(self):
        self.asked = []

    def malloc_trim(self, pad):
        self.asked.append(pad)


@pytest.fixture
def library(monkeypatch):
    made = Library()
    monkeypatch.setattr(heap, "_library", lambda: made)
    return made


def test_it_is_given_back_for_large_models_alone(library):
    heap.give_back(heap.LARGE - 1)
    assert library.asked == []
    heap.give_back(heap.LARGE)
    assert library.asked == [0]


def test_where_the_c_library_cannot_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    heap._library.cache_clear()
    try:
        assert heap._library() is None
        heap.give_back(heap.LARGE)
    finally:
        heap._library.cache_clear()


@pytest.mark.skipif(heap._library() is None, reason="not glibc")
def test_what_is_freed_between_blocks_in_use_leaves_the_process():
    """Blocks below glibc's smallest threshold of blocks of their own, every second one freed."""
    blocks = [torch.ones(2**13) for _ in range(4000)]
    kept = blocks[1::2]
    del blocks
    before = resident()
    heap.give_back(heap.LARGE)
    assert before - resident() > 20e6
    assert all(block[0] == 1 for block in kept)


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
