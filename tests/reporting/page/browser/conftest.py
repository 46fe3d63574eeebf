"""A real browser, and pages of results made by hand to look at in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from made import changed

from emolib.reporting.page.page_writer import write_page
from emolib.results.baselines import Baseline, Declared, effects_of, save
from emolib.results.records import Store

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Opened:
    """A page in the browser, and what was seen of it besides.

    Attributes:
        page: Playwright's page.
        errors: What it wrote to the console, and what its scripts threw.
        requests: Addresses that it asked for, but its own.
        dialogs: Dialogs that came up.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def quiet(self) -> bool:
        """Tell whether nothing went wrong, nothing left and nothing popped up."""
        seen = self.errors, self.requests, self.dialogs
        assert not any(seen), seen
        return True


@pytest.fixture(scope="session")
def binary() -> str:
    """Give the file of a browser; without one, or what drives it, its tests are skipped."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)} is on the PATH")
    return path


@pytest.fixture(scope="module")
def chromium(binary) -> Iterator[Any]:
    """Give a running Chromium."""
    from playwright import sync_api as driver

    # Chromium's sandbox does not start for root, as whom containers run.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with driver.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=binary, args=options)
        except driver.Error as error:
            pytest.skip(f"{binary} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def look(chromium):
    """Give a context manager that opens a page: its file, a link in it, options of the browser."""

    @contextmanager
    def opened(file: Path, link: str = "", **options: Any) -> Iterator[Opened]:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(4_000)
        seen = Opened(context.new_page())
        own = file.resolve().as_uri()
        seen.page.on("console", lambda message: seen.errors.append(message.text))
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on(
            "dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss())
        )

        def asked(request: Any) -> None:
            # Pictures of the page itself come as data, files that it saves as blobs.
            if request.url.partition("#")[0] != own and not request.url.startswith("data:image/"):
                seen.requests.append(request.url)

        seen.page.on("request", asked)
        seen.page.goto(own + link)
        try:
            yield seen
        finally:
            context.close()

    return opened


@pytest.fixture(scope="session")
def whole(binary, full, tmp_path_factory) -> Path:
    """Give the page of results that fill every part."""
    return write_page(full, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def attacked(binary, hostile, tmp_path_factory) -> Path:
    """Give the page of results in which every text would break out of it."""
    return write_page(hostile, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def checked(binary, tmp_path_factory) -> Path:
    """Give the page of results beside a baseline in which one effect was twice as large."""
    told = {"settings": {}, "device": "cpu", "clean_gap": 5.0}

    def complete(row):
        model = row["provenance"]["model"] | {"config": "c"}
        return row | {"provenance": row["provenance"] | told | {"model": model}}

    results = changed(tmp_path_factory.mktemp("checked"), complete)
    found = Baseline()
    for row in Store(results).whole_rows("head_ablation"):
        if row.dims["heads"] == "L1H0":
            found = found.merged(effects_of([row], Declared("logit_diff", "gated")))
    name = "head_ablation[one-joy-L1H0-zero]"
    effect = found.effects[name]
    twice = replace(effect, values=tuple(2 * value for value in effect.values))
    save(Baseline(found.effects | {name: twice}, found.grounds), results / "effects/baseline.json")
    return write_page(results)
