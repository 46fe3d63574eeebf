"""Words on the page: what the glossary says of a metric, names of heads in sentences, links."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict
from urllib.parse import quote

from emolib.results.glossary import entry
from emolib.results.selection import StudyKey

# What is obeyed or hidden where it stands: controls, marks of direction, surrogates.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff]"
)
# Characters within which a sentence says which study a head is of.
_SOON = 40
_DIGITS, _LARGE, _SMALL = 3, 1e5, 1e-4
_LONGEST, _LONGEST_NAME = 2_000, 80
_HEAD = re.compile(r"L\d+H\d+")
# What the glossary says where there is no unit or sign.
_NONE = "none"
_NAMED = re.compile(r"\bL\d+H\d+\b")


class Told(TypedDict):
    """What the glossary says of a column."""

    title: str
    what: str
    formula: str
    unit: str
    sign: str
    range: str
    source: str


def told_of(metric: str, experiment: str | None = None) -> Told:
    """Return what the glossary says of a metric; of one that it does not know, the name alone."""
    found = entry(metric, experiment) or entry(metric)
    if found is None:
        return Told(title=metric, what="", formula="", unit="", sign="", range="", source="")
    return Told(
        title=found.title,
        what=found.what,
        formula=found.formula,
        unit=_said(found.unit),
        sign=_said(found.sign),
        range=found.range,
        source=found.source,
    )


def _said(text: str) -> str:
    return "" if text == _NONE else text


def shown(text: str, longest: int = _LONGEST) -> str:
    r"""Return a text in which nothing is obeyed or hidden, and which is cut where it is long.

    >>> shown("a\x1b[1m\u202eb")
    'a␛[1m⟨U+202E⟩b'
    """
    seen = _UNSEEN.sub(_picture, text[:longest])
    more = len(text) - longest
    return f"{seen}… {more:,} more characters" if more > 0 else seen


def name(text: str) -> str:
    """Return a name as `shown`, of no more than a line."""
    return shown(text, _LONGEST_NAME)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def is_head(name: str) -> bool:
    """Tell whether a name is one of a single head, ``L0H2``.

    >>> is_head("L0H2"), is_head("L0H2+L1H0"), is_head("L0H2<b>")
    (True, False, False)
    """
    return _HEAD.fullmatch(name) is not None


def link(model: str, emotion: str, head: str = "") -> str:
    """Return the link to a study, or to a head of it.

    >>> link("org/model", "joy", "L0H2")
    '#org%2Fmodel/joy/L0H2'
    """
    parts = [model, emotion, head] if head else [model, emotion]
    return "#" + "/".join(quote(part, safe="") for part in parts)


def with_links(
    text: str, model: str, emotion: str, studies: Sequence[StudyKey] = ()
) -> Iterator[tuple[str, str | None]]:
    """Yield the parts of a sentence, of each name of a head with the link to it.

    >>> list(with_links("Head L0H2 leads.", "m", "e"))
    [('Head ', None), ('L0H2', '#m/e/L0H2'), (' leads.', None)]

    Args:
        text: The sentence.
        model: The model that it is on; empty where it is on several.
        emotion: The emotion, likewise.
        studies: All that there are. Of a sentence on several, a head is of the one that is named
            soon behind it, else of the first of its model.
    """
    at = 0
    for found in _NAMED.finditer(text):
        study = StudyKey(model, emotion) if model and emotion else None
        study = study or _near(text[found.end() :], studies)
        study = study or next((one for one in studies if one.model == model), None)
        if study is None:
            continue
        if found.start() > at:
            yield text[at : found.start()], None
        yield found[0], link(*study, found[0])
        at = found.end()
    if at < len(text):
        yield text[at:], None


def _near(text: str, studies: Sequence[StudyKey]) -> StudyKey | None:
    """Return the study that a text names first, and soon."""
    places = [(text.find(", ".join(study)), study) for study in studies if all(study)]
    places = [found for found in places if 0 <= found[0] <= _SOON]
    return min(places)[1] if places else None


def number(value: float, digits: int = _DIGITS) -> str:
    """Return a number for reading, of three digits, as the scripts write it.

    >>> number(12.53), number(-0.00014), number(0.0000763), number(8), number(12345.6)
    ('12.5', '−0.0001', '7.63e−5', '8', '12346')
    >>> number(-3.49, 2), number(-0.077, 2)
    ('−3.5', '−0.077')
    """
    size = abs(value)
    if size == 0:
        text = "0"
    elif size >= _LARGE or size < _SMALL:
        significand, _, power = f"{value:.{digits - 1}e}".partition("e")
        text = f"{significand}e{int(power):+d}"
    elif value == int(value) or size >= 10**digits:
        text = f"{value:.0f}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{value:.{min(places, _DIGITS + 1)}f}"
    return text.replace("-", "−")


def estimate(mean: float, low: float | None, high: float | None) -> str:
    """Return a number with its interval, where it has one, for reading.

    >>> estimate(12.53, 12.2, 12.82), estimate(0.5, None, None)
    ('12.5 [12.2, 12.8]', '0.500')
    """
    ends = None if low is None or high is None else f"[{number(low)}, {number(high)}]"
    return " ".join(filter(None, (number(mean), ends)))


def rounded(value: Any) -> Any:
    """Return a number with four significant digits, whatever else as it is.

    >>> rounded(0.123456), rounded(12), rounded(None)
    (0.1235, 12, None)
    """
    return float(f"{value:.4g}") if isinstance(value, float) else value
