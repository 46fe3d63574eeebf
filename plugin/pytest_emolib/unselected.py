"""What is said where options leave no item: what there is, and what is called nearly as typed."""

from __future__ import annotations

import difflib
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from pytest_emolib.reports import records

_KEY = "emolib_unselected"
_WORD = re.compile(r"[^\s()=,'\"]+")
_OPERATORS = ("and", "or", "not")
_OPTIONS = {"-k": "keyword", "-m": "markexpr"}
# Heads and units are many: of more than this the first and the last say what they look like.
_LISTED = 12
_NAMES = {
    "model": "models", "emotion": "emotions", "ablation": "ablations", "heads": "heads",
    "units": "units",
}  # fmt: skip


class Unselected:
    """Whether options leave none of the items; a worker of xdist passes on what it says of that.

    Loaded with every run of pytest: what it takes of emolib is imported when it has to speak.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Hold the config; nothing was collected yet."""
        self._config = config
        self._before: list[pytest.Item] = []
        self._said: dict[str, Any] = {}

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """See the items before options choose among them."""
        self._before = list(filter(records, items))

    def chosen(self, items: Sequence[pytest.Item]) -> None:
        """See those that are left."""
        before, self._before = self._before, []
        if before and not items:
            self._said = told(self._config, before)
            if (output := getattr(self._config, "workeroutput", None)) is not None:
                output[_KEY] = self._said

    def hear(self, output: Mapping[str, Any]) -> None:
        """Take over what a worker says."""
        self._said = self._said or output.get(_KEY, {})

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Print it, if there is anything to say."""
        for line in lines(self._said) if self._said else ():
            reporter.write_line(line, yellow=True)


def told(config: pytest.Config, items: Sequence[pytest.Item]) -> dict[str, Any]:
    """Return what is to be said of items of which none was left, as plain data.

    Args:
        config: Of the run.
        items: The experiments there are.
    """
    given = {flag: getattr(config.option, dest, "") or "" for flag, dest in _OPTIONS.items()}
    names = _names(items)
    marks = sorted({mark.name for item in items for mark in item.iter_markers()})
    # A keyword is looked for anywhere in the names of an item, a mark is a whole name.
    ids = "\n".join({item.nodeid for item in items}).lower()
    unknown = {
        "-k": [word for word in _words(given["-k"]) if word.lower() not in ids],
        "-m": [word for word in _words(given["-m"]) if word not in marks],
    }
    return {
        "given": {flag: text for flag, text in given.items() if text},
        "count": len(items),
        "unknown": {
            word: _nearest(word, [*_callable(names, word), *marks]) for word in unknown["-k"]
        }
        | {word: _nearest(word, marks) for word in unknown["-m"]},
        "names": names | ({"marks (-m)": marks} if given["-m"] else {}),
    }


def lines(said: Mapping[str, Any], width: int | None = None) -> Iterator[str]:
    """Yield the lines on it.

    Args:
        said: What `told` returned.
        width: Characters in a line, those of the terminal by default.
    """
    width = width or shutil.get_terminal_size((80, 24)).columns
    options = " ".join(f"{flag} {text!r}" for flag, text in said["given"].items())
    yield from _wrapped(
        f"nothing is left of {said['count']} items by {options or 'the options'}", width
    )
    for word, nearest in said["unknown"].items():
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        yield from _wrapped(f"{word}: none of them is called that{hint}", width)
    if said["given"] and not said["unknown"]:
        yield from _wrapped(
            "each name fits some of them, and no item fits all that is asked for", width
        )
    longest = max(map(len, said["names"]), default=0) + 2
    for what, names in said["names"].items():
        start = f"{f'{what}:':<{longest}}"
        yield from _wrapped(f"{start}{', '.join(names)}", width, " " * longest)


def _wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    from emolib.reporting.inert import visible

    # Names have hyphens, which are no place to break them at.
    return textwrap.wrap(
        visible(text), width, subsequent_indent=indent, break_on_hyphens=False
    )  # fmt: skip


def _words(expression: str) -> list[str]:
    words = _WORD.findall(expression)
    return list(dict.fromkeys(word for word in words if word not in _OPERATORS))


def _names(items: Sequence[pytest.Item]) -> dict[str, list[str]]:
    """Return what items are of, by what it is, in the order of the items."""
    from pytest_emolib.items import case_of, experiment_of

    found: dict[str, dict[str, None]] = {what: {} for what in _NAMES}
    for item in items:
        for what, name in case_of(item).dims.items():
            found[what][name] = None
    named = {_NAMES[what]: _shortened(list(names)) for what, names in found.items() if names}
    return named | {"experiments": list(dict.fromkeys(map(experiment_of, items)))}


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) <= _LISTED else [*names[:2], "…", names[-1]]


def _callable(names: Mapping[str, Sequence[str]], word: str) -> list[str]:
    """Return what a keyword may be: a name; as it begins a function, or a model with an emotion."""
    if word.startswith("exp_"):
        return [f"exp_{name}" for name in names["experiments"]]
    both = [f"{m}-{e}" for m in names.get("models", ()) for e in names.get("emotions", ())]
    return [*(name for some in names.values() for name in some), *both]


def _nearest(word: str, known: Sequence[str]) -> list[str]:
    by_lower = {name.lower(): name for name in reversed(known)}
    return [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, n=2)]
