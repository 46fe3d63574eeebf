"""Two runs beside each other as text: a table for a terminal of any width, and JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tabulate import tabulate

from emolib.files import to_json
from emolib.reporting.cells import number
from emolib.reporting.drifts import Drift
from emolib.reporting.drifts import in_words as drifts_in_words
from emolib.reporting.inert import visible
from emolib.reporting.run_pairs import Diff, Kind, Moved, Side
from emolib.reporting.wording import counted
from emolib.stats.regression import OUTCOMES

SHOWN = 24
"""Effects of one kind that a terminal is shown."""
_BAD: tuple[Kind, ...] = ("drifted", "inconclusive", "not judged")
_NAMES, _LINES = 3, 12
# The least that an effect's name is cut to.
_LEAST = 16
# A drift of this share of an effect is rounding of floats.
_STILL = 1e-4
_MEANS = {
    "drifted": "moved by more than δ, and not by chance",
    "inconclusive": "may have moved by more than δ: the pairs do not tell",
    "not judged": "no verdict",
    "equivalent": "moved by less than δ",
    "replayed": "the same on every pair",
}


@dataclass(frozen=True)
class _Column:
    """A column: its header, its cells, how it is aligned and whether it may be left out."""

    header: str
    cells: Sequence[str]
    align: str = "right"
    is_spare: bool = False

    @property
    def width(self) -> int:
        # tabulate gives a header two more than it takes.
        return max(len(self.header) + 2, *map(len, self.cells))


def lines(found: Diff, width: int, shown: int = SHOWN) -> Iterator[str]:
    """Yield the lines on two runs, those that moved first.

    Args:
        found: The two.
        width: Characters in a line.
        shown: How many effects of one kind to show.
    """
    for letter, side in (("A", found.a), ("B", found.b)):
        yield clipped(f"{letter}: {called(side)}", width)
    yield ""
    told = ", ".join(f"{count} {kind}" for kind, count in found.counts.items())
    yield from textwrap.wrap(f"{counted(len(found.effects), 'effect')} in both: {told}", width)
    yield from (clipped(line, width) for line in in_words(found))
    yield ""
    yield from _differing(found, width)
    yield from _studies(found, width)
    for kind in _BAD:
        members = [effect for effect in found.effects if effect.kind == kind]
        if members:
            yield ""
            yield f"{kind} ({len(members)}): {_why(kind, members)}"
            yield from _most(members, width, shown)
    alone = [("A", found.only_a), ("B", found.only_b)]
    if any(names for _, names in alone):
        yield ""
    for letter, names in alone:
        if names:
            yield clipped(f"in {letter} alone ({len(names)}): {_some(names)}", width)


def in_words(found: Diff) -> list[str]:
    """Return a line for what drifted of each head; see `emolib.reporting.drifts`."""
    return drifts_in_words(
        [
            Drift(
                " ".join(filter(None, (effect.before.study.model, effect.before.subject))),
                effect.before.mean,
                effect.after.mean,
            )
            for effect in found.effects
            if effect.kind == "drifted"
        ]
    )


def called(side: Side) -> str:
    """Return what one of the two is called by, with what ran where it is a run."""
    if side.run is None:
        return side.typed
    about = ", ".join(filter(None, (side.run.started.removesuffix("+00:00"), side.run.command)))
    return f"run {side.run.id} ({about})" if about else f"run {side.run.id}"


def means(kind: Kind) -> str:
    """Return what is meant where an effect is called that."""
    return _MEANS[kind]


def clipped(text: str, width: int) -> str:
    r"""Return text on one line of at most so many characters, nothing in it that a terminal obeys.

    >>> clipped("a long\nname", 8)
    'a long …'
    """
    line = " ".join(visible(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _cut(text: str, width: int) -> str:
    """Return text with its middle left out where it is too long: names differ at their ends."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def _differing(found: Diff, width: int) -> Iterator[str]:
    if not found.differing:
        yield "they stand on the same: settings, models, prompts, code, versions"
        return
    yield "what differs:"
    for line in found.differing[:_LINES]:
        text = " ".join(visible(line).split())
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    if len(found.differing) > _LINES:
        yield f"  … and {len(found.differing) - _LINES} more (--format json has all)"


