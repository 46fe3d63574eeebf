"""Fixtures of the campaigns."""

from __future__ import annotations

import pytest
from campaign import Size
from forks import Forks, forks


@pytest.fixture(
    params=[Size(False), pytest.param(Size(True), marks=pytest.mark.slow)], ids=["small", "whole"]
)
def size(request: pytest.FixtureRequest) -> Size:
    """Give a part of a campaign, or all of it."""
    return request.param


@pytest.fixture(scope="module")
def light() -> Forks:
    """Give a starter of runs that need no torch."""
    with forks() as started:
        yield started


@pytest.fixture(scope="module")
def heavy() -> Forks:
    """Give a starter of runs that find torch and transformers imported."""
    with forks(heavy=True) as started:
        yield started
