"""Two runs beside each other as one HTML file that needs no script and no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from emolib.files import write_text
from emolib.reporting.cells import number
from emolib.reporting.inert import visible
from emolib.reporting.run_pairs import KINDS, Diff, Kind, Moved
from emolib.reporting.run_pairs_told import called, in_words, means
from emolib.reporting.wording import counted

SHOWN = 500
"""Effects of one kind that a page has."""
_NAMES = 200
_TEMPLATES = Path(__file__).parent / "templates"
# Of a bar, in units of its drawing.
_WIDTH = 160


def write_page(path: Path, found: Diff) -> None:
    """Write the page.

    Raises:
        InputError: When it cannot be written.
    """
    write_text(path, page(found))


def page(found: Diff) -> str:
    """Return the page. What came from users and models is escaped by the template engine."""
    # Imported here, so that `--help` and the table do without.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    engine = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    style = (_TEMPLATES / "diff.css").read_text(encoding="utf-8")
    return engine.get_template("diff.html").render(
        style=style,
        style_hash=b64encode(sha256(style.encode()).digest()).decode(),
        sides=[("A", called(found.a)), ("B", called(found.b))],
        differing=found.differing,
        words=in_words(found),
        counts=found.counts,
        total=counted(len(found.effects), "effect"),
        groups=[_group(kind, found.effects) for kind in found.counts],
        only=[
            (letter, len(names), names[:_NAMES])
            for letter, names in (("A", found.only_a), ("B", found.only_b))
            if names
        ],
        width=_WIDTH,
    )


def _group(kind: Kind, effects: Sequence[Moved]) -> Mapping[str, Any]:
    members = [effect for effect in effects if effect.kind == kind]
    shown = members[:SHOWN]
    scale = max((_reach(effect) for effect in shown), default=0.0) or 1.0
    return {
        "kind": kind,
        "means": means(kind),
        "count": len(members),
        "left": len(members) - len(shown),
        "has_why": any(effect.why for effect in shown),
        "is_open": kind in KINDS[:2],
        "effects": [_line(effect, scale) for effect in shown],
    }


def _reach(effect: Moved) -> float:
    ends: tuple[float, ...] = (effect.verdict.ci or ()) if effect.verdict else ()
    return max(abs(end) for end in (effect.drift, *ends))


def _line(effect: Moved, scale: float) -> Mapping[str, Any]:
    v = effect.verdict
    ci = v.ci if v else None
    half = _WIDTH / 2 - 4

    def place(value: float) -> str:
        return f"{_WIDTH / 2 + half * value / scale:.1f}"

    low, high = ci or (effect.drift, effect.drift)
    return {
        "name": effect.name,
        "metric": effect.before.metric,
        "n": len(effect.before.values),
        "before": number(effect.before.mean),
        "now": number(effect.after.mean),
        "drift": number(effect.drift),
        "ci": f"[{number(ci[0])}, {number(ci[1])}]" if ci else "–",
        "delta": number(v.delta) if v else "–",
        "why": effect.why,
        "bar": {"mean": place(effect.drift), "low": place(low), "high": place(high)},
    }
