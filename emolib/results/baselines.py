"""The baseline file of the regression check: per declared head the effect on every pair.

``results/<profile>/effects/<name>.json`` has a line an effect and a line a study (a model on an
emotion), with the hashes by which a run is known to be comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from emolib.documents import parse_json, read_text
from emolib.errors import InputError
from emolib.files import to_json, write_text
from emolib.results.grounds import Ground, differs, ground_of, moved
from emolib.results.rows import Row
from emolib.stats.regression import Role, tolerance

VERSION = 1
_LABELS = ("direction", "position")
_DIGITS = 9
_MOST = 1e300
_RESTORE = "restore it, or make it anew with --effects-save"


@dataclass(frozen=True)
class Declared:
    """What an experiment and a profile declare of an item: which effect of it is checked.

    Attributes:
        metric: Recorded per pair, in logits.
        role: ``gated``, or ``control`` of a head that has to have no effect.
        where: Labels that a record must have to count, ``{"position": "last"}``.
    """

    metric: str
    role: Role
    where: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DeclaredEffect:
    """One declared effect, on every pair.

    Attributes:
        experiment: Its experiment.
        dims: What it is of: model, emotion, heads, kind of ablation, direction, position.
        metric: The metric, in logits.
        role: ``gated`` or ``control``.
        values: Per pair, in order of the study's ids.
    """

    experiment: str
    dims: dict[str, str]
    metric: str
    role: Role
    values: tuple[float, ...]

    @property
    def study(self) -> tuple[str, str]:
        """(model, emotion)."""
        return self.dims["model"], self.dims["emotion"]

    @property
    def mean(self) -> float:
        """Mean over pairs, in the metric's unit."""
        return sum(self.values) / len(self.values)

    @property
    def name(self) -> str:
        """What it is called in reports: ``head_ablation[tiny-gpt2-gratitude-L0H2-mean]``."""
        return f"{self.experiment}[{'-'.join(self.dims.values())}]"


@dataclass(frozen=True)
class Baseline:
    """Effects by name and what they stand on by study."""

    effects: dict[str, DeclaredEffect] = field(default_factory=dict)
    grounds: dict[tuple[str, str], Ground] = field(default_factory=dict)

    def merged(self, other: Baseline) -> Baseline:
        """Return this baseline with the effects of another over it.

        Raises:
            InputError: When effects that stay would lose the ground that they stand on.
        """
        for effect in self.effects.values():
            new = other.grounds.get(effect.study)
            old = self.grounds[effect.study]
            if new and effect.name not in other.effects and (differs(old, new) or moved(old, new)):
                study = " on ".join(old.study)
                raise InputError(
                    f"{effect.name} is in the baseline and did not run, and {study} has changed "
                    "since; run all that is declared (-m gated) and save again"
                )
        return Baseline(self.effects | other.effects, self.grounds | other.grounds)


def effects_of(rows: Sequence[Row], declared: Declared) -> Baseline:
    """Return the effects in the rows of one item and what they stand on.

    Raises:
        InputError: When the item did not record what it declares.
    """
    effects: dict[str, DeclaredEffect] = {}
    grounds: dict[tuple[str, str], Ground] = {}
    for row in rows:
        told = row.dims | {name: row.labels[name] for name in _LABELS if name in row.labels}
        if any((row.labels | row.dims).get(name) != want for name, want in declared.where.items()):
            continue
        values = row.vectors.get(declared.metric)
        if values is None:
            known = ", ".join(row.vectors) or "none"
            raise InputError(
                f"{row.item}: effects marker: expected {declared.metric!r} with a value per pair "
                f"among what it records, got {known}"
            )
        effect = DeclaredEffect(row.experiment, told, declared.metric, declared.role, tuple(values))
        if effect.name in effects:
            effect = replace(effect, dims=told | {"record": str(row.row)})
        effects[effect.name] = effect
        grounds[effect.study] = ground_of(row, len(values))
    if not effects:
        wanted = ", ".join(f"{name}={want}" for name, want in declared.where.items())
        raise InputError(f"{rows[0].item}: effects marker: none of its records has {wanted}")
    return Baseline(effects, grounds)


