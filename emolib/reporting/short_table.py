"""The table that a run ends with: a line per model and emotion, in the width there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from emolib.reporting.inert import visible
from emolib.reporting.tables import render
from emolib.reporting.wording import Estimate, figure

MOST = 12
"""Lines shown; of more studies the first, and how many more there are."""
# What a narrower terminal leaves out, one after the other, and the least a name is cut to.
_NARROWER = ("gap [CI]", "of gap", "ranking", "gap")
_LEAST_NAME = 6
_LEGEND = (
    "carriers: heads that move logit_diff by 10 % of the gap or more when taken out alone, by "
    "every kind that was run, max-T below 0.05; Δ: of the first head, with its 95 % CI; ranking: "
    "split-half reliability of screening."
)
_NONE = "–"


def short_table(lines: Sequence[Mapping[str, Any]], *, fmt: str = "simple", width: int = 80) -> str:
    """Return the lines of `emolib.reporting.findings.Findings.in_short` as a table.

    What does not fit is left out, the interval of the gap first; then names are cut, those of
    models at their beginning, whose end tells them apart.

    Args:
        lines: A line a study, at least one.
        fmt: A format of tabulate.
        width: Characters in a line.
    """
    shown = lines[:MOST]
    left_out: list[str] = []
    longest = max(len(line[name]) for line in shown for name in ("model", "emotion"))
    while True:
        cells = [_cells(line, left_out, longest) for line in shown]
        # A study that was not ablated has another column than those that were.
        names = dict.fromkeys(name for line in cells for name in line)
        headers = [name for name in names if any(line.get(name, _NONE) != _NONE for line in cells)]
        told = [[line.get(name, _NONE) for name in headers] for line in cells]
        text = render(told, headers, fmt)
        if max(map(len, text.splitlines())) <= width:
            break
        if len(left_out) < len(_NARROWER):
            left_out.append(_NARROWER[len(left_out)])
        elif longest > _LEAST_NAME:
            longest -= 1
        else:
            break
    if more := len(lines) - len(shown):
        text += f"\n(and {more} more studies)"
    return "\n".join([text, *wrap(_LEGEND, max(width - 1, 20))])


def _cells(line: Mapping[str, Any], left_out: Sequence[str], longest: int) -> dict[str, str]:
    gap, effect, kind = line["gap"], line["effect"], line["kind"]
    share, reliability = line["share"], line["reliability"]
    full = {
        "model": _cut(line["model"], longest),
        "emotion": _cut(line["emotion"][::-1], longest)[::-1],
        "gap": (_NONE if gap is None else figure(gap["mean"], 1)),
        "carriers" if kind else "first head": _heads(line),
        "Δ logit_diff" if not kind else f"{kind}: Δ": _NONE if effect is None else _told(effect),
        "of gap": _NONE if share is None else f"{100 * share:.0f} %",
        "ranking": "none" if line["doubt"] else _NONE if reliability is None
        else f"{reliability:.2f}",
    }  # fmt: skip
    if gap is not None and "gap [CI]" not in left_out:
        full["gap"] = _told(gap)
    return {name: cell for name, cell in full.items() if name not in left_out}


def _told(value: Mapping[str, Any]) -> str:
    return str(Estimate(value["mean"], value["ci"] and tuple(value["ci"])))


def _heads(line: Mapping[str, Any]) -> str:
    """Return the heads that carry, two by name, or where none does the one that does most."""
    names = line["heads"]
    if names:
        return ", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")
    head = visible(line["head"] or _NONE)
    return f"none ({head})" if line["kind"] else head


def _cut(name: str, longest: int) -> str:
    shown = " ".join(visible(name).split())
    return shown if len(shown) <= longest else "…" + shown[len(shown) - longest + 1 :]
