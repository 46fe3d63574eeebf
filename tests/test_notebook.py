"""What a notebook shows: maps of heads, tables, and objects, with every text escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from made import HOSTILE, make_results

import emolib
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.notebook import facts, head_map, stacked, table
from emolib.results.records import Store

EVIL = f"\x1b[31m<img src=x onerror=alert(1)> \u202e</script>\" ' {HOSTILE}"


class Read(HTMLParser):
    """The elements of a piece of HTML, their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def read(shown):
    return Read(shown._repr_html_())


def cells(shown):
    """Return the cells of a map by the name in their titles: the text, and the background."""
    found = re.findall(r'background: #(\w+)[^>]*title="(L\d+H\d+): [^"]*">([^<]*)<', _html(shown))
    return {head: (text, back) for back, head, text in found}


def _html(shown):
    return shown._repr_html_()


def test_a_map_has_a_cell_a_head_coloured_by_its_size_and_sign():
    found = cells(head_map({Head(0, 0): -6.111, Head(0, 1): 3.0, Head(1, 0): 0.001, "L1H1": None}))
    assert {head: text for head, (text, _) in found.items()} == {
        "L0H0": "-6.11",
        "L0H1": "3.00",
        "L1H0": "0.00",
    }
    backs = [back for _, back in found.values()]
    assert len(set(backs)) == 3
    # The same sizes either way round: what is below 0 has a colour of its own.
    turned = cells(head_map([[6.111, -3.0], [-0.001, None]]))
    assert not {back for _, back in turned.values()} & set(backs[:2])
    assert turned["L1H0"] == ("0.00", backs[2])


def test_maps_of_one_limit_have_one_scale():
    alone, beside = head_map([[1.0]]), head_map([[1.0]], limit=10)
    assert cells(alone)["L0H0"] != cells(beside)["L0H0"]
    assert cells(head_map([[10.0]]))["L0H0"][1] == cells(head_map([[20.0]], limit=10))["L0H0"][1]
    assert read(head_map([[0.0, 0.0]])).text.count("0.00") == 2


@pytest.mark.parametrize(
    "values",
    [
        {"L0H0": 1.0, "L1H1": float("nan")},
        pd.Series({"L0H0": 1.0, "L1H1": np.nan}),
        np.array([[1.0, np.nan], [np.nan, np.nan]]),
    ],
    ids=["a dict", "a series", "an array"],
)
def test_where_there_is_no_value_there_is_no_colour(values):
    shown = head_map(values, "one")
    assert repr(shown) == "one\n    H0    H1\nL0  1.00  –\nL1  –     –"
    assert list(cells(shown)) == ["L0H0"]


def test_a_wide_map_keeps_its_numbers_in_titles():
    shown = head_map(np.full((3, 32), -1.5))
    assert "-1.50" not in re.sub(r"<[^>]*>", "", _html(shown))
    assert _html(shown).count('title="L2H31: -1.50"') == 1


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"L0H0+L0H1": 1.0}, r"expected heads such as L0H2, got 'L0H0\+L0H1'"),
        ({EVIL: 1.0}, "expected heads such as L0H2"),
        (pd.Series([1.0, 2.0], ["L0H0", "L0H0"]), "got L0H0 more than once; choose the rows"),
        ({"L0H99999999": 1.0}, "expected numbers below"),
    ],
)
def test_what_is_no_map_is_refused(values, told):
    with pytest.raises(InputError, match=told):
        head_map(values)


def test_no_map_at_all():
    assert cells(head_map({})) == cells(head_map([])) == {}


@pytest.mark.parametrize(
    "shown",
    [
        table([{EVIL: EVIL, "n": 1}], EVIL),
        facts({EVIL: EVIL}, EVIL),
        head_map([[1.0]], EVIL),
        stacked(table([{"a": EVIL}]), facts({"b": EVIL})),
    ],
    ids=["table", "facts", "map", "stacked"],
)
def test_hostile_text_is_text(shown):
    found = read(shown)
    assert set(found.tags) <= {"table", "caption", "tr", "th", "td", "div", "span"}
    assert {name for name, _ in found.attributes} <= {"style", "dir", "scope", "title"}
    assert EVIL in found.text
    # In a terminal nothing is obeyed.
    assert "\x1b" not in repr(shown) and "\u202e" not in repr(shown)
    assert "<img" in repr(shown)


def test_a_table_has_a_column_for_every_name():
    shown = table([{"a": 1, "b": None}, {"c": 0.12345}], "three")
    assert repr(shown) == "three\na  b  c\n1  –\n      0.123"
    assert read(shown).tags.count("th") == 3 and read(shown).tags.count("td") == 6


def test_heads_show_their_names():
    assert Read(Head(3, 5)._repr_html_()).text == "L3H5"
    both = HeadSet((Head(3, 5), Head(0, 1)))
    assert Read(both._repr_html_()).text == "L0H1 + L3H5 (2 heads, edited together)"
    assert Read(HeadSet((Head(3, 5),))._repr_html_()).text == "L3H5"


def test_a_row_shows_what_it_ran_on_and_its_metrics(tmp_path):
    store = Store(make_results(tmp_path, models=("one",), emotions=("joy",)))
    row = next(row for row in store.rows("head_ablation") if row.dims["heads"] == "L1H0")
    text = Read(row._repr_html_()).text
    low, high = row.interval("logit_diff")
    for part in ("head_ablation", "joy", "L1H0", f"{row.mean('logit_diff'):.3g}"):
        assert part in text
    assert f"[{low:.3g}, {high:.3g}]" in text
    evil = replace(row, dims={"model": EVIL}, labels={EVIL: EVIL}, values={EVIL: None})
    found = Read(evil._repr_html_())
    assert set(found.tags) <= {"table", "caption", "tr", "th", "td"} and EVIL in found.text


def test_what_was_loaded_shows_its_experiments(tmp_path):
    make_results(tmp_path / "mine", models=("one",))
    results = emolib.load(tmp_path)
    found = Read(results._repr_html_())
    assert found.tags.count("tr") == 1 + len(results.experiments)
    rows = results.rows("head_ablation")
    assert f"head_ablation{len(rows)}onefear, joy" in found.text
    one = rows.query("emotion == 'joy' and ablation == 'zero'").set_index("heads")["logit_diff"]
    assert cells(emolib.head_map(one))["L1H0"][0] == f"{one['L1H0']:.2f}"


def test_a_study_shows_its_first_pair(load):
    study = emolib.study(load("tiny-neo"), "anger", position="slot")
    text = Read(study._repr_html_()).text
    assert study.pairs.emotion.texts[0] in text and study.pairs.neutral.texts[0] in text
    assert "tiny-neo (gpt_neo), 4 layers of 4 heads" in text and "slot" in text
    assert repr(study) == (
        "<tiny-neo (gpt_neo), 4 layers of 4 heads; 90 pairs of anger, 18 templates; position slot>"
    )
    # To look at it runs nothing.
    assert not study._clean and "runner" not in vars(study)
