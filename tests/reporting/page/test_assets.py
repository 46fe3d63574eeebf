"""The browser's side: what may run, and that no text ends the element it is in."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.reporting.page import assets


def test_every_script_in_the_folder_is_on_the_page():
    there = {path.name for path in assets.FOLDER.glob("*.js")}
    assert set(assets.SCRIPTS) == there and len(assets.SCRIPTS) == len(there)


def test_the_policy_lets_in_what_it_hashes():
    found = assets.policy("let x;", "b {}")
    for text in ("let x;", "b {}"):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in found
    assert "default-src 'none'" in found and "unsafe" not in found and "http" not in found


@given(st.text() | st.lists(st.sampled_from(["</script>", "<!--", "&lt;", "\u2028", "]]>", "a"])))
def test_json_stays_inside_its_element(value):
    element = str(assets.json_element("data", value))
    body = element.removeprefix('<script type="application/json" id="data">')
    body = body.removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(body) and json.loads(body) == value


def test_names_of_elements_are_escaped():
    assert str(assets.blob_element('"><b>', "QQ==")) == (
        '<script type="text/plain" id="&#34;&gt;&lt;b&gt;">QQ==</script>'
    )


def test_what_would_end_its_element_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    for name, text in (("a.js", "let x = '</Script>'"), ("b.css", "/* </style> */")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="cannot stand inside the page"):
            assets._read(name)
