"""Hostile texts in every medium that shows text: shown, and never obeyed."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hostile import HOSTILE
from made import make_results
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from emolib.notebook import table as html_table
from emolib.reporting.export import CSV
from emolib.reporting.inert import latex, spreadsheet, terminal, visible
from emolib.reporting.markdown import escape, inline
from emolib.reporting.page.assets import json_element
from emolib.reporting.plot_style import drawing, plain
from emolib.reporting.tables import summary_table, write_tables
from emolib.results.records import Store

texts = pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
# What a terminal obeys: controls but for the line feed, marks of direction.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def tags(html):
    parser = Tags()
    parser.feed(html)
    parser.close()
    return parser


@texts
def test_a_terminal_has_nothing_to_obey(text):
    shown = terminal(text)
    assert not OBEYED.search(shown) and len(shown.splitlines()) <= 1
    shown.encode()
    assert visible("thank you, 日本語 😀\n") == "thank you, 日本語 😀\n"


@texts
@pytest.mark.parametrize("of", [escape, inline], ids=["escape", "inline"])
def test_markdown_is_the_text_and_nothing_else(text, of):
    html = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(f"| a |\n|-|\n| {of(text)} |\n")
    )
    found = tags(html)
    assert {tag for tag, _ in found.seen} <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert not any(attrs for _, attrs in found.seen)
    begin = " ↵ ".join(visible(text).strip().splitlines())[:100].strip()
    assert begin[:20] in found.text


@texts
def test_a_spreadsheet_finds_no_formula_and_the_rest_is_as_it_was(text):
    written = CSV.cell(text)
    ((cell,),) = list(csv.reader(io.StringIO(f"{written}\n", newline=""))) or [[""]]
    assert not re.match(r"\s*[=+\-@]", cell) and not re.search("[\x00-\x08\x0b\x0c\x1b]", cell)
    assert cell in (visible(text), f"'{visible(text)}")


@pytest.mark.parametrize("number", ["-0.5", "+1e-05", "-3", "1", ".5", "-inf", "nan"])
def test_numbers_stay_numbers_in_a_spreadsheet(number):
    assert spreadsheet(number).removeprefix("'") == number
    if number not in ("-inf",):
        assert spreadsheet(number) == number


@texts
def test_latex_finds_no_command_of_the_text_s(text):
    written = latex(text)
    ours = r"textbackslash\{\}|textasciitilde\{\}|\^\{\}|ensuremath\{[^{}]*\}|ensuremath\{\\\w+\}"
    rest = re.sub(rf"\\(?:{ours}|[&%$#_{{}}])", "", written)
    assert not set(rest.replace("{[}", "").replace("{]}", "")) & set("\\$&#%_^~{}[]|<>")
    assert "\n" not in written


@texts
def test_a_plot_reads_no_mathematics(text):
    label = _drawn(text)
    assert label.get_text() == plain(text) and len(plain(text)) <= 32
    assert not label.get_parse_math() and not OBEYED.search(plain(text))


@drawing
def _drawn(text):
    figure = Figure(figsize=(2, 2))
    label = figure.text(0.1, 0.5, plain(text))
    figure.canvas.draw()
    return label


@texts
def test_json_in_a_page_ends_with_its_own_element(text):
    found = str(json_element("data", {"text": text.replace("\ud800", "")}))
    assert len(tags(found).seen) == 1 and found.count("<") == 2
    inside = found[found.index(">") + 1 : found.rindex("<")]
    assert json.loads(inside) == {"text": text.replace("\ud800", "")}


@texts
def test_a_table_in_a_notebook_is_text(text):
    found = tags(html_table([{"what": text, "n": 1}])._repr_html_())
    assert not {tag for tag, _ in found.seen} & {"script", "img", "b", "a"}
    assert not any(name.startswith("on") for _, attrs in found.seen for name, _ in attrs)


@pytest.mark.parametrize("fmt", ["simple", "github", "html", "latex"])
def test_tables_of_hostile_rows(tmp_path, fmt):
    folder = make_results(tmp_path / "results/demo", emotions=("joy",))
    rows = list(Store(folder).rows("head_ablation"))[:3]
    for row, text in zip(rows, HOSTILE[:1] + HOSTILE[7:8] + HOSTILE[11:12], strict=True):
        row.labels["said"] = text
    shown = summary_table(rows, fmt=fmt, width=10_000)
    assert "\x1b" not in shown and (fmt != "html" or "<script>" not in shown)
    write_tables(tmp_path, rows)
    assert "<script>" not in (tmp_path / "head_ablation.md").read_text("utf-8")
    with (tmp_path / "head_ablation.csv").open(newline="") as file:
        said = [line["said"] for line in csv.DictReader(file)]
    assert said[2].startswith("'=cmd|") and "\x1b" not in said[1]
