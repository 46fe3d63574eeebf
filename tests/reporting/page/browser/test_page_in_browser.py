"""The page in a real browser: what it shows, what keys and clicks do; and nothing leaves it."""

from __future__ import annotations

import re

import pytest

HEAD = "#one/joy/L1H0"
SCORE = "#explore select >> nth=2"
PICTURES = {"circuits": 1, "paths": 2, "steering": 2, "units": 2, "models": 1}


def cell(page, head):
    return page.locator(f'table.heads td[data-head="{head}"]')


def test_every_view_opens_and_nothing_leaves(look, whole):
    with look(whole) as seen:
        page = seen.page
        assert page.locator("h1").inner_text() == "Heads: full"
        assert cell(page, "L1H0").inner_text().startswith("−")
        for name, count in PICTURES.items():
            page.locator(f"nav a[href='#{name}']").click()
            pictures = page.locator(f"#{name} svg.picture")
            pictures.nth(count - 1).wait_for()
            assert pictures.count() == count, name
            assert all(pictures.nth(i).locator(".mark, .whisker, .cell").count()
                       for i in range(count)), name  # fmt: skip
        for fold in page.locator("main > section > details").all():
            fold.locator("summary").first.click()
            assert fold.locator("table").first.is_visible()
        assert seen.quiet()


def test_a_click_opens_a_head(look, whole):
    with look(whole) as seen:
        page = seen.page
        head = page.locator("#head")
        assert head.is_hidden()
        cell(page, "L1H0").click()
        head.get_by_role("heading", name="L1H0 of one, fear").wait_for()
        assert page.evaluate("location.hash") == "#one/fear/L1H0"
        assert page.evaluate("document.activeElement.id") == "head"
        assert cell(page, "L1H0").get_attribute("aria-selected") == "true"
        titles = head.locator("h3").all_inner_texts()
        assert titles == [
            "Its scores", "Its controls", "Its effect on each emotion's words",
            "Its strongest paths", "Together with other heads", "To know of it",
            "Its effects, pair by pair",
            "The prompts it moves most", "Texts before and after",
            "Where it looks from the last token",
        ]  # fmt: skip
        # A mark for each of 24 pairs in each strip, coloured by 12 templates.
        marks = head.locator("figure").first.locator("svg .mark")
        marks.first.wait_for()
        assert marks.count() % 24 == 0
        assert head.locator(".legend li").count() == 12
        assert "some text" in head.locator(".texts .prompt").first.inner_text()
        assert re.fullmatch(r"\d+", head.locator(".texts ins").first.inner_text())
        assert head.locator(".texts del").count() == 0
        words = head.locator(".attention .word")
        assert words.nth(2).inner_text().startswith("a")
        levels = [words.nth(i).get_attribute("class") for i in range(4)]
        assert levels == ["word u1", "word u2 slot", "word u3 slot", "word u4"]
        assert seen.quiet()


def test_keys_walk_over_the_map_open_a_head_and_close_it(look, whole):
    with look(whole) as seen:
        page = seen.page

        def focused():
            return page.evaluate("document.activeElement.dataset.head ?? document.activeElement.id")

        # The map is one stop on the way of the Tab key, after what is picked.
        page.locator(SCORE).focus()
        page.keyboard.press("Tab")
        assert focused() == "L1H0"
        walk = {"ArrowRight": "L1H1", "ArrowUp": "L0H1", "ArrowLeft": "L0H0", "End": "L0H1",
                "Home": "L0H0", "ArrowDown": "L1H0"}  # fmt: skip
        for key, head in walk.items():
            page.keyboard.press(key)
            assert focused() == head, key
        assert page.locator(".readout").inner_text().startswith("L1H0: −")
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.id === 'head'")
        page.keyboard.press("Escape")
        page.wait_for_function("document.activeElement.dataset.head === 'L1H0'")
        assert page.locator("#head").is_hidden()
        assert page.evaluate("location.hash") == "#one/fear"
        assert seen.quiet()


def test_a_link_opens_its_head_and_back_goes_back(look, whole):
    with look(whole, HEAD) as seen:
        page = seen.page
        page.get_by_role("heading", name="L1H0 of one, joy").wait_for()
        cell(page, "L0H1").click()
        page.get_by_role("heading", name="L0H1 of one, joy").wait_for()
        page.go_back()
        page.get_by_role("heading", name="L1H0 of one, joy").wait_for()
        # Links in sentences and tables lead to heads in the same way.
        page.locator("#in-short ~ .wide a", has_text="L1H0").last.click()
        page.get_by_role("heading", name="L1H0 of two, joy").wait_for()
        assert page.get_by_label("Model").first.input_value() == "two"
        assert seen.quiet()


