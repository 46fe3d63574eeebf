"""Prompts as tokens: encoded, aligned into pairs, and left-padded into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, assert_never

import torch
from torch import Tensor

from emolib.errors import InputError
from emolib.inputs.prompts import Chat, Pair, Position, Turns, Written
from emolib.models.chat import render, turn_ends

_BATCH_COST = 256
"""What a batch of its own costs, in tokens: its layers are called whatever is in it."""


@dataclass(frozen=True)
class Prompts:
    """Prompts under one tokenizer.

    Attributes:
        texts: The prompts as text, as they were written.
        ids: Their token ids.
        slots: Per prompt the half-open span of the slot's tokens, or None for free prompts.
        clusters: Per prompt the template it comes from, or None for free prompts.
        ends: Tokens that end a continuation, beside the model's own: of a chat those that end
            the model's turn.
    """

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    slots: tuple[tuple[int, int], ...] | None = None
    clusters: tuple[str, ...] | None = None
    ends: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.ids)

    @cached_property
    def width(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(ids) for ids in self.ids)

    @property
    def ends_with_slot(self) -> bool:
        """Whether a prompt's slot reaches its end, so that nothing is ``after_slot``."""
        spans = zip(self.slots or (), self.ids, strict=False)
        return any(end >= len(ids) for (_, end), ids in spans)

    def batches(self, size: int, pad: int, device: str | torch.device) -> Iterator[Batch]:
        """Yield the prompts in order, `size` at a time, all padded on the left to `width`.

        One width for all batches keeps a prompt's numbers independent of its neighbours.
        """
        for start in range(0, len(self), size):
            yield Batch(self, range(start, min(start + size, len(self))), pad, device)

    def buckets(self, size: int, pad: int, device: str | torch.device) -> list[Batch]:
        """Return the prompts in batches of about one length, each padded to its own longest.

        The split costs the fewest tokens, padding and `_BATCH_COST` for each batch counted in.
        Which bucket a prompt falls into follows from the prompts alone.
        """
        order = sorted(range(len(self)), key=lambda row: (len(self.ids[row]), row))
        lengths = [len(self.ids[row]) for row in order]
        # best[i]: (cost, start of the last batch) of the first i prompts.
        best: list[tuple[int, int]] = [(0, 0)]
        for end in range(1, len(order) + 1):
            starts = range(max(0, end - size), end)
            areas = (best[start][0] + (end - start) * lengths[end - 1] for start in starts)
            cost, start = min(zip(areas, starts, strict=True))
            best.append((cost + _BATCH_COST, start))
        made: list[Batch] = []
        end = len(order)
        while end:
            start = best[end][1]
            rows = tuple(sorted(order[start:end]))
            made.append(Batch(self, rows, pad, device, lengths[end - 1]))
            end = start
        return made[::-1]


