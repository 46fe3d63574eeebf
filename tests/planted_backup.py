"""A planted model that repairs itself: a head of the next layer that stands in for the planted one.

L0H1 reads the emotion word from the last token and writes its target. L1H2 looks for the word too,
but the less the more of the target stands in the stream already: with L0H1 at work it looks at all
tokens alike, without it at the word.
"""

from __future__ import annotations

import math

import torch

from emolib.inputs.heads import Head
from emolib.models.language_model import LanguageModel
from emolib.planted import (
    EMOTION_WORDS,
    GAIN,
    PLANTED,
    SCORE,
    STRENGTH,
    TARGETS,
    WIDTH,
    Plan,
    class_features,
    planted_model,
)

BACKUP = Head(1, 2)
BACKUP_GAIN = 1.0
_TOKENS = 10
# So far above the other scores that they get e^−60 of the attention.
_SURE = 60.0


def backup_model(dtype: torch.dtype = torch.float64) -> LanguageModel:
    """Return the model; its prompts are those of `emolib.planted.planted_emotion`.

    The planted head writes ``h = γ·s·a = 6`` at END, as in `emolib.planted`; all other tokens look
    at the first one with it, which says nothing. The next LayerNorm divides the stream there by
    ``σ(h) = √(1 + h²/D)``. The backup's score on the emotion word is ``S(h) = A·(1 − h/6)/σ(h)``,
    0 on all other tokens, its attention ``a'(h) = e^S / (e^S + T − 1)``, and it writes ``b(h) =
    β·s·a'(h)`` of the same target: 0.4 at h = 6 and 3 at h = 0, with β = 1. ``logit_diff`` is
    ``LD(h + b)``, ``LD(x) = (λx − νs) / √(1 + x²/D)``. So of zeroing the planted head

    - the whole effect is ``LD(b(0)) − LD(6 + b(6))``,
    - the direct one, with the backup held, ``LD(b(6)) − LD(6 + b(6))``.

    Args:
        dtype: Its floating point type; the closed forms hold to 1e-6 in float64.
    """
    plan = Plan(gains={PLANTED: GAIN}, decoys=())
    model = planted_model(torch.float64, plan, "planted-backup")
    u, d_head = class_features(), WIDTH // 4
    emotions = torch.stack([u[name] for name in EMOTION_WORDS])
    vocabulary = model.tokenizer.get_vocab()
    outs = [model.hf.lm_head.weight[vocabulary[TARGETS[name]]] for name in EMOTION_WORDS]
    scale = math.sqrt(d_head) / STRENGTH**2
    with torch.no_grad():
        query, key, _ = _attention(model, PLANTED)
        first = PLANTED.index * d_head
        query[:, first + 1] = u["neutral"] + emotions.sum(0)
        key[:, first + 1] = _SURE * scale * u["bos"]
        query, key, value = _attention(model, BACKUP)
        first = BACKUP.index * d_head
        query[:, first] = u["end"] - STRENGTH / written() * torch.stack(outs).sum(0)
        key[:, first] = SCORE * scale * emotions.sum(0)
        for j, (name, out) in enumerate(zip(EMOTION_WORDS, outs, strict=True)):
            value[:, first + j] = u[name]
            model.hf.transformer.h[BACKUP.layer].attn.c_proj.weight[first + j] = BACKUP_GAIN * out
    return LanguageModel(model.hf.to(dtype), model.tokenizer, model.name)


def _attention(model: LanguageModel, head: Head) -> tuple[torch.Tensor, ...]:
    return model.hf.transformer.h[head.layer].attn.c_attn.weight.split(WIDTH, dim=1)


def written() -> float:
    """Return h, what the planted head writes on emotion prompts."""
    return GAIN * STRENGTH * math.exp(SCORE) / (math.exp(SCORE) + _TOKENS - 1)


def backed(h: float) -> float:
    """Return b(h), what the backup writes on emotion prompts where the planted head wrote h."""
    found = math.exp(SCORE * (1 - h / written()) / math.sqrt(1 + h**2 / WIDTH))
    return BACKUP_GAIN * STRENGTH * found / (found + _TOKENS - 1)


def logit_diff(x: float) -> float:
    """Return LD of what stands of the target in the last stream."""
    return (x - 1) / math.sqrt(1 + x**2 / WIDTH)
