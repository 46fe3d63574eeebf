"""Where heads look: attention patterns, and the attention from the last token of a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emolib.engine.costs import Planned, Runs
from emolib.engine.forwards import forward
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Side
from emolib.methods.scores import Table, Vector, to_numpy
from emolib.methods.study import Study
from emolib.models.encoding import Batch
from emolib.tracing import OwnTraceDict

SIDES: tuple[Side, Side] = ("emotion", "neutral")
_DIGITS = 5


def why_no_patterns(study: Study) -> str | None:
    """Return why a model's attention patterns cannot be read, None where they can."""
    model = study.model
    prompts = study.prompts("emotion")
    paths = [model.arch.attn_path(layer) for layer in model.head_layers]
    batch = Batch(prompts, range(1), model.pad, model.device)
    with torch.no_grad(), OwnTraceDict(model.hf, paths, stop=True) as traces:
        forward(model, batch)
    for layer, path in zip(model.head_layers, paths, strict=True):
        _, *others = out if isinstance(out := traces[path].output, tuple) else (out,)
        if not (others and isinstance(others[0], Tensor) and others[0].ndim == 4):
            return f"the attention of layer {layer} does not put out its pattern"
        if others[0].shape[1] != model.n_heads:
            return f"the pattern of layer {layer} is of {others[0].shape[1]} heads"
    return None


@dataclass(frozen=True)
class LastAttention:
    """Attention from the last token of every prompt of pairs, by all heads.

    Attributes:
        heads: The heads, layer by layer, H in all.
        tokens: Per side and prompt its tokens as text, T of them.
        weights: Per side and prompt the attention from the last token, shape ``[H, T]``.
        slots: Per prompt the half-open span of the slot's tokens.
    """

    heads: tuple[Head, ...]
    tokens: dict[Side, list[list[str]]]
    weights: dict[Side, list[Table]]
    slots: tuple[tuple[int, int], ...]

    def of(self, head: Head) -> dict[str, Any]:
        """Return what one head looks at, for `record`.

        Returns:
            Vectors, a value a pair, of the attention from the last token to the slot's tokens
            (summed), the start token, the token before and the last token itself, by side
            (``emotion_slot`` …) and as ``delta_slot``; and lists, a list a pair:
            ``emotion_tokens``, ``emotion_attention``, their neutral counterparts, and ``slot``,
            the span.
        """
        column = self.heads.index(head)
        rows = {side: [weights[column] for weights in self.weights[side]] for side in SIDES}
        found: dict[str, Any] = {
            f"{side}_{place}": vector
            for side in SIDES
            for place, vector in self._places(rows[side]).items()
        }
        found = {"delta_slot": found["emotion_slot"] - found["neutral_slot"]} | found
        for side in SIDES:
            found[f"{side}_tokens"] = self.tokens[side]
            found[f"{side}_attention"] = [row.round(_DIGITS).tolist() for row in rows[side]]
        return found | {"slot": [list(span) for span in self.slots]}

    def _places(self, rows: list[Vector]) -> dict[str, Vector]:
        spans = zip(rows, self.slots, strict=True)
        return {
            "slot": np.array([row[start:end].sum() for row, (start, end) in spans]),
            "start": np.array([row[0] for row in rows]),
            "previous": np.array([row[-2] if len(row) > 1 else 0.0 for row in rows]),
            "self": np.array([row[-1] for row in rows]),
        }


def last_attention(study: Study) -> LastAttention:
    """Return the attention from the last token of every pair's two prompts, from two clean runs.

    Raises:
        InputError: When the study has free prompts in place of pairs, or the model does not put
            out its patterns.
    """
    pairs, model = study.pairs, study.model
    if why := why_no_patterns(study):
        raise InputError(f"{model.name}: {why}; there is no attention to show")
    tokens: dict[Side, list[list[str]]] = {}
    weights: dict[Side, list[Table]] = {}
    for side in SIDES:
        prompts = study.prompts(side)
        tokens[side] = [[model.tokenizer.decode([i]) for i in ids] for ids in prompts.ids]
        weights[side] = _from_last(study, side)
    heads = tuple(model.heads)
    return LastAttention(heads, tokens, weights, pairs.emotion.slots or ())


def _from_last(study: Study, side: Side) -> list[Table]:
    """Return per prompt the attention from its last token, ``[H, T]``, all heads."""
    prompts, count = study.prompts(side), study.model.n_heads
    places = {layer: place for place, layer in enumerate(study.model.head_layers)}
    found = [np.zeros((len(places) * count, len(ids))) for ids in prompts.ids]

    def see(batch: Batch, layer: int, columns: slice, pattern: Tensor) -> None:
        for row, attended in zip(batch.rows, to_numpy(pattern[:, :, -1]), strict=True):
            heads = slice(places[layer] * count, (places[layer] + 1) * count)
            found[row][heads] = attended[:, -len(prompts.ids[row]) :]

    study.runner.attention(side, "last", see)
    return found


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `last_attention`: each side once, where its clean run is not kept."""
    yield from planned.clean(again=True)
