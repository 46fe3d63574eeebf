"""Prompts under each model's tokenizer, checked before weights are loaded, as cheaply as it goes.

A token is at least a byte, so that most prompts need no tokenizer to be short enough; for others
tokenizer.json does. What is left over, and all of a chat, is encoded as a run would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from emolib.errors import InputError
from emolib.inputs.emotions import Emotion
from emolib.inputs.profiles import Profile
from emolib.inputs.prompts import Side, Written
from emolib.models.sources import Source

_AROUND = 4
"""Special tokens that a tokenizer may put around a text, at most."""
_LEAST = 512
"""No architecture has a shorter context where its configuration does not say."""


def check_prompts(sources: Iterable[Source], emotions: Iterable[Emotion], profile: Profile) -> None:
    """Check that prompts fit each model's context, and its chat template where that is used.

    Loads torch where they go through a chat template, or may be too long.

    Args:
        sources: The models.
        emotions: Whose prompts.
        profile: How they are encoded, and how many tokens are to come behind them.

    Raises:
        InputError: When one does not fit, or a chat template is missing or refuses one; the message
            names file and entry.
    """
    emotions, sources = list(emotions), list(sources)
    if profile.chat:
        for source in sources:
            source.check_chat()
    fits: dict[tuple[str, int], bool] = {}
    for source in sources:
        limit = (source.context or _LEAST) - profile.max_new_tokens - _AROUND
        if not profile.chat:
            asked = source.tokenizer_hash, limit
            if asked not in fits:
                fits[asked] = _fit(source, emotions, limit)
            if fits[asked]:
                continue
        _encode(source, emotions, profile)


def _fit(source: Source, emotions: Iterable[Emotion], limit: int) -> bool:
    """Tell whether plain prompts are short enough for certain, without transformers."""
    written = (prompt for emotion in emotions for prompt in _prompts(emotion))
    long = [text for text in map(str, written) if len(text.encode()) > limit]
    file = source.folder / "tokenizer.json"
    if not long or source.gguf or not file.is_file():
        return not long
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
        # One by one: in a batch they are dealt out to threads, of which a fork would warn.
        return all(len(tokenizer.encode(text, add_special_tokens=False)) <= limit for text in long)
    except Exception:  # Of the package's own kind, and whatever else a broken file does.
        return False


def _prompts(emotion: Emotion) -> Iterator[Written]:
    for side in get_args(Side):
        yield from emotion.written(side)


def _encode(source: Source, emotions: Iterable[Emotion], profile: Profile) -> None:
    """Encode prompts as a run would, with a message for what is wrong."""
    # Imported here: they load torch.
    from emolib.models.encoding import encode
    from emolib.models.loading import describe

    try:
        config, tokenizer = describe(source)
    except Exception as error:  # Of whatever reads the files.
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"model {source.id!r}: its tokenizer cannot be read ({said}); download or save it again"
        ) from None
    context = getattr(config, "max_position_embeddings", None)
    limit = None if context is None else context - profile.max_new_tokens
    for emotion in emotions:
        for side in get_args(Side):
            prompts, names = emotion.written(side), emotion.places(side)
            try:
                encode(tokenizer, prompts, limit, chat=profile.as_chat, names=names)
            except InputError as error:
                raise InputError(f"model {source.id!r}: {error}") from None
