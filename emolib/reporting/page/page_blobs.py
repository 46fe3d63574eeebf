"""Parts of the page that are packed until somebody asks for them, within a budget of bytes."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emolib.reporting.page.head_details import Changed, Detail

# Of the budget, how much effects by pair and attention may take; the rest is for texts.
_WITHOUT_TEXTS = 0.7
# What a tag around a blob takes.
_TAG = 60
_TRIES = 6
# What texts cost is known roughly: all are tried where they may fit, and one that does not fit is
# told to save somewhat more than it is over.
_HOPE, _STRICTER = 1.2, 1.1
_ALL = -math.inf


def to_text(value: Any) -> str:
    """Return a value as JSON, short, and the same for the same value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def pack(value: Any) -> str:
    """Return a value as base64 of raw deflate of its JSON, which a browser inflates itself.

    >>> unpack(pack({"a": [1, "</script>"]}))
    {'a': [1, '</script>']}
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(to_text(value).encode("utf-8", "replace")) + deflate.flush()
    return base64.b64encode(packed).decode("ascii")


def unpack(text: str) -> Any:
    """Return the value in a packed text."""
    return json.loads(zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS))


@dataclass
class Fitted:
    """Details of heads that fit into what is left of a budget.

    Attributes:
        blobs: By id, packed.
        left_out: Sentences on what does not fit, empty where all does.
    """

    blobs: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes on the page."""
        return sum(len(text) + _TAG for text in self.blobs.values())


def fit(details: Sequence[tuple[str, Detail]], budget: float) -> Fitted:
    """Return details of heads, packed, the weakest heads and the least changed texts left out.

    Args:
        details: Ids and details, those first that are to stay first.
        budget: Bytes.
    """
    texts = [changed for _, detail in details for changed in detail.texts.values()]
    kept, size = _without_texts(details, budget)
    room = budget - size
    if len(kept) == len(details) and _cost(texts, _ALL) <= _HOPE * room:
        every = Fitted({name: pack(detail.told(_ALL)) for name, detail in details})
        if every.size <= budget:
            return every
    kept, size = _without_texts(details, budget * _WITHOUT_TEXTS)
    said = []
    if len(kept) < len(details):
        said.append(
            f"Effects pair by pair, attention and texts are here of {len(kept):,} heads of "
            f"{len(details):,}, those with the largest effects."
        )
    total = sum(len(changed.sizes) for changed in texts)
    texts = [changed for _, detail in kept for changed in detail.texts.values()]
    found, room, least = Fitted(), budget - size, _ALL
    for _ in range(_TRIES):
        least = _threshold(texts, room)
        found = Fitted({name: pack(detail.told(least)) for name, detail in kept})
        if found.size <= budget:
            break
        room = _cost(texts, least) - _STRICTER * (found.size - budget)
    else:
        least = math.inf
        found = Fitted({name: pack(detail.told(least)) for name, detail in kept})
    shown = sum(sum(size >= least for size in changed.sizes) for changed in texts)
    if shown < total:
        said.append(
            f"Of {total:,} changed texts {shown:,} are here, those with the largest share of "
            "changed words."
        )
    found.left_out = said
    return found


def _cost(texts: Sequence[Changed], least: float) -> float:
    """Return about how many bytes the texts take that are changed by so much at least."""
    return sum(changed.cost * sum(size >= least for size in changed.sizes) for changed in texts)


def _without_texts(
    details: Sequence[tuple[str, Detail]], budget: float
) -> tuple[list[tuple[str, Detail]], float]:
    """Return the details, from the first, that fit in while they have no texts, and their size."""
    size, kept = 0.0, []
    for name, detail in details:
        more = len(pack(detail.told(math.inf))) + _TAG
        if size + more > budget:
            break
        size += more
        kept.append((name, detail))
    return kept, size


def _threshold(texts: Sequence[Changed], room: float) -> float:
    """Return the least change of texts at which they take no more than some bytes."""
    sizes = sorted(
        ((size, changed.cost) for changed in texts for size in changed.sizes), reverse=True
    )
    taken = 0.0
    for size, cost in sizes:
        taken += cost
        if taken > room:
            return math.nextafter(size, math.inf)
    return _ALL
