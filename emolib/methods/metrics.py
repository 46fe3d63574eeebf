"""Metrics on the next-token logits: logit_diff, log_odds, kl, prob_mass.

All take logits of shape ``[…, vocab]`` and return float64 of shape ``[…]``, in logits or nats.
Definitions: docs/science.md, "Metrics on logits"; logit differences as in Wang et al. (2211.00593).
"""

from __future__ import annotations

from torch import Tensor


def logit_diff(logits: Tensor, emotion: Tensor, neutral: Tensor) -> Tensor:
    """Return mean logit over T_emo minus mean logit over T_neu, in logits.

    Args:
        logits: Shape ``[…, vocab]``.
        emotion: Token ids T_emo, shape ``[k]``.
        neutral: Token ids T_neu, shape ``[m]``.
    """
    logits = logits.double()
    return logits[..., emotion].mean(-1) - logits[..., neutral].mean(-1)


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
