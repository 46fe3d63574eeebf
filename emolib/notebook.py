"""What a notebook shows of an object: tables and maps of heads as HTML that stands by itself.

Elements are made by the standard library, which escapes every text that goes into them: names,
prompts and texts of models are never read as HTML. Styles are inline, since a notebook has no sheet
for them; where a viewer drops them the numbers are still there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, tostring

from emolib.errors import InputError

if TYPE_CHECKING:
    from _typeshed import SupportsItems

Grid = list[list[float | None]]
"""A value, or None, by layer and head; layers may be of different lengths."""
# Below and above 0, from 0 to the largest, as on the page of results.
_COLOURS = (
    ("f3f2ee", "f3f2ee"),
    ("d5e2ea", "f3e0c8"),
    ("b7d1e6", "f2cda1"),
    ("99c1e2", "f1ba79"),
    ("7cacd7", "e5a15a"),
    ("5f95c9", "d58641"),
    ("417ebb", "c46c25"),
    ("2868a9", "af550b"),
    ("1e548e", "964607"),
    ("144175", "7e3804"),
    ("0b2f5c", "662a02"),
)
_STEPS = len(_COLOURS) - 1
# From this step on white reads better than black.
_DARK = 7
# Of wider layers the numbers stand in the cells' titles alone.
_READABLE = 16
_HEAD = re.compile(r"L(\d+)H(\d+)")
_MOST = 4096
_CELL = "padding: 2px 6px; border: 1px solid #8886; text-align: "
_PLAIN = (
    "border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.4em 0; color: inherit"
)
# Of maps whose numbers stand in titles, so that 32 heads fit beside each other.
_TIGHT = "; padding: 1px 2px; font-size: 9px"


class Shown:
    """Something to look at: HTML in a notebook, text in a terminal."""

    def __init__(self, *elements: Element, text: str) -> None:
        """Keep what is shown.

        Args:
            *elements: HTML, one below the other.
            text: The same for a terminal.
        """
        self._elements, self._text = elements, text

    def __repr__(self) -> str:
        """Return the text."""
        return self._text

    def _repr_html_(self) -> str:
        """Return the HTML, which notebooks ask for by this name."""
        return "".join(tostring(part, "unicode", method="html") for part in self._elements)


def stacked(*parts: Shown) -> Shown:
    """Return several things as one, one below the other."""
    elements = [element for part in parts for element in part._elements]
    return Shown(*elements, text="\n".join(map(repr, parts)))


def table(rows: Sequence[Mapping[str, object]], caption: str = "") -> Shown:
    """Return lines as a table, a column for every name in any of them.

    >>> table([{"head": "L0H2", "effect": -6.1114}, {"head": "L1H0"}])
    head  effect
    L0H2  -6.11
    L1H0

    Args:
        rows: The lines; numbers are shown with three digits.
        caption: What stands above.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_written(row.get(name, "")) for name in names] for row in rows]
    element = _table(caption)
    _line(element, names, "th", "left")
    for row, line in zip(rows, cells, strict=True):
        below = SubElement(element, "tr")
        for name, text in zip(names, line, strict=True):
            number = isinstance(row.get(name, ""), (int, float, type(None)))
            _cell(below, "td", text, _CELL + ("right" if number else "left"))
    return Shown(element, text=_columns([names, *cells], caption))


def facts(of: Mapping[str, object], caption: str = "") -> Shown:
    """Return what is known of a thing, a line each: a name, and what it is.

    Args:
        of: By name what it is.
        caption: What stands above.
    """
    element = _table(caption)
    for name, fact in of.items():
        line = SubElement(element, "tr")
        _cell(line, "th", name, _CELL + "left", scope="row")
        _cell(line, "td", _written(fact), _CELL + "left")
    lines = [[name, _written(fact)] for name, fact in of.items()]
    return Shown(element, text=_columns(lines, caption))


