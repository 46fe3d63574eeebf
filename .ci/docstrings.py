"""Docstrings as the site's Markdown: examples and literal blocks become blocks of code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

# A line that begins an example, and all up to the next empty one.
_EXAMPLE = re.compile(r"^(?P<space> *)>>> .*?(?=\n *\n|\Z)", re.MULTILINE | re.DOTALL)
# What reStructuredText has before code: a line of its own, or the end of one.
_ALONE = re.compile(r"^ *::\n", re.MULTILINE)
_ENDS = re.compile(r"::$", re.MULTILINE)


class Examples(Extension):
    """Fences examples, which Markdown takes for quotations, and reads ``::`` as ``:``."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change a docstring, before it is read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_package(self, *, pkg: Object, **kwargs: Any) -> None:
        """Change that of the package, which is no object of another."""
        self.on_object(obj=pkg)


def as_markdown(docstring: str) -> str:
    """Return a docstring with its examples fenced."""

    def fenced(example: re.Match[str]) -> str:
        space = example["space"]
        return f"{space}```pycon\n{example[0]}\n{space}```"

    return _EXAMPLE.sub(fenced, _ENDS.sub(":", _ALONE.sub("", docstring)))
