"""From the command line to a checked profile."""

from __future__ import annotations

import dataclasses
import os
from itertools import pairwise
from pathlib import Path

import pytest

from emolib.errors import InputError
from emolib.files import check_place
from emolib.inputs.profiles import Profile, load_profile
from emolib.inputs.prompts import load_prompts, pairs_emotion
from emolib.reporting.tables import check_format
from pytest_emolib.item_files import check_item_files
from pytest_emolib.options import OPTIONS, flag_of, get, overrides
from pytest_emolib.shown import check_tables


def check_rootdir(config: pytest.Config) -> None:
    """Check that no value of an option has led pytest to another rootdir.

    pytest looks for its ini file before it knows a plugin's options: of ``--results-dir /data`` it
    takes ``/data``, when that is there, for a place of tests, and so may end in another rootdir,
    with another ini file or none, where it finds no experiment.

    Raises:
        InputError: When that has happened.
    """
    here = config.invocation_params.dir
    given = config.args_source is pytest.Config.ArgsSource.ARGS
    places = [here / str(arg).partition("::")[0] for arg in config.args] if given else [here]
    root = config.inipath.parent if config.inipath else None
    if root is not None and any(place.is_relative_to(root) for place in places):
        return
    arguments = [str(argument) for argument in config.invocation_params.args]
    of_places = {option.flag for option in OPTIONS if option.is_place}
    for flag, value in pairwise(arguments):
        if flag in of_places and (here / value).exists():
            raise InputError(
                f"{flag} {value}: pytest took the path for a place of tests and looked for its "
                f"ini file there (rootdir {config.rootpath}); write {flag}={value}"
            )


# What pytest reads and imports of a folder that it takes for a place of tests.
_OF_PYTEST = (
    "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini",
    "setup.cfg", "setup.py", "conftest.py",
)  # fmt: skip


def check_folder(model: str) -> None:
    """Refuse the folder of a model that pytest could take for a place of tests.

    Of ``--model DIR`` pytest knows no more than that DIR is there when it looks for its ini file,
    and what that names it imports before any plugin is asked. The user's own folder, from which
    pytest was started, is no model's.

    Raises:
        InputError: When it has a file that pytest reads.
    """
    place = Path(model)
    folder = place.parent if model.endswith(".gguf") else place
    if not folder.is_dir() or Path.cwd().is_relative_to(folder.resolve()):
        return
    for name in _OF_PYTEST:
        if (folder / name).exists():
            raise InputError(
                f"model {model!r}: {folder} has {name}, and pytest runs what such a file names "
                "where it takes the folder for a place of tests (--model DIR without an =); a "
                "model needs none: take it out, or copy the model's own files elsewhere"
            )


def resolve(config: pytest.Config) -> tuple[Profile, bool]:
    """Return the profile with the command line over it, and whether free lists replace pairs.

    Raises:
        InputError: When an option's value or a file it names is wrong.
    """
    check_format(get(config, "--table-format") or "simple")
    check_tables(get(config, "--tables"))
    check_item_files(get(config, "--item-files"))
    profile = load_profile(get(config, "--profile") or "demo")
    profile = profile.override(flag_of, **overrides(config))
    profile = _with_batch_size(profile, get(config, "--batch-size"))
    profile = _with_verify(profile, get(config, "--verify"))
    named: dict[tuple[str, str], Path] = {}
    for path in get(config, "--prompts-file") or ():
        emotion = _known(pairs_emotion(Path(path)), profile, path)
        _name(named, "--prompts-file", ("pairs", emotion), Path(path))
    for entry in get(config, "--emotion-prompts") or ():
        emotion, path = _named(entry, profile)
        load_prompts(path)
        _name(named, "--emotion-prompts", ("prompts", emotion), path)
    for path in get(config, "--probe-test") or ():
        emotion = _known(pairs_emotion(Path(path)), profile, path)
        _name(named, "--probe-test", ("probe_test", emotion), Path(path))
    if neutral := get(config, "--neutral-prompts"):
        load_prompts(Path(neutral))
        _name(named, "--neutral-prompts", ("prompts", "neutral"), Path(neutral))
    for entry in get(config, "--ranking") or ():
        emotion, equals, place = entry.partition("=")
        of = [_known(emotion, profile, entry)] if equals else profile.emotions
        for name in of:
            _name(named, "--ranking", ("ranking", name), Path(place if equals else entry))
    free = bool(get(config, "--emotion-prompts") or neutral)
    if free and get(config, "--prompts-file"):
        raise InputError(
            "--prompts-file gives aligned pairs, --emotion-prompts and --neutral-prompts free "
            "lists in their place; give the one or the others"
        )
    if free and profile.position in ("slot", "after_slot"):
        raise InputError(
            f"--position {profile.position} needs aligned pairs, got free prompt lists; "
            "use --position last or all, or drop --emotion-prompts/--neutral-prompts"
        )
    return dataclasses.replace(profile, files={**profile.files, **named}), free


def _name(
    named: dict[tuple[str, str], Path], option: str, what: tuple[str, str], path: Path
) -> None:
    if what in named:
        raise InputError(
            f"{option}: {named[what]} and {path} are both for {what[1]!r}; name one file"
        )
    named[what] = path


def _with_batch_size(profile: Profile, text: str | None) -> Profile:
    if text is None:
        return profile
    if text == "auto":
        return dataclasses.replace(profile, batch_size=None)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch-size: expected a whole number from 1, or auto, got {text!r}")
    return profile.override(flag_of, batch_size=int(text))


def _with_verify(profile: Profile, text: str | None) -> Profile:
    if text is None:
        return profile
    return profile.override(flag_of, verify=int(text) if text.isdecimal() else text)


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


def check_writable(folder: Path) -> None:
    """Check that a folder can be written or made, without making it."""
    check_place(folder)
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        what = "a file" if place.is_file() else "no folder"
        raise InputError(
            f"{folder}: cannot be written ({place} is {what}); choose another folder with "
            "--results-dir"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: cannot be written (no permission in {place}); choose another folder "
            "with --results-dir"
        )