@dataclass(frozen=True)
class Batch:
    """Some prompts as tensors, padded on the left so that the last token is the last column.

    Attributes:
        prompts: What the batch is part of.
        rows: Which prompts it holds.
        pad: Token id of the padding (any: it is masked).
        device: Where the tensors live.
        columns: How wide it is; None for as wide as the longest of all prompts.
    """

    prompts: Prompts
    rows: Sequence[int]
    pad: int
    device: str | torch.device
    columns: int | None = None

    @property
    def width(self) -> int:
        """Number of columns, ``seq``."""
        return self.columns or self.prompts.width

    @cached_property
    def input_ids(self) -> Tensor:
        """Token ids, shape ``[batch, seq]``."""
        width = self.width
        padded = [
            [self.pad] * (width - len(self.prompts.ids[row])) + list(self.prompts.ids[row])
            for row in self.rows
        ]
        return torch.tensor(padded, device=self.device)

    @cached_property
    def pads(self) -> Tensor:
        """Number of padding tokens of each row, shape ``[batch]``."""
        width = self.width
        return torch.tensor(
            [width - len(self.prompts.ids[row]) for row in self.rows], device=self.device
        )

    @cached_property
    def attention_mask(self) -> Tensor:
        """1 at tokens and 0 at padding, shape ``[batch, seq]``."""
        columns = torch.arange(self.width, device=self.device)
        return (columns >= self.pads[:, None]).long()

    @cached_property
    def position_ids(self) -> Tensor:
        """Positions counted from the first token that is no padding, shape ``[batch, seq]``."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    def at(self, position: Position) -> Tensor:
        """Return where a position setting points, as booleans of shape ``[batch, seq]``.

        Raises:
            InputError: When `position` needs slots and the prompts have none, or points at
                nothing in one of them.
        """
        columns = torch.arange(self.width, device=self.device)[None, :]
        match position:
            case "last":
                return (columns == self.width - 1).expand(len(self.rows), -1)
            case "all":
                return self.attention_mask.bool()
            case "slot":
                start, end = self._slots()
                return (columns >= start) & (columns < end)
            case "after_slot":
                return columns >= self._slot_ends()
            case _:
                assert_never(position)

    def _slot_ends(self) -> Tensor:
        """Return where slots end, shape ``[batch, 1]``, all of them before the prompt does."""
        _, end = self._slots()
        if bool((end >= self.width).any()):
            row = self.rows[int((end[:, 0] >= self.prompts.width).int().argmax())]
            raise InputError(
                f"prompt {self.prompts.texts[row][-40:]!r} ends with its slot, so nothing is "
                "after_slot; use --position last, or let the prompt go on"
            )
        return end

    def of(self, rows: slice) -> Batch:
        """Return some of its prompts, as wide as they are here."""
        return Batch(self.prompts, self.rows[rows], self.pad, self.device, self.width)

    def halves(self) -> list[Batch]:
        """Return the batch in two."""
        middle = (len(self.rows) + 1) // 2
        return [self.of(slice(0, middle)), self.of(slice(middle, None))]

    def _slots(self) -> tuple[Tensor, Tensor]:
        slots = self.prompts.slots
        if slots is None:
            raise InputError(
                "positions slot and after_slot need aligned pairs, got free prompts; "
                "use --position last or all, or a pairs file"
            )
        spans = torch.tensor([slots[row] for row in self.rows], device=self.device)
        start, end = (spans + self.pads[:, None]).unbind(1)
        return start[:, None], end[:, None]


def encode(
    tokenizer: Any,
    prompts: Sequence[Written],
    limit: int | None = None,
    *,
    chat: Chat | None = None,
    names: Sequence[str] | None = None,
) -> Prompts:
    """Return free prompts as tokens; see `tokens`.

    Args:
        tokenizer: A transformers tokenizer.
        prompts: The prompts.
        limit: Most tokens a prompt may have, from the model's context length.
        chat: How they go through the tokenizer's chat template; None for plain text.
        names: Per prompt where it is written, for messages.

    Raises:
        InputError: When a prompt has no token or more than `limit`, or as `tokens` does.
    """
    ids = tuple(tokens(tokenizer, prompt, chat) for prompt in prompts)
    texts = tuple(map(str, prompts))
    for index, (text, found) in enumerate(zip(texts, ids, strict=True)):
        name = f"{names[index]}: " if names else ""
        if not found:
            raise InputError(f"{name}prompt {text[:40]!r} has no token under this tokenizer")
        if limit is not None and len(found) > limit:
            raise InputError(
                f"{name}prompt {text[:40]!r} has {len(found)} tokens, expected at most {limit} "
                "(the model's context less --max-new-tokens); shorten the prompt or the "
                "continuation"
            )
    return Prompts(texts, ids, ends=turn_ends(tokenizer) if chat else frozenset())


def tokens(tokenizer: Any, prompt: Written, chat: Chat | None = None) -> tuple[int, ...]:
    """Return the token ids of one prompt: all that tokenizes a prompt does it here.

    In front stand the special tokens that the tokenizer puts there, unless the text or the chat
    template has them already: one BOS, whoever writes it, and none where nobody does. An end token
    that the tokenizer adds is left out: a prompt goes on.

    Raises:
        InputError: When `chat` is given and the tokenizer's template is missing or refuses the
            prompt, or `chat` is None and the prompt is turns.
    """
    if chat is not None:
        text, had_bos = render(tokenizer, prompt, chat)
        ids = _open_ended(tokenizer, text)
        bos = tokenizer.bos_token_id
        return (bos, *ids) if had_bos and bos not in ids[:1] else ids
    if isinstance(prompt, Turns):
        raise InputError(
            f"prompt {str(prompt)[:40]!r} is turns of a chat, which need --chat "
            "(chat=True of a study); turn it on, or write the prompt as text"
        )
    return _open_ended(tokenizer, prompt)


def _open_ended(tokenizer: Any, text: str) -> tuple[int, ...]:
    bos = tokenizer.bos_token
    if bos and text.lstrip().startswith(bos):
        text = text.lstrip()
        while text.startswith(2 * bos):
            text = text.removeprefix(bos)
    # What is too long is told here in words of its own.
    full = tuple(tokenizer(text, verbose=False)["input_ids"])
    own = full
    if tokenizer.num_special_tokens_to_add():
        own = tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    added = _ends(full, tokenizer.eos_token_id) - _ends(own, tokenizer.eos_token_id)
    # Of an empty prompt one token stays: where a start is an end too, it is the start.
    ids = full[: max(1, len(full) - added)]
    start = ids[: len(ids) - len(own)]
    if ids != start + own:
        return ids
    # What the text brings of the start itself. By its words too: where the BOS is the unknown
    # token, a word may have its id.
    words = tokenizer.convert_ids_to_tokens(list(start))
    for first in range(len(start)):
        brought = own[: len(start) - first] == start[first:]
        if brought and "".join(text.split()).startswith("".join(words[first:])):
            return start[:first] + own
    return ids


def _ends(ids: Sequence[int], end: int | None) -> int:
    return next((count for count, i in enumerate(reversed(ids)) if i != end), len(ids))


@dataclass(frozen=True)
class AlignedPairs:
    """Pairs whose two sides have the same number of tokens and differ in one span.

    Attributes:
        pairs: The pairs kept.
        emotion: Their emotion sides.
        neutral: Their neutral sides, row by row of the same length and slot.
        left_out: Ids of the pairs that do not align under this tokenizer, with the reason.
    """

    pairs: tuple[Pair, ...]
    emotion: Prompts
    neutral: Prompts
    left_out: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        """Return the number of pairs kept."""
        return len(self.pairs)


def align(
    tokenizer: Any,
    pairs: Sequence[Pair],
    limit: int | None = None,
    *,
    chat: Chat | None = None,
    names: Sequence[str] | None = None,
) -> AlignedPairs:
    """Return the pairs that align under a tokenizer, and which ones do not.

    The slot is the span in which the token ids differ, so it needs no character offsets and
    means the same under every tokenizer, and behind what a chat template writes.

    Args:
        tokenizer: A transformers tokenizer.
        pairs: The pairs.
        limit: As for `encode`.
        chat: As for `encode`.
        names: Per pair where it is written, for messages.

    Raises:
        InputError: When no pair aligns, or as `encode` does.
    """
    sides = [
        [pair.written("emotion") for pair in pairs],
        [pair.written("neutral") for pair in pairs],
    ]
    emotion, neutral = (encode(tokenizer, s, limit, chat=chat, names=names) for s in sides)
    kept, slots, left_out = [], [], []
    for index, (emo, neu) in enumerate(zip(emotion.ids, neutral.ids, strict=True)):
        if len(emo) != len(neu):
            left_out.append((pairs[index].id, f"{len(emo)} and {len(neu)} tokens"))
        elif emo == neu:
            left_out.append((pairs[index].id, "the two sides are the same tokens"))
        else:
            kept.append(index)
            slots.append(_difference(emo, neu))
    if not kept:
        raise InputError(
            f"none of the {len(pairs)} pairs aligns under this tokenizer "
            f"({left_out[0][0]}: {left_out[0][1]}); write fillers of equal token length"
        )

    def side(prompts: Prompts) -> Prompts:
        return Prompts(
            tuple(prompts.texts[i] for i in kept),
            tuple(prompts.ids[i] for i in kept),
            tuple(slots),
            tuple(pairs[i].template for i in kept),
            prompts.ends,
        )

    chosen = tuple(pairs[i] for i in kept)
    return AlignedPairs(chosen, side(emotion), side(neutral), tuple(left_out))


def _difference(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, int]:
    differing = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
    return differing[0], differing[-1] + 1
