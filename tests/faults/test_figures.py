"""What is written down of campaigns, and that one which finds something fails."""

from __future__ import annotations

import json

import campaign
import figures
import pytest
from campaign import Size, Tally


def test_a_campaign_fails_where_anything_went_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "FIGURES", tmp_path)
    tally = Tally("kills, -n 2", Size(True))
    tally.case("a", [])
    tally.case("b", ["lost x", "hung"])
    with pytest.raises(AssertionError, match="kills, -n 2: 2 of 2\nb: lost x"):
        tally.end(met=1)
    with pytest.raises(AssertionError):
        Tally("nothing", Size(True)).end()
    (path, _) = sorted(tmp_path.iterdir())
    assert json.loads(path.read_text("utf-8")) == {
        "name": "kills, -n 2", "tried": 2, "bad": ["b: lost x", "b: hung"], "said": {"met": 1}
    }  # fmt: skip


def test_small_ones_are_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "FIGURES", tmp_path)
    tally = Tally("kills", Size(False))
    tally.case("a", [])
    tally.end()
    assert not list(tmp_path.iterdir())


def test_the_page_gets_the_table(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{figures.BEGIN}old\n{figures.END}\nafter\n", "utf-8")
    monkeypatch.setattr(figures, "PAGE", page)
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    with pytest.raises(SystemExit, match="make faults"):
        figures.main()
    said = {"name": "kills", "tried": 1200, "bad": [], "said": {"met a run": 1100}}
    (tmp_path / "a.json").write_text(json.dumps(said), "utf-8")
    figures.main()
    text = page.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| kills      | 1,200   | 0            | met a run 1,100 |" in text


def test_the_page_of_the_project_has_a_place_for_it():
    text = figures.PAGE.read_text("utf-8")
    assert text.count(figures.BEGIN) == text.count(figures.END) == 1
