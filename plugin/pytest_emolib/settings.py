"""From the command line to a checked profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from emolib.errors import InputError
from emolib.profiles import Profile, load_profile
from emolib.prompts import load_prompts, pairs_emotion
from emolib.tables import check_format
from pytest_emolib.options import get


def resolve(config: pytest.Config) -> tuple[Profile, bool]:
    """Return the profile with the command line over it, and whether free lists replace pairs.

    Raises:
        InputError: When an option's value or a file it names is wrong.
    """
    check_format(get(config, "--table-format") or "simple")
    profile = load_profile(get(config, "--profile") or "demo")
    profile = profile.override(
        models=_tuple(get(config, "--model")),
        heads=_tuple(get(config, "--head-spec")),
        ablations=_tuple(get(config, "--ablation")),
        position=get(config, "--position"),
        max_new_tokens=get(config, "--max-new-tokens"),
        seed=get(config, "--seed"),
        device=get(config, "--device"),
        dtype=get(config, "--dtype"),
    )
    profile = _with_batch_size(profile, get(config, "--batch-size"))
    files = dict(profile.files)
    for path in get(config, "--prompts-file") or ():
        files["pairs", _known(pairs_emotion(Path(path)), profile, path)] = Path(path)
    for entry in get(config, "--emotion-prompts") or ():
        emotion, path = _named(entry, profile)
        load_prompts(path)
        files["prompts", emotion] = path
    if neutral := get(config, "--neutral-prompts"):
        load_prompts(Path(neutral))
        files["prompts", "neutral"] = Path(neutral)
    free = bool(get(config, "--emotion-prompts") or neutral)
    if free and profile.position in ("slot", "after_slot"):
        raise InputError(
            f"--position {profile.position} needs aligned pairs, got free prompt lists; "
            "use --position last or all, or drop --emotion-prompts/--neutral-prompts"
        )
    return dataclasses.replace(profile, files=files), free


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _with_batch_size(profile: Profile, text: str | None) -> Profile:
    if text is None:
        return profile
    if text == "auto":
        return dataclasses.replace(profile, batch_size=None)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch-size: expected a whole number from 1, or auto, got {text!r}")
    return dataclasses.replace(profile, batch_size=int(text))


def _known(emotion: str, profile: Profile, path: str) -> str:
    if emotion not in profile.emotions:
        raise InputError(
            f"{path}: is for the emotion {emotion!r}, the profile {profile.name} has "
            f"{', '.join(profile.emotions)}; add it to a profile of your own"
        )
    return emotion


def _named(entry: str, profile: Profile) -> tuple[str, Path]:
    """Return the emotion and the path of ``EMOTION=FILE``, or of ``EMOTION_prompts.json``."""
    name, equals, path = entry.partition("=")
    if equals:
        return _known(name, profile, entry), Path(path)
    stem = Path(entry).name.removesuffix("_prompts.json")
    if stem in profile.emotions:
        return stem, Path(entry)
    if len(profile.emotions) == 1:
        return profile.emotions[0], Path(entry)
    raise InputError(
        f"--emotion-prompts {entry}: for which of {', '.join(profile.emotions)}? "
        "Write EMOTION=FILE, or name the file EMOTION_prompts.json"
    )
