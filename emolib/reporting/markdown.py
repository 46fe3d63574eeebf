"""Text and tables in Markdown that nothing recorded can break."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from emolib.reporting.cells import cell
from emolib.reporting.inert import terminal, visible

_LONGEST = 300
# An underscore inside a word marks nothing, and names are better read without a backslash.
_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
# What begins a list or a heading where it stands first.
_OPENING = re.compile(r"^(\d*)([.)#+=-])")


def escape(text: str) -> str:
    r"""Return text that Markdown and HTML show as it is, on one line, cut where it is long.

    >>> print(escape("- a|b <i> *c* max_new_tokens"))
    \- a\|b &lt;i&gt; \*c\* max_new_tokens
    """
    return _OPENING.sub(r"\1\\\2", inline(text))


def escape_whole(text: str) -> str:
    """Return text as `escape` does, however long."""
    return _OPENING.sub(r"\1\\\2", _marked(_one_line(text)))


def _marked(shown: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", html.escape(shown, quote=False))


def inline(text: str) -> str:
    """Return text as `escape` does, for a place where other text stands before it."""
    shown = _one_line(text)
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 1] + "…"
    return _marked(shown)


def _one_line(text: str) -> str:
    return " ↵ ".join(visible(text).strip().splitlines())


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines as a Markdown table: texts escaped, numbers for reading, intervals in brackets.

    Columns in which no line has anything to show are left out.
    """
    names = dict.fromkeys(name for line in lines for name in line)
    filled = [name for name in names if any(line.get(name) not in (None, "") for line in lines)]
    cells = [[_cell(line.get(name)) for name in filled] for line in lines]
    headers = [inline(name) for name in filled]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def plain_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines as a table for a terminal."""
    shown = [{name: terminal(cell(value)) for name, value in line.items()} for line in lines]
    return tabulate(shown, headers="keys", disable_numparse=True)


def _cell(value: Any) -> str:
    return inline(value) if isinstance(value, str) else cell(value)
