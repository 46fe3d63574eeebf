"""Fixtures of the tests of the page."""

from __future__ import annotations

import pytest
from page_results import HOSTILE, LONG, LONGEST, SHORT, page_results

from emolib.reporting.page.page_parts import PageParts
from emolib.results.records import Store


def _read(folder, baseline=None):
    parts = PageParts(Store(folder), folder, None, None, baseline)
    parts.read()
    return parts


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """Give results that fill every part of the page."""
    return page_results(tmp_path_factory.mktemp("page") / "full")


@pytest.fixture(scope="session")
def parts(full):
    """Give what is on the page of `full`."""
    return _read(full)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Give results in which every text and every name would break out of the page."""
    folder = tmp_path_factory.mktemp("page") / "hostile"
    return page_results(
        folder, (f"m{SHORT}</script>",), (f"e{SHORT}",), text=f"{HOSTILE} {LONG}", shape=(2, 1),
        note=HOSTILE, own=f"x_{SHORT}", steered=LONGEST,
    )  # fmt: skip
