"""What columns and settings mean: one table, which pages, reports and commands show.

The table is ``glossary.toml`` beside this module. Names of users' own columns are not in it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from emolib.inputs.profile_fields import described
from emolib.inputs.profiles import Profile

Kind = Literal["dimension", "label", "metric", "text", "suffix", "setting"]
"""What an entry is of: what a row ran on, a text beside numbers, a number, what a prompt has, what
is added to a metric's name, what a run was told."""
KINDS: tuple[Kind, ...] = get_args(Kind)
_PART = re.compile(r"<([^>]*)>")
# Of a group: what its entries are where they do not say so themselves.
_OF_GROUP = ("of_kind", "only")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one column or setting means; texts are empty where there is nothing to say.

    Attributes:
        name: The name, or a pattern of names: ``keyword_rate_<emotion>``.
        kind: What it is.
        group: The group it stands in.
        title: A short heading.
        what: One sentence for who sees it first.
        formula: The formula as text.
        unit: The unit; ``none`` of a ratio.
        sign: What + and − say; ``none`` where there are no signs.
        range: The values it can have.
        source: The section of docs/science.md that defines it.
        paper: Whom it is from, a key of the sources there.
        only: The experiments whose columns are meant; empty where all are.
        base: Of a statistic of a metric (``kl_ci_low``) the metric's name, else empty.
        differs: By experiment the entry as it is there.
    """

    name: str
    kind: Kind
    group: str
    title: str
    what: str = ""
    formula: str = ""
    unit: str = ""
    sign: str = ""
    range: str = ""
    source: str = ""
    paper: str = ""
    only: tuple[str, ...] = ()
    base: str = ""
    differs: tuple[tuple[str, Entry], ...] = ()

    def of(self, experiment: str | None) -> Entry | None:
        """Return the entry as it is in an experiment, None where its name means something else."""
        if experiment is None or experiment in self.only or not self.only:
            return dict(self.differs).get(experiment or "", self)
        return None


def entry(name: str, experiment: str | None = None) -> Entry | None:
    """Return what a column means, or a setting; None of a name that is not emolib's.

    >>> found = entry("logit_diff_ci_low", "head_ablation")
    >>> found.title, found.unit, found.base
    ('Δ logit_diff, lower', 'logits', 'logit_diff')

    Args:
        name: The column, as tables, frames and exports have it.
        experiment: Whose column it is, ``head_circuit``; where None, what it mostly means.
    """
    columns = _columns()
    if name in columns:
        return columns[name].of(experiment)
    found = _statistic(name, experiment) or _matched(name, experiment)
    return found or setting(name)


def setting(name: str) -> Entry | None:
    """Return what a setting means, or what else stands in a row's provenance; None if unknown."""
    return _settings().get(name)


def entries() -> tuple[Entry, ...]:
    """Return all entries, group by group; statistics of metrics as they are named behind them."""
    return (*_columns().values(), *_patterns(), *_suffixes().values(), *_settings().values())


def nearest(name: str, count: int = 3) -> list[str]:
    """Return the names that are spelled most like one that is unknown."""
    known = {one.name for one in entries()}
    return get_close_matches(name, known, count, cutoff=0.5)


def _statistic(name: str, experiment: str | None) -> Entry | None:
    """Return the entry of a statistic of a metric, named by the metric and a suffix."""
    for end, suffix in _suffixes().items():
        if not name.endswith(end):
            continue
        stem = name.removesuffix(end)
        known = _columns().get(stem)
        base = known.of(experiment) if known else _matched(stem, experiment)
        if base is not None and base.kind == "metric":
            return replace(
                suffix,
                name=name,
                kind="metric",
                group=base.group,
                title=f"{base.title}, {suffix.title}",
                what=f"{suffix.what} Of {stem}: {base.what}",
                unit=suffix.unit or base.unit,
                sign=suffix.sign or base.sign,
                range=suffix.range or base.range,
                only=base.only,
                base=stem,
            )
    return None


def _matched(name: str, experiment: str | None) -> Entry | None:
    """Return the entry whose pattern a name follows, the longest one first."""
    for one in sorted(_patterns(), key=lambda one: -len(one.name)):
        stands, *_ = _PART.findall(one.name)
        before, after = one.name.split(f"<{stands}>")
        part = name[len(before) : len(name) - len(after)]
        if part and name == f"{before}{part}{after}":
            found = one.of(experiment)
            return None if found is None else _filled(found, name, f"<{stands}>", part)
    return None


def _filled(one: Entry, name: str, stands: str, part: str) -> Entry:
    """Return an entry of a pattern for one name."""
    texts = {key: getattr(one, key).replace(stands, part) for key in ("title", "what", "formula")}
    return replace(one, name=name, **texts)


@cache
def _columns() -> dict[str, Entry]:
    return {one.name: one for one in _read() if "<" not in one.name and not _is_apart(one)}


@cache
def _patterns() -> tuple[Entry, ...]:
    return tuple(one for one in _read() if "<" in one.name)


@cache
def _suffixes() -> dict[str, Entry]:
    """Return the suffixes, longest first: ``_max_t_hall`` ends in none of the others."""
    found = [one for one in _read() if one.kind == "suffix"]
    return {one.name: one for one in sorted(found, key=lambda one: -len(one.name))}


@cache
def _settings() -> dict[str, Entry]:
    said = described(Profile)
    found = [one for one in _read() if one.kind == "setting"]
    return {one.name: replace(one, what=one.what or said.get(one.name, "")) for one in found}


def _is_apart(one: Entry) -> bool:
    return one.kind in ("suffix", "setting")


@cache
def _read() -> tuple[Entry, ...]:
    """Return the entries in the order of the table."""
    text = resources.files("emolib.results").joinpath("glossary.toml").read_text(encoding="utf-8")
    return tuple(
        made
        for group, body in tomllib.loads(text).items()
        for name, told in body.items()
        if name not in _OF_GROUP
        for made in _made(group, body, name, told)
    )


def _made(
    group: str, body: Mapping[str, Any], name: str, told: Mapping[str, Any]
) -> Iterator[Entry]:
    """Yield the entries of a name: one, or of a name with alternatives one for each."""
    shared = {"kind": body.get("of_kind", "metric"), "only": body.get("only", ()), **told}
    differing = shared.pop("in", {})
    stands, *_ = _PART.findall(name) or [""]
    for part in stands.split("|") if "|" in stands else [f"<{stands}>"]:
        own = name.replace(f"<{stands}>", part)
        there = tuple((where, _one(own, group, shared | other, part))
                      for where, other in differing.items())  # fmt: skip
        yield replace(_one(own, group, shared, part), differs=there)


def _one(name: str, group: str, fields: Mapping[str, Any], part: str) -> Entry:
    told: dict[str, Any] = {
        field: value.replace("{}", part) if isinstance(value, str) else tuple(value)
        for field, value in fields.items()
    }
    return Entry(name, group=group, **told)
