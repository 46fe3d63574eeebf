"""Prompt files: emotion/neutral pairs, free prompt lists and lexicons, each with its schema."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

from emolib.documents import read_json
from emolib.errors import InputError
from emolib.inputs.words import fold
from emolib.inputs.words import words as words_of

Side = Literal["emotion", "neutral"]
SLOT = "{slot}"


@dataclass(frozen=True)
class Turns:
    """A prompt as turns of a chat, in a file ``{"system": …, "user": …}``.

    Attributes:
        user: The user's turn, which the model answers.
        system: The system turn before it; None where the prompt has none of its own.
    """

    user: str
    system: str | None = None

    def __str__(self) -> str:
        """Return it as text to read, the system turn first."""
        return self.user if self.system is None else f"{self.system}\n\n{self.user}"


Written = str | Turns
"""A prompt as it is written: text, or turns of a chat."""


@dataclass(frozen=True)
class Chat:
    """That prompts are put to a model through its chat template.

    Attributes:
        system: The system turn of prompts without one of their own; None for none.
    """

    system: str | None = None

    def turns(self, prompt: Written) -> Turns:
        """Return a prompt as turns: text is the user's."""
        turns = Turns(prompt) if isinstance(prompt, str) else prompt
        return turns if turns.system is not None else replace(turns, system=self.system)


@dataclass(frozen=True)
class Pair:
    """An emotion prompt and a neutral prompt that differ only in one slot.

    Attributes:
        id: Unique in its file.
        template: The wording the pair shares with others: the cluster of the bootstrap.
        prompt: The text or the turns, with ``{slot}`` exactly once.
        emotion: What stands in the slot on the emotion side.
        neutral: What stands there on the neutral side.
    """

    id: str
    template: str
    prompt: Written
    emotion: str
    neutral: str

    def written(self, side: Side) -> Written:
        """Return the whole prompt of one side, as text or turns."""
        match side:
            case "emotion":
                return _filled(self.prompt, self.emotion)
            case "neutral":
                return _filled(self.prompt, self.neutral)
            case _:
                assert_never(side)

    def text(self, side: Side) -> str:
        """Return the whole prompt of one side, as text to read."""
        return str(self.written(side))


def _filled(prompt: Written, filler: str) -> Written:
    if isinstance(prompt, str):
        return prompt.replace(SLOT, filler)
    system = None if prompt.system is None else prompt.system.replace(SLOT, filler)
    return Turns(prompt.user.replace(SLOT, filler), system)


@dataclass(frozen=True)
class Lexicon:
    """The words of an emotion (or of ``neutral``).

    Attributes:
        name: The emotion.
        version: Raised whenever the words change.
        words: Whole words counted by ``keyword_rate``, case-folded.
        targets: Words whose logits make ``logit_diff``, those of them that are one token under
            the model's tokenizer.
    """

    name: str
    version: int
    words: tuple[str, ...]
    targets: tuple[str, ...]


def _read(path: Path, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    expected = f"expected {what} file, an object with the keys {', '.join(keys)}"
    data = read_json(path, expected)
    if not isinstance(data, dict):
        raise InputError(f"{path}: {expected}, got {_kind(data)}")
    for key in keys:
        if key not in data:
            raise InputError(f"{path}: {expected}; {key!r} is missing")
    for key in data:
        if key not in keys:
            raise InputError(f"{path}: unknown key {key!r}; the keys are {', '.join(keys)}")
    return data


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else f"the number {value}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text, got {_kind(value)}")
    if not value.strip():
        raise InputError(f"{where}: expected text, got an empty string")
    return value


_TURNS = ("system", "user")


def _written(value: Any, where: str) -> Written:
    if not isinstance(value, dict):
        return _text(value, where)
    for key in value:
        if key not in _TURNS:
            raise InputError(f"{where}: unknown field {key!r}; expected {', '.join(_TURNS)}")
    if "user" not in value:
        raise InputError(f"{where}: field 'user' is missing; expected {', '.join(_TURNS)}")
    return Turns(**{key: _text(text, f"{where}.{key}") for key, text in value.items()})


def check_chat(prompts: Sequence[Written], where: str, part: str = "") -> None:
    """Check that prompts need no chat template.

    Args:
        prompts: The prompts of a file.
        where: The file and the list in it, for the message.
        part: What of an entry the prompt is.

    Raises:
        InputError: When one is turns.
    """
    for index, prompt in enumerate(prompts):
        if isinstance(prompt, Turns):
            raise InputError(
                f"{where}[{index}]{part}: turns of a chat need --chat (chat = true in a profile), "
                "which is off; turn it on, or write the prompt as text"
            )


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, got {_kind(value)}")
    if not value:
        raise InputError(f"{where}: expected at least one entry, got an empty list")
    return value


