"""A planted model of two steps, whose heads work at different positions of the prompt.

L0H1 works at the slot: it reads the emotion word there and leaves a mark in its place. L1H2 works
at the last token: it finds the mark and writes the target. So patching at ``slot``,
``after_slot`` and ``last`` has known answers, and what looks at the last token alone is blind to
the first of the two.
"""

from __future__ import annotations

import math

import torch

from emolib.inputs.heads import Head
from emolib.models.language_model import LanguageModel
from emolib.planted import (
    EMOTION_WORDS,
    SCORE,
    STRENGTH,
    TARGETS,
    WIDTH,
    Plan,
    class_features,
    feature,
    planted_model,
)

MARKER, READER = Head(0, 1), Head(1, 2)
MARK_GAIN, SCORE_GAIN, READ_GAIN = 2.0, 1.0, 1.0
# So far above the other scores that they get e^−60 of the attention.
_SURE = 60.0
_FIRST_MARK = 12
_TOKENS = 10


def relay_model(dtype: torch.dtype = torch.float64) -> LanguageModel:
    """Return the model of two steps; its prompts are those of `emolib.planted.planted_emotion`.

    With i tokens before the slot, ``a = e^A / (e^A + i)`` is the marker's attention to its own
    place and ``m = γ·s·a`` the mark; the LayerNorm of the next layer makes ``m' = m / √(1 +
    m²/D)`` of it. The reader's score on it is ``κ·m'``, its attention ``a' = e^{κm'} / (e^{κm'} +
    T − 1)``, and ``h = m'·a'``; ``LD(h) = (λh − νs) / √(1 + h²/D)`` as in the other model.

    Args:
        dtype: Its floating point type; the closed forms hold to 1e-6 in float64.
    """
    model = planted_model(torch.float64, Plan(gains={}, decoys=()), "planted-relay")
    u, d_head = class_features(), WIDTH // 4
    emotions = torch.stack([u[name] for name in EMOTION_WORDS])
    marks = [feature(_FIRST_MARK + j) for j in range(len(EMOTION_WORDS))]
    outs = [model.hf.lm_head.weight[token] for token in _target_tokens(model)]
    with torch.no_grad():
        layers = [block.attn for block in model.hf.transformer.h]
        query, key, value = layers[MARKER.layer].c_attn.weight.split(WIDTH, dim=1)
        first = MARKER.index * d_head
        scale = math.sqrt(d_head) / STRENGTH**2
        query[:, first] = emotions.sum(0)
        key[:, first] = SCORE * scale * emotions.sum(0)
        # All other tokens look at the first one, which says nothing.
        query[:, first + 1] = u["end"] + u["neutral"]
        key[:, first + 1] = _SURE * scale * u["bos"]
        for j, (name, mark) in enumerate(zip(EMOTION_WORDS, marks, strict=True)):
            value[:, first + j] = u[name]
            layers[MARKER.layer].c_proj.weight[first + j] = MARK_GAIN * mark
        query, key, value = layers[READER.layer].c_attn.weight.split(WIDTH, dim=1)
        first = READER.index * d_head
        query[:, first] = u["end"]
        key[:, first] = SCORE_GAIN * math.sqrt(d_head) / STRENGTH * torch.stack(marks).sum(0)
        for j, (mark, out) in enumerate(zip(marks, outs, strict=True)):
            value[:, first + j] = mark
            layers[READER.layer].c_proj.weight[first + j] = READ_GAIN * out
    return LanguageModel(model.hf.to(dtype), model.tokenizer, model.name)


def _target_tokens(model: LanguageModel) -> list[int]:
    vocabulary = model.tokenizer.get_vocab()
    return [vocabulary[TARGETS[name]] for name in EMOTION_WORDS]


def relayed(before: int) -> float:
    """Return h, what the reader writes, of a prompt with so many tokens before its slot."""
    mark = MARK_GAIN * STRENGTH * math.exp(SCORE) / (math.exp(SCORE) + before)
    normed = mark / math.sqrt(1 + mark**2 / WIDTH)
    found = math.exp(SCORE_GAIN * normed)
    return READ_GAIN * normed * found / (found + _TOKENS - 1)
