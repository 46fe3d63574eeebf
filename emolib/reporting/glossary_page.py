"""The glossary for reading: as a page in Markdown, and an entry at a time for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from emolib.errors import InputError
from emolib.files import write_text
from emolib.reporting.inert import visible
from emolib.reporting.markdown import escape
from emolib.results.glossary import Entry, entries, entry, nearest, setting

_HEAD = """\
# Columns

What every column means, of tables, frames, exports and results files, and every setting that stands
beside them. The terminal tells it too: `python -m emolib columns logit_diff`, and with
`--experiment` what a column is in that experiment where it is something else there. Definitions in
full are in [science.md](science.md).

A metric with a value per prompt has its mean under its name and, behind the name, what is listed in
[Behind a name](#behind-a-name): `logit_diff_ci_low` is the lower end of the interval of
`logit_diff`. What you record under names of your own is not here. This page is written by
`python -m emolib columns --write docs/columns.md`.
"""
_HEADERS = ("column", "what it says", "formula", "unit", "+ and −", "range", "defined in")
_FIELDS = ("formula", "unit", "sign", "range")


def page() -> str:
    """Return the page, Markdown."""
    parts = [_HEAD]
    for group, members in groupby(entries(), lambda one: one.group):
        parts += [f"## {group}\n", "\n".join(_table(members)) + "\n"]
    return "\n".join(parts)


def write_page(path: Path) -> Path:
    """Write the page and return its path.

    Raises:
        InputError: When it cannot be written.
    """
    write_text(path, page())
    return path


def find(name: str, experiment: str | None = None) -> list[Entry]:
    """Return the entries that a name or a pattern (``keyword*``) stands for.

    Of a name that is a column and a setting both are told, but of an experiment the column alone.

    Args:
        name: What was asked for.
        experiment: Of whose columns it is asked.

    Raises:
        InputError: When there is none.
    """
    found = [entry(name, experiment), None if experiment else setting(name)]
    if "*" in name or "?" in name:
        found = [one.of(experiment) for one in entries() if fnmatchcase(one.name, name)]
    known = list(dict.fromkeys(one for one in found if one is not None))
    if known:
        return known
    close = nearest(name)
    where = f" of {experiment}" if experiment and entry(name) else ""
    meant = f"did you mean {', '.join(close)}? " if close and not where else ""
    raise InputError(
        f"columns {name}: not a column{where} that emolib writes; {meant}`python -m emolib columns`"
        " lists them all"
    )


def told(one: Entry, width: int = 80) -> str:
    """Return an entry as lines for a terminal.

    Args:
        one: The entry.
        width: Characters in a line.
    """
    lines = [f"{one.name} ({one.kind}): {one.title}", *_wrapped(one.what, "  ", width)]
    facts = {name: getattr(one, name) for name in _FIELDS} | {"only in": ", ".join(one.only)}
    facts["source"] = f'docs/science.md, "{one.source}"' if one.source else ""
    facts["source"] += f" [{one.paper}]" if one.paper else ""
    for name, text in facts.items():
        lines += _wrapped(text, f"  {name:<9}", width)
    for where, other in one.differs:
        lines.append(f"  in {where}:")
        changed = ["what", *_FIELDS, "source"]
        for name in (n for n in changed if getattr(other, n) != getattr(one, n)):
            lines += _wrapped(getattr(other, name), f"    {name:<9}", width)
    return visible("\n".join(lines))


def listed(width: int = 80) -> str:
    """Return the names and titles of all entries, group by group.

    Args:
        width: Characters in a line.
    """
    parts = []
    for group, members in groupby(entries(), lambda one: one.group):
        known = list(members)
        longest = max(len(one.name) for one in known)
        lines = (f"  {one.name:<{longest}}  {one.title}"[:width].rstrip() for one in known)
        parts.append("\n".join([group, *lines]))
    return "\n\n".join(parts)


def _wrapped(text: str, opening: str, width: int) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(text, width, initial_indent=opening, subsequent_indent=" " * len(opening))


def _table(members: Iterable[Entry]) -> Iterator[str]:
    """Yield the lines of a group's table, without the columns that none of its entries fills."""
    lines = [line for one in members for line in _lines(one)]
    filled = [place for place in range(len(_HEADERS)) if any(line[place] for line in lines)]
    for cells in [_HEADERS, ["---"] * len(_HEADERS), *lines]:
        yield f"| {' | '.join(cells[place] for place in filled)} |"


def _lines(one: Entry) -> Iterator[list[str]]:
    """Yield the line of an entry, and one for each experiment in which it means something else."""
    yield _line(one, f"`{one.name}`")
    for where, other in one.differs:
        yield _line(other, f"`{one.name}` in {where}")


def _line(one: Entry, named: str) -> list[str]:
    anchor = re.sub(r"[^\w\- ]", "", one.source.lower()).replace(" ", "-")
    source = f"[{one.source}](science.md#{anchor})" if one.source else ""
    source += f" ({one.paper})" if one.paper else ""
    facts = (escape(getattr(one, name)) for name in _FIELDS)
    return [named, one.what.replace("|", "\\|"), *facts, source]
