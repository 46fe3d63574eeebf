"""Profiles: what a study runs on, as a TOML file, and the emotions it names, as data files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from emolib.documents import read_toml
from emolib.errors import InputError
from emolib.files import data_root
from emolib.inputs.heads import check_spec
from emolib.inputs.layer_specs import check_layer_spec
from emolib.inputs.profile_fields import check_names, check_value, compared, following, said
from emolib.inputs.prompts import Chat, Position
from emolib.inputs.targets import parse_set
from emolib.inputs.units import check_unit_spec

Ablation = Literal["zero", "mean", "resample", "optimal"]
Outside = Literal["patch", "zero", "mean"]
"""What becomes of the heads outside a circuit."""
Dtype = Literal["float32", "float64", "bfloat16", "float16"]
ROLES = ("gated", "controls")
MIN_DRAWS = 10
STRONGEST = 5
"""Heads that count as a ranking's strongest where nothing else is said."""
TEXT_DRAWS = 1
"""Draws of an intervention that make text; logit metrics are averaged over all of them."""
DOSES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
"""Factors of a direction at which a dose–response is read."""
_FILE_KINDS = {
    "pairs": "pairs/{}.json",
    "prompts": "{}_prompts.json",
    "lexicon": "lexicons/{}.json",
    "lexical": "lexical_{}.json",
    "ranking": "rankings/{}.json",
    "probe_test": "probe_test_{}.json",
}


