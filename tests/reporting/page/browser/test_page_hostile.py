"""Names, prompts and texts that would break out of the page, in a real browser: text to the end."""

from __future__ import annotations

from urllib.parse import quote

from page_results import LONG, LONGEST, SHORT

HEAD = "#" + "/".join(quote(part, safe="") for part in (f"m{SHORT}</script>", f"e{SHORT}", "L1H0"))


def test_hostile_text_shows_as_text(look, attacked):
    with look(attacked, HEAD) as seen:
        page = seen.page
        head = page.locator("#head")
        head.locator("svg .mark").first.wait_for()
        # What is obeyed or hidden where it stands is told by name.
        shown = f"L1H0 of m{SHORT}</script>, e{SHORT}".replace("\u202e", "⟨U+202E⟩")
        assert head.locator("h2").inner_text() == shown
        prompt = head.locator(".texts .prompt").first
        assert "<script>alert(1)</script></SCRIPT ><!-- --> ]]> &lt;" in prompt.inner_text()
        assert "⟨U+202E⟩RTL⟨U+2066⟩ ␛[31mANSI␛[0m" in prompt.inner_text()
        # A long word is there for who asks.
        assert "more characters" in prompt.inner_text() and len(prompt.inner_text()) < 2_000
        prompt.locator("button").click()
        assert LONG in prompt.inner_text()
        for name in ("circuits", "paths", "steering", "units", "models", "check"):
            page.locator(f"#{name}").scroll_into_view_if_needed()
            page.wait_for_timeout(100)
        page.locator("#steering summary").first.click()
        steered = page.locator("#steering .texts dd").last
        steered.locator("button").click()
        assert len(steered.inner_text()) >= len(LONGEST)
        assert page.locator("main :is(script, img, iframe, b, [onclick], [onerror])").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert seen.quiet()


def test_files_of_hostile_names_are_files(look, attacked):
    with look(attacked, HEAD) as seen:
        page = seen.page
        page.locator("#head svg .mark").first.wait_for()
        with page.expect_download() as download:
            page.locator("#head figure").first.get_by_role("button", name="SVG").click()
        name = download.value.suggested_filename
        assert name.startswith("m_b_onclick_x_") and "<" not in name and "/" not in name
        content = download.value.path().read_text("utf-8")
        assert "<b " not in content and "<script" not in content
        assert seen.quiet()


def test_hostile_text_shows_as_text_without_scripts(look, attacked):
    with look(attacked, java_script_enabled=False) as seen:
        text = seen.page.locator("main").inner_text()
        assert "<script>alert(1)</script></SCRIPT ><!-- --> ]]> &lt;" in text
        assert not set("\u202e\u2066\x1b") & set(text)
        assert seen.quiet()
