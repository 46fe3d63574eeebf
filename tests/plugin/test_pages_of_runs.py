"""``--html``: the page that a run writes at its end."""

from __future__ import annotations

import re

import pytest
from pytest_emolib import options


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["serial", "workers"])
def test_a_run_that_asks_writes_its_page(light, workers):
    result = light.pytest("--html", "exp_effect.py", *workers)
    assert result.ret == 0
    page = light.results("report/index.html")
    assert str(page.relative_to(light.path)) in result.stdout.str()
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>") and "tiny-gpt2" in text
    assert re.search(r'"studies":\[\{"model":"tiny-gpt2","emotion":"anger"', text)


def test_a_run_that_does_not_ask_writes_none(light):
    assert light.pytest("exp_effect.py").ret == 0
    assert not light.results("report").exists()


def test_a_page_that_cannot_be_written_is_an_error_and_the_rows_stay(light):
    light.write("results/small/report", "a file where the folder would be")
    result = light.pytest("--html", "exp_effect.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *report*"])
    assert len(light.rows()) == 8


def test_beside_pytest_html_the_option_is_its_own(monkeypatch):
    flags: list[str] = []

    class Group:
        def addoption(self, flag, **how):
            flags.append(flag)

    class Parser:
        def getgroup(self, *named):
            return Group()

    monkeypatch.setattr(options, "find_spec", lambda name: name == "pytest_html")
    options.add_options(Parser())
    assert options.HTML not in flags and options.HTML_BESIDE in flags and "--plan" in flags
    flags.clear()
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    options.add_options(Parser())
    assert options.HTML in flags and options.HTML_BESIDE not in flags