@dataclass(frozen=True)
class Profile:
    """What a study runs on and how; every field says what it decides.

    Attributes:
        name: The profile's name, the folder under ``results/``.
        root: Where its data files are looked for, before the project's own.
        models: Embedded names, Hub ids or local directories.
        emotions: Names of emotions; each is a pairs file and a lexicon.
        heads: Head specs.
        units: Unit specs.
        ablations: Kinds of ablation.
        position: Which prompt positions interventions edit.
        max_new_tokens: Length of greedy continuations, in tokens.
        seed: For every draw (resample, random heads, bootstrap, splits).
        draws: Draws that a resample effect is averaged over.
        patch_generated: Whether patching goes on at every generated token.
        chat: Whether prompts are put through the model's chat template.
        system: The system turn of such prompts; None for none.
        verify: How many top heads screening verifies by patching, beside random others; ``all``
            for every head. So many, or five, have controls, and paths between them.
        steering_doses: Factors of the emotion direction that is added, 1 what separates the sides.
        steering_layers: Layer specs: after which layers it is added.
        steering_heads: How many heads are moved together along theirs; 0 for none.
        steering_prompts: On how many prompts of each side, at most, its effect is read.
        circuit_ablation: What becomes of the heads outside a circuit.
        circuit_draws: Draws of random heads that circuits stand beside.
        circuit_greedy: How many heads the greedy order of circuits takes; 0 for no such order.
        probe_folds: Folds of the templates that probes are tested on.
        probe_swaps: Swapped labellings that a probe is compared with.
        dtype: The models' floating point type.
        device: torch's name of the device, or ``auto``.
        batch_size: Prompts per forward; None lets the engine choose.
        files: Data files named outright, by (kind, emotion).
        classifiers: Folders of sequence classifiers that texts are read with.
        effects: Whose effects the regression check is on: of ``gated`` and ``controls`` by model
            the names of heads or units.
        architectures: By model type the row that is given by hand, as texts by field of
            `emolib.models.architectures.Architecture`.
    """

    name: str = field(metadata=said("nothing"))
    root: Path = field(metadata=said("content"))
    models: tuple[str, ...] = field(metadata=said("item"))
    emotions: tuple[str, ...] = field(metadata=said("item"))
    heads: tuple[str, ...] = field(default=("all",), metadata=said("item"))
    units: tuple[str, ...] = field(default=("top:5", "random:5"), metadata=said("item"))
    ablations: tuple[Ablation, ...] = field(default=("zero",), metadata=said("item"))
    position: Position = field(default="last", metadata=said("value", compared=2))
    max_new_tokens: int = field(default=16, metadata=said("value", compared=5, least=1))
    seed: int = field(default=0, metadata=said("value", compared=3, least=0, most=2**63 - 1))
    draws: int = field(default=MIN_DRAWS, metadata=said("value", compared=4, least=MIN_DRAWS))
    verify: int | Literal["all"] = field(default=STRONGEST, metadata=said("value", least=0))
    circuit_ablation: Outside = field(default="patch", metadata=said("value"))
    circuit_draws: int = field(default=10, metadata=said("value", least=0))
    circuit_greedy: int = field(default=0, metadata=said("value", least=0))
    probe_folds: int = field(default=5, metadata=said("value", least=2))
    probe_swaps: int = field(default=99, metadata=said("value", least=1))
    steering_doses: tuple[float, ...] = field(default=DOSES, metadata=said("value"))
    steering_layers: tuple[str, ...] = field(default=("50%",), metadata=said("value"))
    steering_heads: int = field(default=5, metadata=said("value", least=0))
    steering_prompts: int = field(default=24, metadata=said("value", least=1))
    patch_generated: bool = field(default=False, metadata=said("value", compared=6))
    chat: bool = field(default=False, metadata=said("value", compared=7))
    system: str | None = field(default=None, metadata=said("value", compared=8))
    dtype: Dtype = field(default="float32", metadata=said("value", compared=1))
    device: str = field(default="cpu", metadata=said("value"))
    batch_size: int | None = field(default=None, metadata=said("nothing", least=1))
    files: Mapping[tuple[str, str], Path] = field(default_factory=dict, metadata=said("content"))
    classifiers: tuple[str, ...] = field(default=(), metadata=said("content"))
    effects: Mapping[str, Mapping[str, tuple[str, ...]]] = field(
        default_factory=dict, metadata=said("nothing")
    )
    architectures: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict, metadata=said("value")
    )

    @property
    def as_chat(self) -> Chat | None:
        """How prompts are put to a model as a chat, None where they are plain text."""
        return Chat(self.system) if self.chat else None

    @property
    def strongest(self) -> int:
        """How many heads count as a ranking's strongest."""
        return STRONGEST if self.verify == "all" else self.verify

    def override(self, named: Callable[[str], str] = str, /, **changes: Any) -> Profile:
        """Return a copy with the fields given (None means: keep), checked.

        Args:
            named: From a field to where it was given, for messages.
            **changes: By field.

        Raises:
            InputError: When a value is not one the field can hold.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        profile = dataclasses.replace(self, **given)
        _check_fields(profile, named)
        return profile

    def ranking(self, emotion: str) -> Path | None:
        """Return the file that ranks heads in place of screening; None where none was named."""
        return self.files.get(("ranking", emotion))

    def path(self, kind: str, emotion: str) -> Path:
        """Return the data file of one kind (pairs, prompts, lexicon, …) for an emotion.

        Raises:
            InputError: When neither the profile nor the project has one.
        """
        if (kind, emotion) in self.files:
            return self.files[kind, emotion]
        relative = _FILE_KINDS[kind].format(emotion)
        places = list(dict.fromkeys([self.root, data_root()]))
        for place in places:
            if (place / relative).is_file():
                return place / relative
        looked = " or ".join(str(place / relative) for place in places)
        raise InputError(
            f"emotion {emotion!r} has no {kind} file: expected {looked}; "
            f"write one or take {emotion!r} out of the profile"
        )


SETTINGS = following(Profile, "value")
"""Fields whose values decide numbers: they are in the key and the provenance of every row."""
ITEMS = following(Profile, "item")
"""Fields whose values decide which items there are."""
COMPARED = compared(Profile)
"""Those of them without which the numbers of two runs are not of the same quantity."""
_HINTS = get_type_hints(Profile)


def compared_in(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was told of the settings of `COMPARED`.

    Those that there were not yet when it was told have the value that changes nothing.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(Profile)}
    return {name: told.get(name, defaults[name]) for name in COMPARED}


def load_profile(name: str) -> Profile:
    """Return the profile of that name, or the one in that file.

    Args:
        name: A name such as ``demo`` (looked for in ``data/profiles/`` of the working directory,
            then in the project's), or the path of a ``.toml`` file.

    Raises:
        InputError: When there is none, or the file has an unknown key or a wrong value.
    """
    path = _find(name)
    data = read_toml(path, "expected a profile")
    folder = path.resolve().parent
    root = folder.parent if folder.name == "profiles" else folder
    known = [f.name for f in dataclasses.fields(Profile) if f.name not in ("name", "root")]
    for key in data:
        if key not in known:
            raise InputError(f"{path}: unknown key {key!r}; the keys are {', '.join(known)}")
    for key in ("models", "emotions"):
        if key not in data:
            raise InputError(f"{path}: the key {key!r} is missing; expected a list of names")
    fields: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) and get_origin(_HINTS[key]) is tuple else v
        for key, v in data.items()
    }
    fields["files"] = _named_files(data.get("files", {}), root, path)
    fields["effects"] = {}
    fields["architectures"] = _rows_by_hand(data.get("architectures", {}), path)
    profile = Profile(name=path.stem, root=root, **fields)
    _check_fields(profile, lambda key: f"{path}: {key}")
    declared = _declared(data.get("effects", {}), profile.models, path)
    profile = dataclasses.replace(profile, effects=declared)
    for _, emotion in profile.files:
        if emotion not in (*profile.emotions, "neutral"):
            raise InputError(
                f"{path}: files.{emotion}: expected one of "
                f"{', '.join((*profile.emotions, 'neutral'))}, got {emotion!r}"
            )
    return profile


def _find(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        if Path(name).is_file():
            return Path(name)
        raise InputError(f"--profile {name}: no such file; expected a profile in TOML")
    folders = [Path("data/profiles"), data_root() / "profiles"]
    for folder in folders:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise InputError(
        f"--profile {name}: unknown; expected one of {', '.join(known)}, or the path of a "
        ".toml file"
    )


def _named_files(table: Any, root: Path, where: Path) -> dict[tuple[str, str], Path]:
    if not isinstance(table, dict):
        raise InputError(f"{where}: files: expected a table [files.EMOTION], got {table!r}")
    files = {}
    for emotion, entries in table.items():
        if not isinstance(entries, dict):
            raise InputError(f"{where}: files.{emotion}: expected a table, got {entries!r}")
        for kind, relative in entries.items():
            here = f"{where}: files.{emotion}.{kind}"
            if kind not in _FILE_KINDS:
                raise InputError(f"{here}: unknown key; the keys are {', '.join(_FILE_KINDS)}")
            if not isinstance(relative, str) or "\0" in relative:
                raise InputError(f"{here}: expected a path, got {relative!r}")
            # Not Path.resolve, which raises an error of its own where links go round.
            path = Path(os.path.realpath(root / relative))
            if not path.is_relative_to(root):
                raise InputError(f"{here}: {relative!r} lies outside {root}; keep it inside")
            files[kind, emotion] = path
    return files


def _rows_by_hand(table: Any, where: Path) -> dict[str, dict[str, str]]:
    """Return the table ``architectures``, whose fields are checked where rows are made of it."""
    here = f"{where}: architectures"
    if not isinstance(table, dict):
        raise InputError(f"{here}: expected tables [architectures.TYPE], got {table!r}")
    for kind, row in table.items():
        if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
            raise InputError(f"{here}.{kind}: expected paths by field, got {row!r}")
    return table


def _declared(
    table: Any, models: tuple[str, ...], where: Path
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the table ``effects`` with heads and units by the names that items have."""
    here = f"{where}: effects"
    if not isinstance(table, dict) or table.keys() - set(ROLES):
        got = ", ".join(table) if isinstance(table, dict) else repr(table)
        raise InputError(
            f"{here}: expected tables {' and '.join(f'[effects.{role}]' for role in ROLES)} with "
            f"lists of heads by model, got {got}"
        )
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for role, by_model in table.items():
        if not isinstance(by_model, dict):
            raise InputError(f"{here}.{role}: expected lists of heads by model, got {by_model!r}")
        for model, names in by_model.items():
            if model not in models:
                raise InputError(
                    f"{here}.{role}: {model!r} is none of the models ({', '.join(models)})"
                )
            check_names(
                f"{here}.{role}.{model}", tuple(names) if isinstance(names, list) else names
            )
            try:
                found.setdefault(role, {})[model] = tuple(str(parse_set(name)) for name in names)
            except InputError as error:
                raise InputError(f"{here}.{role}.{model}: {error}") from None
    for model, names in found.get(ROLES[0], {}).items():
        if both := set(names) & set(found.get(ROLES[1], {}).get(model, ())):
            raise InputError(f"{here}: {min(both)} of {model} is gated and a control; keep one")
    return found


def _check_fields(profile: Profile, label: Callable[[str], str]) -> None:
    """Check every field; `label` says where a field was given."""
    for found in dataclasses.fields(profile):
        # Those that the project fills in itself, or reads from tables, are checked there.
        if found.name not in ("name", "root", "files", "effects", "architectures"):
            value = getattr(profile, found.name)
            if found.name == "classifiers" and value == ():
                continue
            least, most = found.metadata["least"], found.metadata["most"]
            check_value(label(found.name), value, _HINTS[found.name], least, most)
    if profile.system is not None and not profile.chat:
        chat = label("chat").split()[-1]
        raise InputError(
            f"{label('system')}: expected {chat} with it, got a system turn without a chat; add "
            f"{chat}, or leave the system turn out"
        )
    for name in profile.emotions:
        if not name.replace("_", "").isalnum() or name == "neutral":
            raise InputError(
                f"{label('emotions')}: expected a name of letters, digits and _ other than "
                f"neutral, got {name!r}"
            )
    checks: dict[str, Callable[[str], None]] = {
        "heads": check_spec,
        "units": check_unit_spec,
        "steering_layers": check_layer_spec,
    }
    for key, check in checks.items():
        for spec in getattr(profile, key):
            try:
                check(spec)
            except InputError as error:
                raise InputError(f"{label(key)}: {error}") from None
