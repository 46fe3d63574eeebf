"""An emotion as the data a study of it needs: lexicons and prompts."""

from __future__ import annotations

from dataclasses import dataclass

from emolib.errors import InputError
from emolib.files import hash_files
from emolib.inputs.profiles import Profile
from emolib.inputs.prompts import Lexicon, Pair, load_lexicon, load_pairs, load_prompts


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
    """

    name: str
    lexicon: Lexicon
    neutral: Lexicon
    pairs: tuple[Pair, ...] | None
    free: tuple[tuple[str, ...], tuple[str, ...]] | None
    hash: str


def load_emotion(profile: Profile, name: str, *, free: bool = False) -> Emotion:
    """Return an emotion with its files read and checked.

    Args:
        profile: Where its files are looked up.
        name: The emotion.
        free: Read the free prompt lists in place of the pairs.

    Raises:
        InputError: When a file is missing or malformed, or two lexicons share a target.
    """
    paths = [profile.path("lexicon", name), profile.path("lexicon", "neutral")]
    lexicon, neutral = load_lexicon(paths[0], name), load_lexicon(paths[1], "neutral")
    for word in lexicon.targets:
        if word in neutral.targets:
            raise InputError(
                f"{paths[0]}: targets: {word!r} is a target of neutral too ({paths[1]}); "
                "their difference would cancel it: keep it in one"
            )
    if free:
        lists = [profile.path("prompts", name), profile.path("prompts", "neutral")]
        prompts = load_prompts(lists[0]), load_prompts(lists[1])
        return Emotion(name, lexicon, neutral, None, prompts, hash_files([*paths, *lists]))
    path = profile.path("pairs", name)
    return Emotion(name, lexicon, neutral, load_pairs(path, name), None, hash_files([*paths, path]))