def head_map(
    values: SupportsItems[Any, float | None] | Iterable[Iterable[float | None]],
    caption: str = "",
    *,
    limit: float | None = None,
) -> Shown:
    """Return a number a head as a map, a line a layer, coloured by how far it is from 0.

    >>> head_map({"L0H0": -6.1, "L0H1": 0.2, "L1H1": None}, "logits lost")
    logits lost
        H0     H1
    L0  -6.10  0.20
    L1  –      –

    Of what was recorded, the rows of one model, emotion and kind::

        rows = emolib.load("results/demo").rows("head_ablation")
        one = rows.query("model == 'tiny-gpt2' and emotion == 'anger' and ablation == 'zero'")
        emolib.head_map(one.set_index("heads")["logit_diff"], "logit_diff")

    Args:
        values: By head (``L0H2``, or `emolib.inputs.Head`) a number, or None where there is none:
            a dict or a pandas series. Or the numbers of each layer, ``[layer][head]``.
        caption: What stands above.
        limit: The number that has the darkest colour; None for the largest there is. Maps to be
            compared take one limit.

    Raises:
        InputError: When something else than a head is named, or one twice.
    """
    grid = _grid(values)
    there = [abs(value) for line in grid for value in line if value is not None]
    most = max(there, default=0.0) if limit is None else limit
    width = max(map(len, grid), default=0)
    wide = width > _READABLE
    tight = _TIGHT if wide else ""
    element = _table(caption)
    _line(element, ["", *(f"H{index}" for index in range(width))], "th", f"center{tight}")
    for layer, line in enumerate(grid):
        below = SubElement(element, "tr")
        _cell(below, "th", f"L{layer}", f"{_CELL}left{tight}", scope="row")
        for index, value in enumerate(line):
            text = _short(value)
            cell = _cell(below, "td", "" if wide else text, _coloured(value, most) + tight)
            cell.set("title", f"L{layer}H{index}: {text}")
    lines = [["", *(f"H{index}" for index in range(width))]]
    lines += [[f"L{layer}", *map(_short, line)] for layer, line in enumerate(grid)]
    return Shown(element, _legend(most), text=_columns(lines, caption))


def _grid(values: Any) -> Grid:
    if not hasattr(values, "items"):
        return [[_number(value) for value in line] for line in values]
    found: dict[tuple[int, int], float | None] = {}
    for name, value in values.items():
        match = _HEAD.fullmatch(str(name))
        if match is None:
            raise InputError(
                f"head_map: expected heads such as L0H2, got {name!r}; of a frame take "
                'frame.set_index("heads")[metric], of the rows with one head each'
            )
        place = int(match[1]), int(match[2])
        if place in found:
            raise InputError(
                f"head_map: expected a value a head, got {name} more than once; choose the rows "
                "of one model, emotion and kind of ablation"
            )
        if max(place) >= _MOST:
            raise InputError(f"head_map: {name}: expected numbers below {_MOST}")
        found[place] = _number(value)
    layers = 1 + max((layer for layer, _ in found), default=-1)
    heads = 1 + max((index for _, index in found), default=-1)
    return [[found.get((layer, head)) for head in range(heads)] for layer in range(layers)]


def _number(value: Any) -> float | None:
    """Return a number, None where there is none: of frames a gap is NaN."""
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    # Without a sign where nothing is left of it.
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) < 1000 else f"{value:.3g}"


def _written(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _coloured(value: float | None, most: float) -> str:
    if value is None:
        return _CELL + "center"
    step = round(min(abs(value) / most, 1) * _STEPS) if most else 0
    back = _COLOURS[step][value > 0]
    ink = "fff" if step >= _DARK else "000"
    return f"{_CELL}right; background: #{back}; color: #{ink}"


def _legend(most: float) -> Element:
    """Return what the colours stand for, from −most to most."""
    legend = Element("div", {"style": "font-size: 85%"})
    legend.text = f"{-most:.3g} "
    for colour in [
        *(below for below, _ in reversed(_COLOURS[1:])),
        *(above for _, above in _COLOURS),
    ]:
        box = SubElement(legend, "span", {"style": f"background: #{colour}; padding: 0 4px"})
        box.text = "\N{NO-BREAK SPACE}"
    box.tail = f" {most:.3g}"
    return legend


def _table(caption: str) -> Element:
    element = Element("table", {"style": _PLAIN})
    if caption:
        above = SubElement(element, "caption", {"style": "text-align: left", "dir": "auto"})
        above.text = caption
    return element


def _line(element: Element, texts: Sequence[str], kind: str, align: str) -> None:
    line = SubElement(element, "tr")
    for text in texts:
        _cell(line, kind, text, _CELL + align, scope="col")


def _cell(line: Element, kind: str, text: str, style: str, **attributes: str) -> Element:
    # Of text that runs from right to left each cell is by itself.
    cell = SubElement(line, kind, {"style": style, "dir": "auto", **attributes})
    cell.text = text
    return cell


def _columns(lines: Sequence[Sequence[str]], caption: str) -> str:
    """Return lines of cells for a terminal, one below the other."""
    plain = [[_printable(text) for text in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*plain, strict=False)]
    told = [
        "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=False)).rstrip()
        for line in plain
    ]
    return "\n".join([*([_printable(caption)] if caption else []), *told])


def _printable(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
