"""Text of users and models as it is shown, so that nothing in it is obeyed: one function a medium.

- a terminal: `terminal`. Markdown: `emolib.reporting.markdown.escape` and ``inline``.
- CSV, which a spreadsheet may open: `spreadsheet`. LaTeX: `latex`.
- plots: `emolib.reporting.plot_style.plain`; nothing there is read as mathematics.
- HTML: templates of Jinja2 with autoescape, and `emolib.reporting.page.assets.json_element` for
  JSON in a page; in a notebook elements of ``xml.etree`` (`emolib.notebook`).
"""

from __future__ import annotations

import re

from emolib.errors import UNSEEN

# Controls of ASCII too, which a terminal obeys, but for white space.
_UNSEEN = re.compile(f"[\x00-\x08\x0e-\x1b\x1f{UNSEEN}]")
# What a cell of a spreadsheet begins with where it is a formula.
_FORMULA = re.compile(r"\s*[=+\-@]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# A bracket after the end of a row would be read as its option.
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\textasciitilde{}", "[": "{[}", "]": "{]}"}
    | {"<": r"\ensuremath{<}", ">": r"\ensuremath{>}", "|": r"\ensuremath{|}"}
    # What headings and numbers have; without a font for it pdflatex stops.
    | {"−": r"\ensuremath{-}", "Δ": r"\ensuremath{\Delta}", "Σ": r"\ensuremath{\Sigma}"}
    | {"α": r"\ensuremath{\alpha}", "∅": r"\ensuremath{\emptyset}"}
)


def visible(text: str) -> str:
    """Return text with what is obeyed or hidden in place of being shown as ``\ufffd``."""
    return text if text.isprintable() else _UNSEEN.sub("\ufffd", text)


def terminal(text: str) -> str:
    r"""Return text on one line that a terminal shows and does not obey.

    >>> terminal("a\x1b[31m b\nc")
    'a\ufffd[31m b c'
    """
    return " ".join(visible(text).splitlines()).strip()


def spreadsheet(text: str) -> str:
    """Return text as a cell of CSV that no spreadsheet takes for a formula.

    Such a text gets an apostrophe in front, as spreadsheets write it; numbers stay what they are.

    >>> spreadsheet("=1+1"), spreadsheet("-0.5"), spreadsheet("thank you")
    ("'=1+1", '-0.5', 'thank you')
    """
    shown = visible(text)
    if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown):
        return f"'{shown}"
    return shown


def latex(text: str) -> str:
    r"""Return text on one line in which LaTeX finds no command.

    >>> latex(r"50 % of \x")
    '50 \\% of \\textbackslash{}x'
    """
    return " ".join(visible(text).split()).translate(_LATEX)
