"""``python -m emolib view``."""

from __future__ import annotations

import webbrowser

import pytest
from made import make_results

from emolib import __main__ as command


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_results(tmp_path / "results/demo", ("one",), ("joy", "fear"))


@pytest.fixture
def opened(monkeypatch):
    """Give the addresses that a browser is asked to show."""
    found: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: found.append(address) is None)
    return found


def test_it_prints_where_the_page_is_and_opens_it_when_asked(results, capsys, opened):
    assert command.main(["view"]) == 0
    assert capsys.readouterr().out == "results/demo/report/index.html\n" and not opened
    assert command.main(["view", "--open", "--output-dir", "out"]) == 0
    assert capsys.readouterr().out == "out/index.html\n"
    assert opened == [(results.parents[1] / "out/index.html").as_uri()]


def test_without_a_browser_it_says_the_address(results, capsys, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert command.main(["view", "--open"]) == 0
    said = capsys.readouterr().out.splitlines()[1]
    assert said.startswith("no browser to open it with; its address is file://")
    assert said.endswith("/results/demo/report/index.html")


def test_options_reach_the_page(results, capsys):
    assert command.main(["view", "--emotion", "joy", "--max-mb", "0.01"]) == 0
    page = (results / "report/index.html").read_text("utf-8")
    assert "#one/joy" in page and "#one/fear" not in page
    assert "changed texts 0 are here" in page


@pytest.mark.parametrize("size", ["0", "-1", "inf", "nan", "much"])
def test_a_size_that_is_none_is_refused(results, capsys, size):
    with pytest.raises(SystemExit):
        command.main(["view", "--max-mb", size])
    assert f"expected megabytes above 0, as in 10, got '{size}'" in capsys.readouterr().err


def test_what_is_not_there_is_said(results, capsys):
    assert command.main(["view", "--emotion", "awe"]) == 2
    assert "no rows on 'awe'" in capsys.readouterr().err
    assert command.main(["view", "--baseline", "none.json"]) == 2
    assert "none.json: no such baseline" in capsys.readouterr().err
    assert command.main(["view", "--profile", "empty"]) == 2
    assert "run `pytest experiments` first" in capsys.readouterr().err