def _studies(found: Diff, width: int) -> Iterator[str]:
    """Yield a table of how many effects of each model and emotion became what."""
    by_study: dict[str, Counter[Kind]] = {}
    for effect in sorted(found.effects, key=lambda effect: effect.before.study):
        name = ", ".join(filter(None, effect.before.study)) or "of no model"
        by_study.setdefault(name, Counter())[effect.kind] += 1
    counts = list(by_study.values())
    yield ""
    yield from _table(
        [
            _Column("effects of", list(by_study), "left"),
            *(_Column(kind, [str(of[kind]) for of in counts]) for kind in found.counts),
        ],
        width,
    )


def _why(kind: Kind, members: Sequence[Moved]) -> str:
    if kind != "not judged":
        return _MEANS[kind]
    reasons = Counter(effect.why for effect in members)
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(_NAMES))


def _most(members: Sequence[Moved], width: int, shown: int) -> Iterator[str]:
    """Yield the table of those that moved most; what did not move at all is not worth a line."""
    moved = [effect for effect in members if effect.size > _STILL]
    if moved:
        yield from _table(_columns(moved[:shown]), width)
    if len(moved) > shown:
        yield f"(the {shown} of {len(moved)} that moved most, in units of δ)"
    if still := len(members) - len(moved):
        yield f"(and {still} that did not move)"


def _columns(members: Sequence[Moved]) -> list[_Column]:
    metrics = {effect.before.metric for effect in members}
    names = [
        f"{effect.name}" + (f" {effect.before.metric}" if len(metrics) > 1 else "")
        for effect in members
    ]
    header = f"effect, {next(iter(metrics))}" if len(metrics) == 1 else "effect"
    return [
        _Column(header, names, "left"),
        _Column("A", [number(effect.before.mean) for effect in members]),
        _Column("B", [number(effect.after.mean) for effect in members]),
        _Column("drift, 90 %", [_drift(effect) for effect in members]),
        _Column("δ", [_delta(effect) for effect in members], is_spare=True),
    ]


def _drift(effect: Moved) -> str:
    """Return the drift and half of its interval, which lies evenly around it."""
    if effect.verdict is None or effect.verdict.ci is None:
        return f"{effect.drift:+.3g}"
    low, high = effect.verdict.ci
    return f"{effect.drift:+.3g} ± {(high - low) / 2:.2g}"


def _delta(effect: Moved) -> str:
    return "–" if effect.verdict is None else f"{effect.verdict.delta:.2g}"


def _table(columns: list[_Column], width: int) -> Iterator[str]:
    """Yield a table that is no wider: spare columns are left out, then the first is cut."""
    first, *others = columns
    first = replace(first, cells=[" ".join(visible(cell).split()) for cell in first.cells])
    if _width([first, *others]) > width:
        others = [column for column in others if not column.is_spare]
    room = max(_LEAST, first.width - max(0, _width([first, *others]) - width))
    first = replace(first, cells=[_cut(cell, room) for cell in first.cells])
    kept = [first, *others]
    yield from tabulate(
        list(zip(*(column.cells for column in kept), strict=True)),
        [column.header for column in kept],
        disable_numparse=True,
        colalign=[column.align for column in kept],
    ).splitlines()


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", …" if len(names) > _NAMES else "")


def as_json(found: Diff) -> str:
    """Return two runs beside each other for machines, the effects worst first."""
    content = {
        "a": _side(found.a),
        "b": _side(found.b),
        "differing": found.differing,
        "counts": dict.fromkeys((*OUTCOMES, "not judged"), 0) | found.counts,
        "effects": [_effect(effect) for effect in found.effects],
        "only_a": found.only_a,
        "only_b": found.only_b,
    }
    return to_json(content)


def _side(side: Side) -> Mapping[str, Any]:
    return {"folder": str(side.folder), "run": side.run_id}


def _effect(effect: Moved) -> Mapping[str, Any]:
    v = effect.verdict
    entry: dict[str, Any] = {"name": effect.name, "experiment": effect.before.experiment}
    entry |= {
        "metric": effect.before.metric,
        "n": len(effect.before.values),
        "verdict": effect.kind,
        "why": effect.why,
    }
    entry |= {"a": effect.before.mean, "b": effect.after.mean, "drift": effect.drift}
    return entry | {"ci": v.ci and list(v.ci) if v else None, "delta": v.delta if v else None}
