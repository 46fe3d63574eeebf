"""What a run's logits say, a number per prompt: all that is kept of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emolib.methods import metrics

Vector = NDArray[np.float64]
Table = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The logit metrics of one run, averaged over its draws, each of shape ``[n_prompts]``.

    Attributes:
        logit_diff: See `emolib.methods.metrics.logit_diff`, in logits.
        log_odds: See `emolib.methods.metrics.log_odds`, in nats; None where the lexicon
            has no word of one token.
        prob_mass: See `emolib.methods.metrics.prob_mass`; None likewise.
        kl: ``KL(clean ‖ this)``, in nats, 0 of the clean run itself; None where that is not known.
        dtype: The type that it was computed in.
    """

    logit_diff: Vector
    log_odds: Vector | None
    prob_mass: Vector | None
    kl: Vector | None
    dtype: str = "float32"

    @property
    def effect(self) -> Vector:
        """The values by which runs are told to be strong: ``logit_diff``."""
        return self.logit_diff

    def moved(self, old: Scores, new: Scores) -> Scores:
        """Return these scores moved by as much as `new` is from `old`, in the type of `new`.

        Args:
            old: Of the clean run.
            new: Of the run, both in one type; these are of the clean run in another.
        """

        def step(name: str) -> Vector | None:
            here, before, after = (getattr(of, name) for of in (self, old, new))
            return None if here is None else here + after - before

        diff = self.logit_diff + new.logit_diff - old.logit_diff
        return Scores(diff, step("log_odds"), step("prob_mass"), new.kl, new.dtype)


def score(
    logits: Tensor, clean: Tensor | None, targets: tuple[Tensor, Tensor], words: Tensor | None
) -> Scores:
    """Return the scores of a run.

    Args:
        logits: At the last prompt token, ``[draws, n_prompts, vocab]``.
        clean: Those of the clean run on the same prompts, ``[1, n_prompts, vocab]``; None where
            they are not known.
        targets: Token ids T_emo and T_neu.
        words: Token ids of the lexicon, None where it has none.
    """
    diff = metrics.logit_diff(logits, *targets)
    dtype = str(logits.dtype).removeprefix("torch.")
    logits = logits.double()
    return Scores(
        mean_draws(diff),
        None if words is None else mean_draws(metrics.log_odds(logits, words)),
        None if words is None else mean_draws(metrics.prob_mass(logits, words)),
        None if clean is None else mean_draws(metrics.kl(clean.mean(0), logits)),
        dtype,
    )


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Return a tensor as a float64 array of the same shape, without its gradient."""
    return values.detach().cpu().double().numpy()


def mean_draws(values: Tensor) -> Vector:
    """Return the mean over draws, ``[n_prompts]``, of values ``[draws, n_prompts]``."""
    return to_numpy(values.mean(0))
