"""The page for those who do not see it, or see it otherwise: what axe-core finds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
# What its rules for WCAG 2.2 at levels A and AA find, and those for good practice; of the other
# look contrast alone, as the elements are the same.
ALL = {"resultTypes": ["violations"]}
CONTRAST = ALL | {"runOnly": ["color-contrast"]}


@pytest.mark.parametrize(("scheme", "rules"), [("light", ALL), ("dark", CONTRAST)])
def test_axe_finds_no_violation(look, whole, scheme, rules):
    with look(whole, "#one/joy/L1H0", color_scheme=scheme) as seen:
        page = seen.page
        page.locator("#head svg .mark").first.wait_for()
        for name in ("circuits", "paths", "steering", "units", "models", "check"):
            page.locator(f"#{name}").scroll_into_view_if_needed()
            page.wait_for_timeout(50)
        page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
        # Rows of a table are alike, and axe is slow.
        rows = "document.querySelectorAll('main table:not(.heads) tbody tr:nth-child(n + 4)')"
        page.evaluate(f"for (const row of {rows}) row.remove()")
        page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
        found = page.evaluate("rules => axe.run(document, rules)", rules)["violations"]
        told = [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]
        assert not told, "\n".join(told)
        assert seen.quiet()


def test_headings_are_in_order_and_every_picture_is_named(look, whole):
    with look(whole, "#one/joy/L1H0") as seen:
        page = seen.page
        page.locator("#head svg .mark").first.wait_for()
        levels = page.locator("h1, h2, h3, h4").evaluate_all(
            "nodes => nodes.filter(n => n.checkVisibility()).map(n => Number(n.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        assert page.locator("svg.picture:not([aria-label])").count() == 0
        assert page.locator("html").get_attribute("lang") == "en"
        page.keyboard.press("Tab")
        assert seen.quiet()


def test_nothing_moves_by_itself(look, whole):
    with look(whole, "#one/joy/L1H0", reduced_motion="no-preference") as seen:
        seen.page.locator("#head svg .mark").first.wait_for()
        assert seen.page.evaluate("document.getAnimations().length") == 0
        scroll = "getComputedStyle(document.documentElement).scrollBehavior"
        assert seen.page.evaluate(scroll) == "auto"
