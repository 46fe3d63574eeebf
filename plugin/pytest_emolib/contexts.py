"""What an item's numbers follow from, as a hash: rows of one context can stand in one table."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

from emolib.files import hash_json
from emolib.inputs.emotions import Emotion
from emolib.inputs.profiles import SETTINGS, Profile
from emolib.results.provenance import code_hash, package_hash, versions
from pytest_emolib.cases import Case


def context_of(
    config: pytest.Config,
    profile: Profile,
    emotions: Mapping[str, Emotion],
    case: Case,
    file: Path,
) -> str:
    """Return the hash of all that an item's numbers follow from, but for which item it is.

    Args:
        config: Of the run.
        profile: The settings.
        emotions: The emotions of the profile, read.
        case: What the item runs on.
        file: The experiment's file.
    """
    return hash_json(
        {
            "settings": {name: getattr(profile, name) for name in SETTINGS},
            "weights": case.source and case.source.weights_hash,
            "config": case.source and case.source.config_hash,
            "tokenizer": case.source and case.source.tokenizer_hash,
            "prompts": case.emotion and emotions[case.emotion].hash,
            # Texts are read with the lexicon of every emotion of the profile.
            "lexicons": case.emotion
            and {name: emotion.lexicon.words for name, emotion in emotions.items()},
            "code": _code(config, file),
            "emolib": [package_hash(), package_hash(Path(__file__).parent)],
            "versions": versions(),
        }
    )


def _code(config: pytest.Config, file: Path) -> str:
    """Return the hash of an experiment's file and of what it may import beside it."""
    patterns = config.getini("python_files")
    beside = [
        path
        for path in file.parent.glob("*.py")
        if not any(fnmatch(path.name, pattern) for pattern in patterns)
    ]
    above = [folder / "conftest.py" for folder in file.parent.parents]
    root = config.rootpath
    return code_hash([file, *beside, *(path for path in above if path.is_relative_to(root))])
