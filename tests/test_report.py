"""The report says what the records say, in text that nothing recorded can break."""

from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import HOSTILE, make_results

from emolib import report
from emolib.errors import InputError
from emolib.plots import draw
from emolib.report import escape, write_report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results") / "mine", text=HOSTILE)


def sections(text):
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def test_examples():
    assert doctest.testmod(report) == (0, 1)


def test_every_section_says_what_was_recorded(results):
    found = sections(write_report(results).read_text("utf-8"))
    assert list(found) == [
        "Setup", "Screening", "Ablation", "Patching", "Attention from the last token",
        "Models side by side", "What is significant", "Texts", "Figures",
    ]  # fmt: skip
    assert "| one     | one  | gpt2   | 2 × 2" in found["Setup"]
    assert "split-half reliability 0.90" in found["Screening"]
    first = re.search(r"^\| (L\dH\d) .*", found["Screening"], re.MULTILINE)
    assert first[1] == "L1H0"
    row = re.search(r"^\| L1H0 .*", found["Ablation"], re.MULTILINE)[0]
    assert "a constant" in row and re.search(r"-[12]\.\d+ \[", row)
    assert "R is left out: the clean gap is below 0.1." in found["Patching"]
    assert "denoise at last" in found["Patching"] and "at slot" not in found["Patching"]
    chances = found["What is significant"]
    assert re.search(r"head_ablation, one, joy, zero +\| 4 +\| 1 +\| L1H0", chances)
    assert "head_patching, one, joy, noise, last" in chances
    assert "Rank correlation" in found["Models side by side"]


def test_the_same_records_give_the_same_bytes(results, tmp_path):
    first = write_report(results).read_bytes()
    assert write_report(results).read_bytes() == first
    assert write_report(make_results(tmp_path / "mine", text=HOSTILE)).read_bytes() == first


def test_texts_break_neither_markdown_nor_html(results):
    text = write_report(results).read_text("utf-8")
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert all(re.search(r"(?<!\\)[`$*]", line) is None
               for line in sections(text)["Texts"].splitlines())  # fmt: skip
    for line in sections(text)["Texts"].splitlines()[1:]:
        assert line == "" or line.startswith(("### ", "- ", "  - "))


@given(st.text(max_size=40))
def test_escaped_text_is_one_line_without_live_marks(text):
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]|~$<>]", shown)
    assert not re.match(r"\s*(\d+[.)]|[#+=-])", shown)


def test_one_emotion_and_fewer_heads(results, tmp_path):
    path = write_report(results, tmp_path / "out", emotion="joy", top_n=1)
    text = path.read_text("utf-8")
    assert path == tmp_path / "out/head_analysis_report.md"
    assert "fear" not in sections(text)["Ablation"] and "L0H0" not in sections(text)["Ablation"]


@pytest.mark.parametrize("reliability", [None, 0.5])
def test_an_unreliable_ranking_is_not_printed_as_one(tmp_path, reliability):
    text = write_report(make_results(tmp_path, reliability=reliability)).read_text("utf-8")
    part = sections(text)["Screening"]
    assert "No ranking: " in part and "By |atp_ig|" not in part
    heads = re.findall(r"^\| (L\dH\d)", part, re.MULTILINE)[:4]
    assert heads == sorted(heads)


def test_figures_are_linked_from_where_the_report_is(results, tmp_path):
    assert "python -m emolib plots" in sections(write_report(results).read_text("utf-8"))["Figures"]
    made = make_results(tmp_path / "a folder", shape=(2, 1))
    draw(made)
    for out in (None, tmp_path / "else/where"):
        path = write_report(made, out)
        links = re.findall(r"\]\((.*?)\)", sections(path.read_text("utf-8"))["Figures"])
        assert len(links) >= 7
        assert all((path.parent / link.replace("%20", " ")).is_file() for link in links)


def test_what_was_not_run_is_named(tmp_path):
    store = make_results(tmp_path / "whole", models=("one",), emotions=("joy",))
    lines = (store / "records.jsonl").read_text("utf-8").splitlines(keepends=True)
    only = [line for line in lines if '"experiment": "head_screening"' in line]
    (tmp_path / "part").mkdir()
    (tmp_path / "part/records.jsonl").write_text("".join(only), encoding="utf-8")
    found = sections(write_report(tmp_path / "part").read_text("utf-8"))
    assert "Not run: `pytest experiments/exp_head_patching.py`." in found["Patching"]
    assert "Not run: `pytest experiments/exp_head_ablation.py`." in found["What is significant"]


def test_nothing_to_report(tmp_path, results):
    with pytest.raises(InputError, match=r"records\.jsonl: no rows; run `pytest experiments`"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"no rows on 'envy'; run"):
        write_report(results, emotion="envy")
