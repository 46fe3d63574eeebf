"""Two runs beside each other as a page: whole without scripts, shut to everything else."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from made import HOSTILE
from two_runs import SIDES, effect, moved

from emolib.reporting import run_pairs_page
from emolib.reporting.run_pairs import Diff, Moved
from emolib.reporting.run_pairs_page import page, write_page


class Read(HTMLParser):
    """What of a page is elements, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def cells(text, index):
    """Give the line of the effect table of that number, its cells as text."""
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    line = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)[index]
    return [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", line)]


def test_what_it_says():
    found = Diff(*SIDES, [moved(2.0, 1.0), moved(1.0, 1.0)], ["gone"], [], ["seed: 0 in A; 1 in B"])
    text = page(found)
    assert cells(text, 0) == ["ablation[one-joy-L0H0]", "2.035", "1.035", "-1.000",
                              "[-1.000, -1.000]", "", "0.407", "8", "logit_diff"]  # fmt: skip
    texts = " ".join(" ".join(Read(text).texts).split())
    for told in ("two effects in both: 1 drifted , 1 replayed", "seed: 0 in A; 1 in B", "gone",
                 "one L0H0: one effect smaller by 49 %", "In A alone (1)"):  # fmt: skip
        assert told in texts
    assert "In B alone" not in texts


def test_it_lets_nothing_run_and_nothing_in():
    text = page(Diff(*SIDES, [moved(2.0, 1.0)], [], []))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    read = Read(text)
    assert not {"script", "img", "link", "iframe", "object", "base"} & set(read.tags)
    names = {name for name, _ in read.attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "href", "src")}


def test_hostile_names_are_text():
    bad = "\x1b[2J\u202e</style><script>alert(1)</script><b onclick=x>" + HOSTILE
    gone = Moved(effect([1.0], bad), effect([2.0], bad), None, bad)
    found = Diff(*SIDES, [moved(2.0, 1.0, bad, model=bad), gone], [bad], [bad], [bad])
    text = page(found)
    plain = Read(page(Diff(*SIDES, [moved(2.0, 1.0), gone], ["x"], ["x"], ["x"])))
    read = Read(text)
    assert read.tags.count("li") == plain.tags.count("li")
    assert set(read.tags) == set(plain.tags) and "b" not in read.tags
    assert "\x1b" not in text and "\u202e" not in text
    assert "</style><script>alert(1)" in "".join(read.texts)


def test_a_page_has_no_more_of_a_kind_than_fits(monkeypatch, tmp_path):
    monkeypatch.setattr(run_pairs_page, "SHOWN", 2)
    found = Diff(*SIDES, [moved(2.0, 1.0, f"L0H{i}") for i in range(5)], [], [])
    write_page(tmp_path / "out/diff.html", found)
    text = (tmp_path / "out/diff.html").read_text("utf-8")
    assert text.count('<th scope="row">') == 2 and "3 more are in" in text
