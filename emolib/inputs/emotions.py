"""An emotion as the data a study of it needs: lexicons and prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from emolib.errors import InputError
from emolib.files import hash_files
from emolib.inputs.profiles import Profile
from emolib.inputs.prompts import (
    Lexicon,
    Pair,
    Side,
    Written,
    check_chat,
    load_lexicon,
    load_pairs,
    load_prompts,
)


@dataclass(frozen=True)
class Emotion:
    """An emotion as the data a study of it needs.

    Attributes:
        name: Its name.
        lexicon: Its words and target words.
        neutral: The lexicon of neutral.
        pairs: The pairs, or None when free lists stand in for them.
        free: (emotion, neutral) prompt lists when they stand in for the pairs.
        hash: Content hash of the files all this came from.
        files: The pairs file, or the files of the two lists; none of what was made in memory.
        probe_test: The emotion with the pairs of another file, which probes are tested on; None
            where none is named.
    """

    name: str
    lexicon: Lexicon
    neutral: Lexicon
    pairs: tuple[Pair, ...] | None
    free: tuple[tuple[Written, ...], tuple[Written, ...]] | None
    hash: str
    files: tuple[Path, ...] = ()
    probe_test: Emotion | None = None

    def written(self, side: Side) -> tuple[Written, ...]:
        """Return the prompts of one side, the pairs' or the free list, as they are written."""
        if self.pairs is not None:
            return tuple(pair.written(side) for pair in self.pairs)
        return () if self.free is None else self.free[get_args(Side).index(side)]

    def places(self, side: Side) -> tuple[str, ...]:
        """Return where each prompt of one side is written: file and id or number."""
        if self.pairs is not None:
            file = f"{self.files[0]}: " if self.files else ""
            return tuple(f"{file}pair {pair.id!r}" for pair in self.pairs)
        file = f"{self.files[get_args(Side).index(side)]}: " if self.files else f"{side} "
        return tuple(f"{file}prompts[{i}]" for i in range(len(self.written(side))))


def load_emotion(profile: Profile, name: str, *, free: bool = False) -> Emotion:
    """Return an emotion with its files read and checked.

    Args:
        profile: Where its files are looked up.
        name: The emotion.
        free: Read the free prompt lists in place of the pairs.

    Raises:
        InputError: When a file is missing or malformed, two lexicons share a target, or prompts
            are turns of a chat and the profile's `chat` is off.
    """
    paths = [profile.path("lexicon", name), profile.path("lexicon", "neutral")]
    lexicon, neutral = load_lexicon(paths[0], name), load_lexicon(paths[1], "neutral")
    for word in lexicon.targets:
        if word in neutral.targets:
            raise InputError(
                f"{paths[0]}: targets: {word!r} is a target of neutral too ({paths[1]}); "
                "their difference would cancel it: keep it in one"
            )
    test = _probe_test(profile, Emotion(name, lexicon, neutral, None, None, ""))
    if free:
        lists = [profile.path("prompts", name), profile.path("prompts", "neutral")]
        prompts = load_prompts(lists[0]), load_prompts(lists[1])
        if not profile.chat:
            for entries, file in zip(prompts, lists, strict=True):
                check_chat(entries, f"{file}: prompts")
        hash_ = hash_files([*paths, *lists])
        return Emotion(name, lexicon, neutral, None, prompts, hash_, tuple(lists), test)
    path = profile.path("pairs", name)
    pairs = _pairs(profile, name, path)
    return Emotion(name, lexicon, neutral, pairs, None, hash_files([*paths, path]), (path,), test)


def _pairs(profile: Profile, name: str, path: Path) -> tuple[Pair, ...]:
    pairs = load_pairs(path, name)
    if not profile.chat:
        check_chat([pair.prompt for pair in pairs], f"{path}: pairs", ".prompt")
    return pairs


def _probe_test(profile: Profile, emotion: Emotion) -> Emotion | None:
    """Return an emotion with the pairs that its probes are tested on, None where none are named."""
    if (path := profile.files.get(("probe_test", emotion.name))) is None:
        return None
    pairs = _pairs(profile, emotion.name, path)
    return replace(emotion, pairs=pairs, hash=hash_files([path]), files=(path,))
