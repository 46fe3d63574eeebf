"""What a run's logits say, a number per prompt: all that is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib.engine.slices import reduced
from emolib.errors import InputError
from emolib.methods import metrics
from emolib.methods.own_metrics import not_finite

Vector = NDArray[np.float64]
Table = NDArray[np.float64]


class Apart(np.ndarray[Any, np.dtype[np.float64]]):
    """A vector that has not a value for each prompt: of templates, of some of the pairs.

    ``values.view(Apart)`` makes one. ``record`` takes it whatever its length.
    """


OfLogits = Callable[[Tensor], Tensor]
"""A metric: from logits ``[n, vocab]`` to a number each, ``[n]``."""


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
        others: By name the further metrics that the study reads.
    """

    logit_diff: Vector
    log_odds: Vector | None
    prob_mass: Vector | None
    kl: Vector | None
    dtype: str = "float32"
    others: Mapping[str, Vector] = field(default_factory=dict)

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
        others = {
            name: here + new.others[name] - old.others[name] for name, here in self.others.items()
        }
        return Scores(diff, step("log_odds"), step("prob_mass"), new.kl, new.dtype, others)


@dataclass(frozen=True)
class Measuring:
    """What is kept of a run's logits on its way to `Scores`.

    Attributes:
        targets: Token ids T_emo and T_neu.
        words: Token ids of the lexicon, None where it has none.
        others: By name further metrics, from logits ``[n, vocab]`` to a number each, ``[n]``.
    """

    targets: tuple[Tensor, Tensor]
    words: Tensor | None
    others: Mapping[str, OfLogits] = field(default_factory=dict)

    def rows(self, logits: Tensor, clean: Tensor | None) -> Tensor:
        """Return the metrics in float64, ``[b, k, 4 + others]``, NaN where one is not known.

        Args:
            logits: Of k runs on b prompts, ``[b, k, vocab]``.
            clean: Of the clean run, ``[b, vocab]``; None where it is not known.
        """
        diff = metrics.logit_diff(logits, *self.targets)
        flat = logits.flatten(0, 1)
        more = [self._other(name, flat).view(diff.shape) for name in self.others]
        return torch.stack([diff, *metrics.next_token(logits, self.words, clean), *more], dim=-1)

    def _other(self, name: str, logits: Tensor) -> Tensor:
        """Return a further metric of logits ``[n, vocab]``, ``[n]``.

        Raises:
            InputError: When it is not a finite number of each row.
        """
        found: object = self.others[name](logits)
        if not isinstance(found, Tensor) or found.shape != logits.shape[:1]:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"metric {name}: expected a number for each row of logits {list(logits.shape)}, a "
                f"tensor [{len(logits)}], got {got}"
            )
        if bad := int((~found.isfinite()).sum()):
            raise InputError(not_finite(name, bad, len(found)))
        return found.detach().double()

    def scores(self, rows: Tensor, dtype: str, *, beside_clean: bool) -> Scores:
        """Return the scores of a run.

        Args:
            rows: What `rows` made of its draws, ``[draws, n_prompts, 4 + others]``.
            dtype: The type that the logits were computed in.
            beside_clean: Whether it was given the clean run's.
        """
        diff, odds, mass, kl, *more = (mean_draws(column) for column in rows.unbind(-1))
        others = dict(zip(self.others, more, strict=True))
        known = kl if beside_clean else None
        if self.words is None:
            return Scores(diff, None, None, known, dtype, others)
        return Scores(diff, odds, mass, known, dtype, others)


def score(logits: Tensor, clean: Tensor | None, measuring: Measuring) -> Scores:
    """Return the scores of a run.

    Args:
        logits: At the last prompt token, ``[draws, n_prompts, vocab]``.
        clean: Those of the clean run on the same prompts, ``[1, n_prompts, vocab]``; None where
            they are not known.
        measuring: What is kept of them.
    """

    def measure(part: Tensor, prompts: Sequence[int]) -> Tensor:
        return measuring.rows(part, None if clean is None else clean[0, list(prompts)])

    rows = reduced(logits.transpose(0, 1), range(logits.shape[1]), measure)
    dtype = str(logits.dtype).removeprefix("torch.")
    return measuring.scores(rows.transpose(0, 1), dtype, beside_clean=clean is not None)


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Return a tensor as a float64 array of the same shape, without its gradient."""
    return values.detach().cpu().double().numpy()


def mean_draws(values: Tensor) -> Vector:
    """Return the mean over draws, ``[n_prompts]``, of values ``[draws, n_prompts]``."""
    return to_numpy(values.mean(0))
