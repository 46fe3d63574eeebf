"""The page as a file: what is in it, how large it gets, and that nothing gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made import around, rows_of
from page_results import HOSTILE, LONG, LONGEST, SHORT

from emolib.errors import InputError
from emolib.reporting.page.page_blobs import unpack
from emolib.reporting.page.page_writer import write_page
from emolib.results.records import Store


class Page(HTMLParser):
    """The elements of a page, with their text."""

    def __init__(self, path):
        super().__init__()
        self.rawtext = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: list[tuple[dict[str, str | None], str]] = []
        self.comments: list[str] = []
        self.feed(self.rawtext)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append((dict(attrs) | {"tag": tag}, ""))

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_data(self, data):
        if self.cdata_elem:
            attrs, text = self.inside[-1]
            self.inside[-1] = attrs, text + data
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)

    def of(self, name):
        return next(text for attrs, text in self.inside if attrs.get("id") == name)

    @property
    def data(self):
        return json.loads(self.of("data"))

    @property
    def blobs(self):
        return {a["id"]: unpack(t) for a, t in self.inside if a.get("type") == "text/plain"}


@pytest.fixture(scope="module")
def page(full, tmp_path_factory):
    return Page(write_page(full, tmp_path_factory.mktemp("out")))


@pytest.fixture(scope="module")
def attacked(hostile, tmp_path_factory):
    return Page(write_page(hostile, tmp_path_factory.mktemp("out")))


def test_the_page_has_a_part_for_everything(page):
    data = page.data
    assert [(study["model"], study["emotion"]) for study in data["studies"]] == [
        ("one", "fear"), ("one", "joy"), ("two", "fear"), ("two", "joy"),
    ]  # fmt: skip
    assert all(len(data[view]) == 4 for view in ("circuits", "paths", "steering", "units"))
    assert data["comparison"]["lines"] and data["default_score"] == "head_ablation/zero/logit_diff"
    for study in data["studies"]:
        assert study["top"][0] == "L1H0"
        assert {f"{study['blob']}-{head}" for head in study["top"]} <= page.blobs.keys()
        assert page.blobs[study["blob"]]["maps"][data["default_score"]]["mean"][2] < -1.5
        detail = page.blobs[f"{study['blob']}-L1H0"]
        assert detail["texts"] and detail["attention"] and len(detail["effects"][0]["values"]) == 24
    ids = {attrs.get("id") for tag, attrs in page.elements}
    assert {"heads", "circuits", "paths", "steering", "units", "check"} <= ids
    for word in ("L1H0", "resid:1", "L0U7", "silence"):
        assert word in page.text


def test_the_same_records_give_the_same_bytes(full, tmp_path):
    first, second = (write_page(full, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_nothing_runs_but_the_one_script_and_nothing_is_fetched(page):
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv")]
    assert [t for t, _ in page.elements if t in ("meta", "script", "style")][:2] == ["meta"] * 2
    running = [(a, text) for a, text in page.inside if a["tag"] == "script" and not a.get("type")]
    styles = [text for a, text in page.inside if a["tag"] == "style"]
    assert len(running) == len(styles) == 1
    for kind, text in (("script", running[0][1]), ("style", styles[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    _check_attributes(page)


def _check_attributes(page):
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            assert name != "style" and not name.startswith("on"), (tag, name, value)
            if name in ("href", "src"):
                assert value.startswith(("#", "data:")), (tag, name, value)
        assert tag not in ("iframe", "object", "embed", "base", "img", "b"), tag


def test_hostile_text_is_text(attacked, page):
    _check_attributes(attacked)
    assert {tag for tag, _ in attacked.elements} <= {tag for tag, _ in page.elements}
    assert not attacked.comments
    kinds = {(a["tag"], a.get("type")) for a, _ in attacked.inside}
    assert kinds == {(a["tag"], a.get("type")) for a, _ in page.inside}
    # As text it is there, with what is obeyed or hidden made visible.
    assert "<script>alert(1)</script></SCRIPT ><!-- --> ]]> &lt;" in attacked.text
    assert "⟨U+202E⟩RTL⟨U+2066⟩ ␛[31mANSI" in attacked.text and "{{ 7 * 7 }}" in attacked.text
    assert not set("\u202e\u2066\x1b") & set(attacked.text)
    assert "more characters" in attacked.text and LONG not in attacked.text


def test_hostile_text_comes_through_to_the_scripts_whole(attacked):
    data = attacked.data
    (told,) = data["studies"]
    assert (told["model"], told["emotion"]) == (f"m{SHORT}</script>", f"e{SHORT}")
    assert "#m%3Cb%20onclick%3Dx%3E%22%E2%80%AE%3C%2Fscript%3E/" + (
        "e%3Cb%20onclick%3Dx%3E%22%E2%80%AE"
    ) in {attrs.get("href") for _, attrs in attacked.elements}
    raw = attacked.of("data")
    assert not re.search("[<>&\u2028\u2029]", raw)
    study = attacked.blobs["b-0"]
    assert study["emotion"][0] == f"{HOSTILE} {LONG}" and data["circuits"][0]["by"] == HOSTILE
    assert attacked.blobs["b-s0"]["texts"][0]["rows"][0][1] == f"{HOSTILE} {LONG}{LONGEST} more"
    texts = attacked.blobs["b-0-L1H0"]["texts"][0]["rows"]
    assert texts[0][1].startswith(HOSTILE)


def test_a_budget_leaves_out_what_changed_least_and_says_so(full, page, tmp_path):
    size = len(page.rawtext.encode())
    bare = size - sum(len(text) for a, text in page.inside if a.get("type") == "text/plain")
    budget = (size + bare) / 2
    path = write_page(full, tmp_path, max_mb=budget / 1e6)
    small = Page(path)
    assert bare < path.stat().st_size <= budget
    shown = sum(len(t["rows"]) for b in small.blobs.values() for t in b.get("texts", ())
                if isinstance(t, dict) and "side" in t)  # fmt: skip
    assert shown and f"Of 1,152 changed texts {shown:,} are here" in small.text
    assert any(f"{study['blob']}-L1H0" in small.blobs for study in small.data["studies"])
    for study in small.data["studies"]:
        kept = [head for head in study["top"] if f"{study['blob']}-{head}" in small.blobs]
        assert kept == study["top"][: len(kept)]


def test_an_emotion_alone(full, tmp_path):
    page = Page(write_page(full, tmp_path, emotion="joy"))
    for view in ("studies", "circuits"):
        assert {one["emotion"] for one in page.data[view]} == {"joy"}
    with pytest.raises(InputError, match="no rows on 'awe'; run `pytest experiments` first"):
        write_page(full, tmp_path, emotion="awe")


def test_no_rows_no_page(tmp_path):
    with pytest.raises(InputError, match="no rows; run `pytest experiments` first"):
        write_page(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_run_alone(full, tmp_path):
    run = Store(full).runs()[0].id
    assert Page(write_page(full, tmp_path, run=run)).data["studies"]


def test_an_experiment_of_somebody_s_own_alone_makes_a_page(tmp_path):
    store = Store(tmp_path / "mine")
    for experiment, dims in (("silence", {}), ("loudness", {"heads": "L0H1"})):
        store.append(rows_of(experiment, {"score": around(2.0)}, **dims))
    bare = rows_of("plain", {"score": 2.0})
    store.append([replace(row, dims={}, pairs={}) for row in bare])
    store.close()
    page = Page(write_page(tmp_path / "mine"))
    assert page.data["studies"] == [] and page.data["default_score"] is None
    for word in ("silence", "loudness", "plain", "2.03 ["):
        assert word in page.text


def test_an_experiment_of_somebody_s_own_on_heads_has_a_map(tmp_path):
    store = Store(tmp_path / "mine")
    rows = rows_of("loudness", {"score": around(2.0)}, heads="L0H1")
    store.append([replace(row, provenance={"shape": {"layers": 1, "heads": 2}}) for row in rows])
    store.close()
    page = Page(write_page(tmp_path / "mine"))
    assert page.data["default_score"] == "loudness/score"
    assert page.blobs["b-0"]["maps"]["loudness/score"]["mean"] == [None, 2.035]
    assert len(page.blobs["b-0-L0H1"]["effects"][0]["values"]) == 8
