"""Metrics on the next-token logits: logit_diff, log_odds, kl, prob_mass.

All take logits of shape ``[…, vocab]`` and return float64 of shape ``[…]``, in logits or nats.
Definitions: docs/science.md, "Metrics on logits"; logit differences as in Wang et al. (2211.00593).
"""

from __future__ import annotations

import torch
from torch import Tensor


def logit_diff(logits: Tensor, emotion: Tensor, neutral: Tensor) -> Tensor:
    """Return mean logit over T_emo minus mean logit over T_neu, in logits.

    Args:
        logits: Shape ``[…, vocab]``.
        emotion: Token ids T_emo, shape ``[k]``.
        neutral: Token ids T_neu, shape ``[m]``.
    """
    return logits[..., emotion].double().mean(-1) - logits[..., neutral].double().mean(-1)


def log_odds(logits: Tensor, words: Tensor) -> Tensor:
    """Return ``logsumexp(logits[words]) − logsumexp(logits[rest])``, in nats.

    Args:
        logits: Shape ``[…, vocab]``.
        words: Token ids of the lexicon, shape ``[k]``.
    """
    logits = logits.double()
    rest = logits.index_fill(-1, words, -float("inf"))
    return logits[..., words].logsumexp(-1) - rest.logsumexp(-1)


def prob_mass(logits: Tensor, words: Tensor) -> Tensor:
    """Return the next-token probability of the lexicon, in [0, 1]."""
    mass: Tensor = logits.double().softmax(-1)[..., words].sum(-1)
    return mass


def kl(clean: Tensor, other: Tensor) -> Tensor:
    """Return ``KL(clean ‖ other)`` of the next-token distributions, in nats, at least 0."""
    log_p, log_q = clean.double().log_softmax(-1), other.double().log_softmax(-1)
    # Rounding can leave a KL of -1e-17 where the two are the same.
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0)


def next_token(
    logits: Tensor, words: Tensor | None, clean: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `log_odds`, `prob_mass` and `kl` at once, in one pass over the vocabulary.

    Args:
        logits: Of k runs on b prompts, ``[b, k, vocab]``.
        words: Token ids of the lexicon, ``[w]``; None where it has none.
        clean: Of the clean run, ``[b, vocab]``; None where it is not known.

    Returns:
        Each of shape ``[b, k]``, NaN where it is not known.
    """
    unknown = torch.full(logits.shape[:-1], torch.nan, dtype=torch.float64, device=logits.device)
    odds, mass, divergence = unknown, unknown, unknown
    wide = logits.to(torch.float64, copy=True)
    inside, outside, total = _totals(wide, words)
    if words is not None:
        odds, mass = inside - outside, (inside - total).exp()
    if clean is not None:
        # In the same steps, so that where the two are the same it is exactly 0.
        log_p = clean.to(torch.float64, copy=True)
        log_p -= _totals(log_p, words)[2][..., None]
        step = wide.sub_(total[..., None]).neg_().add_(log_p[:, None])
        # Rounding can leave a KL of -1e-17.
        divergence = (step @ log_p.exp()[..., None])[..., 0].clamp(min=0)
    return odds, mass, divergence


def _totals(logits: Tensor, words: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logsumexp of some words, of the rest and of all; logits are left as they were."""
    if words is None:
        total = logits.logsumexp(-1)
        return total, total, total
    of_words = logits[..., words]
    inside = of_words.logsumexp(-1)
    outside = logits.index_fill_(-1, words, -torch.inf).logsumexp(-1)
    logits[..., words] = of_words
    return inside, outside, torch.logaddexp(inside, outside)