def _version(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where}: expected a whole number from 1, got {value!r}")
    return value


_Entry = TypeVar("_Entry", bound=Hashable)


def _unique(values: list[_Entry], where: str) -> tuple[_Entry, ...]:
    seen: dict[_Entry, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise InputError(
                f"{where}[{index}]: {str(value)!r} stands at [{seen[value]}] already; remove one"
            )
        seen[value] = index
    return tuple(values)


def load_prompts(path: Path) -> tuple[Written, ...]:
    """Return the prompts of a free list, ``{"prompts": ["…", {"system": "…", "user": "…"}, …]}``.

    Raises:
        InputError: When the file is not of that form; the message names file, entry and field.
    """
    data = _read(path, "a prompt", ("prompts",))
    entries = _list(data["prompts"], f"{path}: prompts")
    prompts = [_written(entry, f"{path}: prompts[{i}]") for i, entry in enumerate(entries)]
    return _unique(prompts, f"{path}: prompts")


def load_pairs(path: Path, emotion: str | None = None) -> tuple[Pair, ...]:
    """Return the pairs of a pairs file.

    The form is ``{"emotion", "version", "pairs": [{"id", "template", "prompt", "emotion",
    "neutral"}]}``, `prompt` a text or ``{"system", "user"}``, with ``{slot}`` exactly once.

    Args:
        path: The file.
        emotion: The emotion that the file must be for, when given.

    Raises:
        InputError: When the file is not of that form or is for another emotion.
    """
    data = _read(path, "a pairs", ("emotion", "version", "pairs"))
    name = _text(data["emotion"], f"{path}: emotion")
    if emotion is not None and name != emotion:
        raise InputError(f"{path}: emotion: expected {emotion!r}, got {name!r}")
    _version(data["version"], f"{path}: version")
    entries = _list(data["pairs"], f"{path}: pairs")
    pairs = [_pair(entry, f"{path}: pairs[{i}]") for i, entry in enumerate(entries)]
    _unique([pair.id for pair in pairs], f"{path}: pairs.id")
    return tuple(pairs)


def pairs_emotion(path: Path) -> str:
    """Return the emotion that a pairs file is for."""
    return str(_read(path, "a pairs", ("emotion", "version", "pairs"))["emotion"])


def _pair(entry: Any, where: str) -> Pair:
    fields = ("id", "template", "prompt", "emotion", "neutral")
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object, got {_kind(entry)}")
    for key in fields:
        if key not in entry:
            raise InputError(f"{where}: field {key!r} is missing; expected {', '.join(fields)}")
    for key in entry:
        if key not in fields:
            raise InputError(f"{where}: unknown field {key!r}; expected {', '.join(fields)}")
    prompt = _written(entry["prompt"], f"{where}.prompt")
    texts = {key: _text(entry[key], f"{where}.{key}") for key in fields if key != "prompt"}
    pair = Pair(**texts, prompt=prompt)
    found = str(prompt).count(SLOT)
    if found != 1:
        raise InputError(f"{where}.prompt: expected {SLOT} exactly once, got it {found} times")
    if pair.emotion == pair.neutral:
        raise InputError(
            f"{where}.neutral: expected another text than on the emotion side, "
            f"got {pair.neutral!r} on both"
        )
    return pair


def load_lexicon(path: Path, name: str | None = None) -> Lexicon:
    """Return a lexicon, ``{"name", "version", "words": […], "targets": […]}``.

    Args:
        path: The file.
        name: The emotion that the file must be for, when given.

    Raises:
        InputError: When the file is not of that form or is for another emotion.
    """
    data = _read(path, "a lexicon", ("name", "version", "words", "targets"))
    if name is not None and data["name"] != name:
        raise InputError(f"{path}: name: expected {name!r}, got {data['name']!r}")
    lists = {}
    for key in ("words", "targets"):
        entries = _list(data[key], f"{path}: {key}")
        words = [_text(entry, f"{path}: {key}[{i}]") for i, entry in enumerate(entries)]
        for index, word in enumerate(words):
            if len(word.split()) != 1:
                raise InputError(f"{path}: {key}[{index}]: expected one word, got {word!r}")
            if key == "words" and words_of(word) != [fold(word)]:
                raise InputError(
                    f"{path}: words[{index}]: expected letters and inner apostrophes alone, got "
                    f"{word!r}, which no word of a text would match"
                )
        lists[key] = _unique(words, f"{path}: {key}")
    version = _version(data["version"], f"{path}: version")
    return Lexicon(_text(data["name"], f"{path}: name"), version, lists["words"], lists["targets"])


Position = Literal["last", "slot", "after_slot", "all"]