def save(baseline: Baseline, path: Path) -> None:
    """Write a baseline.

    Raises:
        InputError: When a null control has an effect, or the file cannot be written.
    """
    for effect in baseline.effects.values():
        size = abs(effect.mean)
        least = tolerance(0.0, baseline.grounds[effect.study].gap)
        if effect.role == "control" and size >= least:
            raise InputError(
                f"{effect.name}: declared as a null control, but its mean effect is {size:.3f} "
                f"(δ = {least:.3f}); gate it, or declare another control. Nothing was saved"
            )
    order = sorted(baseline.effects.values(), key=lambda effect: effect.name)
    content = {
        "version": VERSION,
        "studies": [_plain(asdict(baseline.grounds[key])) for key in sorted(baseline.grounds)],
        "effects": [_plain(asdict(effect)) for effect in order],
    }
    write_text(path, to_json(content) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return value


def load(path: Path) -> Baseline:
    """Return a baseline from its file.

    Raises:
        InputError: When there is none or it is not one.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such baseline; make it with the same command and --effects-save in place "
            "of --effects-compare"
        )
    try:
        content = parse_json(read_text(path, f"expected a baseline; {_RESTORE}"))
        lists = [content[name] for name in ("studies", "effects")]
        if len(content) != 3 or not all(isinstance(entries, list) for entries in lists):
            raise ValueError(f"expected a version and two lists, got {sorted(content)!r:.60}")
        version = content["version"]
        if type(version) is not int or version != VERSION:
            raise ValueError(f"version {version!r}")
        effects = [
            DeclaredEffect(**_members(entry, DeclaredEffect)) for entry in content["effects"]
        ]
        grounds = [Ground(**_members(entry, Ground)) for entry in content["studies"]]
        made = Baseline({e.name: e for e in effects}, {g.study: g for g in grounds})
        for effect in effects:
            if not effect.values or len(effect.values) != len(made.grounds[effect.study].ids):
                raise ValueError(f"{effect.name} has another number of values than pairs")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a baseline of version {VERSION} ({error!r}); {_RESTORE}"
        ) from None
    return made


def _members(entry: Mapping[str, Any], kind: type) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    if entry.keys() != names:
        raise ValueError(f"expected the keys {sorted(names)}, got {sorted(entry)}")
    hints = get_type_hints(kind)
    for name, value in entry.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{name}: {value!r:.60}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value from JSON is of the type of its field."""
    origin, members = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is tuple:
        return isinstance(value, list) and all(_fits(member, members[0]) for member in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(m, members[1]) for m in value.values())
    if origin is Literal:
        return value in members
    if origin is UnionType:
        return any(_fits(value, member) for member in members)
    if hint is float:
        # More than a float holds may stand in a file as a whole number.
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST
        )
    return isinstance(value, hint)


def check_grounds(
    path: Path, baseline: Baseline, grounds: Iterable[Ground], *, new_weights: bool
) -> None:
    """Check that a run can be compared with a baseline.

    Args:
        path: The baseline's file, for messages.
        baseline: The baseline.
        grounds: What the run stands on, its pairs not known yet.
        new_weights: Whether changed weights are to be compared all the same.

    Raises:
        InputError: When it cannot: another prompt set, model, setting, or changed weights.
    """
    for now in grounds:
        before = baseline.grounds.get(now.study)
        where = f"{path}: {now.model} on {now.emotion}"
        if before is None:
            known = ", ".join(
                sorted({f"{model} on {emotion}" for model, emotion in baseline.grounds})
            )
            raise InputError(
                f"{where}: not in the baseline, which has {known}; add it with --effects-save"
            )
        accept = "run as then, or accept the new state with --effects-save"
        if found := differs(before, now):
            raise InputError(f"{where}: not comparable, {'; '.join(found)}; {accept}")
        if before.weights != now.weights and not new_weights:
            raise InputError(
                f"{where}: the weights have changed, {before.weights[:16]} -> {now.weights[:16]}; "
                "to ask whether the effects are still there, add --effects-new-weights; or accept "
                "the new state with --effects-save"
            )
