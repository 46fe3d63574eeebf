"""The browser's side of the page: its template, style and scripts, and what may run in it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from emolib.errors import UNSEEN

FOLDER = Path(__file__).parent
SCRIPTS = (
    "dom.js", "data.js", "theme.js", "terms.js", "download.js", "tables.js", "charts.js",
    "plots.js", "matrix.js", "texts.js", "attention.js", "map.js", "head.js", "studies.js",
    "steering.js", "models.js", "main.js",
)  # fmt: skip
"""In the order in which they are joined: the last begins."""
STYLE = "page.css"
TEMPLATE = "page.html"
# What ends an element or begins a comment wherever it stands.
_FORBIDDEN = ("</script", "</style", "<!--", "\r")
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
# By how JSON may write what HTML or JavaScript would read as its own.
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
# What hides or reorders text where the page is read as one; the scripts get it as it was.
_HIDDEN = re.compile(f"[\x85{UNSEEN}]")


def script() -> str:
    """Return the scripts as one, in a scope of its own."""
    parts = "\n".join(_read(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


def style() -> str:
    """Return the style."""
    return _read(STYLE)


@cache
def _read(name: str) -> str:
    text = (FOLDER / name).read_text(encoding="utf-8")
    if wrong := [part for part in _FORBIDDEN if part in text.lower()]:
        raise ValueError(f"{name}: has {wrong[0]!r}, which cannot stand inside the page")
    return text


def policy(script_text: str, style_text: str) -> str:
    """Return a Content-Security-Policy under which one script and one style alone run."""
    return _POLICY.format(script=_hash(script_text), style=_hash(style_text))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode("ascii")


def json_element(name: str, value: Any) -> Markup:
    """Return a value as JSON in an element that is read and never run."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    element = Markup('<script type="application/json" id="{}">{}</script>')
    return element.format(name, Markup(_HIDDEN.sub(_escape, text.translate(_ESCAPED))))


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def blob_element(name: str, packed: str) -> Markup:
    """Return a packed text, base64, in an element that is read and never run."""
    return Markup('<script type="text/plain" id="{}">{}</script>').format(name, packed)


def render(context: Mapping[str, Any], data: Any, blobs: Mapping[str, str]) -> Iterator[str]:
    """Yield the page in pieces.

    Args:
        context: What the template shows, all of it text.
        data: What the scripts read.
        blobs: By id what they read when it is asked for, packed.
    """
    code, look = script(), style()
    elements: dict[str, Any] = {
        "csp": Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(
            policy(code, look)
        ),
        "style": _whole("style", look),
        "script": _whole("script", code),
        "data": json_element("data", data),
        "blobs": _elements(blobs),
    }
    template = _environment().get_template(TEMPLATE)
    return template.generate({**context, **elements})


def _elements(blobs: Mapping[str, str]) -> Iterable[Markup]:
    return (blob_element(name, packed) for name, packed in blobs.items())


def _whole(tag: str, text: str) -> Markup:
    return Markup(f"<{tag}>{text}</{tag}>")


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
