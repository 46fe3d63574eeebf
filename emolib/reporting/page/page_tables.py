"""Tables, sentences and maps that are read without scripts: plain text for a template to escape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emolib.reporting.page.head_maps import Grid, HeadMaps
from emolib.reporting.page.map_scores import Score
from emolib.reporting.page.page_words import (
    estimate,
    link,
    name,
    number,
    shown,
    told_of,
    with_links,
)
from emolib.results.selection import StudyKey

Tone = Literal["", "good", "warn", "bad"]
# Steps of colour on either side of what says nothing.
_STEPS = 5


@dataclass(frozen=True)
class Part:
    """A part of a sentence, and where it leads."""

    text: str
    href: str | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        href: Where it leads.
        tone: Whether it is good or bad news.
        sort: What sorts it, where that is a number.
        parts: The same text in parts that lead to several places; empty where it does not.
    """

    text: str
    href: str | None = None
    tone: Tone = ""
    sort: float | None = None
    parts: Sequence[Part] = ()


@dataclass(frozen=True)
class Column:
    """The head of a column, with what its values are."""

    title: str
    tip: str = ""
    number: bool = False


@dataclass(frozen=True)
class Table:
    """A table for reading."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Sentence:
    """What was found, or was not, in words, with links to heads."""

    about: str
    model: str
    emotion: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class MapCell:
    """A head on a map: its value, and the step of colour that it has."""

    text: str
    level: str


@dataclass(frozen=True)
class StaticMap:
    """The heads of a study, layer by layer, by one score."""

    model: str
    emotion: str
    caption: str
    href: str
    layers: int
    heads: int
    rows: Sequence[Sequence[MapCell]]


@dataclass(frozen=True)
class Section:
    """A part of the page that is read without scripts.

    Attributes:
        id: What links to it.
        title: Its heading.
        lead: Paragraphs before its tables.
        tables: The tables.
        notes: What is to be known besides.
        folded: Whether it is for who asks.
    """

    id: str
    title: str
    lead: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    folded: bool = False

    def __bool__(self) -> bool:
        """Tell whether it says anything."""
        return bool(self.notes or any(table.rows for table in self.tables))


def table_of(
    caption: str,
    lines: Sequence[Mapping[str, Any]],
    *,
    note: str = "",
    tips: Mapping[str, str] | None = None,
    most: int = 30,
) -> Table:
    """Return lines as a table; columns in which no line has anything are left out.

    Args:
        caption: What it is of.
        lines: Values by the titles of columns: texts, numbers, `Cell`, or a mean with the ends of
            its interval, ``[mean, low, high]``.
        note: What to know besides.
        tips: By title what the values of a column are.
        most: The most lines; how many more there are is said in the note.
    """
    titles = dict.fromkeys(title for line in lines for title in line)
    filled = [t for t in titles if any(line.get(t) not in (None, "") for line in lines)]
    rows = [[_cell(line.get(title)) for title in filled] for line in lines[:most]]
    columns = [
        Column(name(t), (tips or {}).get(t, ""), any(_is_number(line.get(t)) for line in lines))
        for t in filled
    ]
    more = f"The first {most} of {len(lines):,}." if len(lines) > most else ""
    return Table(shown(caption), columns, rows, " ".join(filter(None, (note, more))))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, list)) and not isinstance(value, bool)


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, list):
        mean, low, high = value
        return Cell(estimate(mean, low, high), sort=mean)
    if isinstance(value, (int, float)):
        return Cell(number(value), sort=float(value))
    return Cell("–" if value is None else shown(str(value), 300))


def head_cell(study: StudyKey, head: str) -> Cell:
    """Return the name of a head with the link to it."""
    return Cell(name(head), link(*study, head))


def study_cells(study: StudyKey) -> dict[str, Any]:
    """Return a study as the first columns of a table."""
    return {"model": name(study.model), "emotion": Cell(name(study.emotion), link(*study))}


def sentence(about: str, study: StudyKey, text: str, studies: Sequence[StudyKey] = ()) -> Sentence:
    """Return a sentence with links to the heads in it; see `with_links`."""
    parts = [Part(shown(part), href) for part, href in with_links(text, *study, studies)]
    return Sentence(about, name(study.model), name(study.emotion), parts)


def static_map(maps: HeadMaps, study: StudyKey, score: Score) -> StaticMap:
    """Return a map of the heads of a study by one score, on the scale of all its maps."""
    grid, limit = maps.grids[study][score], maps.limit(score)
    words = score.words
    unit = f", {words['unit']}" if words["unit"] else ""
    return StaticMap(
        name(study.model),
        name(study.emotion),
        f"{name(score.group)}: {name(words['title'])}{unit}",
        link(*study),
        grid.layers,
        grid.heads,
        [
            [_map_cell(grid, layer, head, limit, score.base) for head in range(grid.heads)]
            for layer in range(grid.layers)
        ],
    )


def _map_cell(grid: Grid, layer: int, head: int, limit: float, base: float) -> MapCell:
    value = grid.at(layer, head)
    if value is None:
        return MapCell("–", "none")
    share = (value - base) / (limit - base) if limit != base else 0.0
    step = min(_STEPS, round(abs(share) * _STEPS))
    level = f"{'p' if share > 0 else 'n'}{step}" if step else "z"
    return MapCell(number(value, 2), level)


def tip_of(metric: str, experiment: str | None = None) -> str:
    """Return what the glossary says of a metric, as a tip of its column."""
    words = told_of(metric, experiment)
    parts = (words["what"], words["formula"], words["unit"] and f"Unit: {words['unit']}.")
    return " ".join(filter(None, parts))