def test_what_is_picked_holds_in_all_sections_and_keeps_the_focus(look, whole):
    with look(whole) as seen:
        page = seen.page
        page.locator("#circuits").scroll_into_view_if_needed()
        caption = page.locator("#circuits figcaption").first
        assert caption.inner_text().startswith("one, fear: ")
        model = page.locator("#circuits").get_by_label("Model")
        model.focus()
        model.select_option("two")
        page.locator("#circuits figcaption", has_text="two, fear: ").first.wait_for()
        focus = "document.activeElement.closest('section').id + document.activeElement.value"
        assert page.evaluate(focus) == "circuitstwo"
        assert page.locator("#explore").get_by_label("Model").input_value() == "two"
        before = cell(page, "L1H0").get_attribute("aria-label")
        page.locator(SCORE).select_option("head_ablation/mean/logit_diff")
        page.locator(".score", has_text="mean").wait_for()
        assert cell(page, "L1H0").get_attribute("aria-label") != before
        # One scale for all maps of a score: an effect of a twentieth is pale.
        assert cell(page, "L1H0").get_attribute("class").startswith("c-")
        assert seen.quiet()


def test_tables_are_sorted_by_their_columns(look, whole):
    with look(whole) as seen:
        table = seen.page.locator(".ranked table")
        value = "rows => rows.map(row => Number(row.cells[1].dataset.v))"
        heading = table.locator("th").nth(1)
        for direction, reverse in (("descending", True), ("ascending", False)):
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == direction
            found = table.locator("tbody tr").evaluate_all(value)
            assert len(found) == 4 and found == sorted(found, reverse=reverse)
        assert seen.quiet()


def test_columns_are_explained_to_the_keyboard_too(look, whole):
    with look(whole) as seen:
        page = seen.page
        tip = page.get_by_role("tooltip")
        assert tip.is_hidden()
        page.locator(".ranked th button").nth(1).focus()
        assert "logits" in tip.inner_text() and "Formula" in tip.inner_text()
        page.keyboard.press("Escape")
        assert tip.is_hidden()
        page.locator(".ranked th button").nth(1).hover()
        assert tip.is_visible()
        assert seen.quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_look_follows_the_system_until_the_button_says_otherwise(look, whole, scheme):
    with look(whole, color_scheme=scheme) as seen:
        bright = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)[0] > 128"
        assert seen.page.evaluate(bright) == (scheme == "light")
        other = {"light": "Dark", "dark": "Light"}[scheme]
        seen.page.get_by_role("button", name=other, exact=True).click()
        assert seen.page.evaluate(bright) == (scheme == "dark")
        assert seen.quiet()


def test_it_reads_without_scripts(look, whole):
    with look(whole, java_script_enabled=False) as seen:
        page = seen.page
        assert page.locator("ul.found li").first.is_visible()
        assert page.locator("#in-short ~ .wide table").first.is_visible()
        maps = page.locator("table.map")
        assert maps.count() == 4 and maps.first.is_visible()
        strong = maps.first.locator("td.c-n5")
        assert strong.count() == 1 and strong.inner_text().startswith("−")
        for name in ("circuits", "paths", "steering", "units", "models"):
            assert page.locator(f"#{name} tbody tr").count(), name
        page.set_viewport_size({"width": 360, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("main details summary").first.click()
        assert page.locator("main details table").first.is_visible()
        assert seen.quiet()


def test_the_check_shows_what_drifted_first(look, checked):
    with look(checked) as seen:
        page = seen.page
        page.locator("nav a[href='#check']").click()
        picture = page.locator("#check svg.picture")
        picture.wait_for()
        assert picture.locator(".whisker").count() == 3
        assert picture.locator("text").filter(has_text="L1H0-zero").count() == 1
        first = page.locator("#check tbody tr").first
        assert "L1H0" in first.inner_text() and "bad" in first.inner_html()
        assert seen.quiet()


@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_it_fits_every_width(look, whole, width):
    with look(whole, HEAD, viewport={"width": width, "height": 900}) as seen:
        page = seen.page
        page.locator("#head svg .mark").first.wait_for()
        for name in PICTURES:
            page.locator(f"#{name}").scroll_into_view_if_needed()
            page.locator(f"#{name} svg.picture").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.quiet()
