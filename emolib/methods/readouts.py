"""What one run says, a number or a text per prompt, read when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from emolib.engine import hooked
from emolib.engine.batching import Request
from emolib.engine.costs import Planned, Runs
from emolib.engine.decoding import Continuations
from emolib.engine.forwards import Prefix
from emolib.inputs.profiles import TEXT_DRAWS
from emolib.inputs.prompts import Lexicon
from emolib.methods import metrics, text_metrics
from emolib.methods.scores import Scores, Vector, mean_draws, to_numpy

if TYPE_CHECKING:
    from emolib.methods.study import Study


class Readout:
    """What one run says, per prompt; each part is computed when it is first asked for.

    Logit metrics are read at the last prompt token and averaged over an intervention's draws;
    text metrics come from greedy continuations under the first draw. Every vector has shape
    ``[n_prompts]``.

    Attributes:
        prompts: The prompts run, as text.
    """

    def __init__(self, study: Study, request: Request) -> None:
        """Hold what to run; `Study.run` makes these."""
        self._study, self._request = study, request
        self._prompts = study.prompts(request.side)
        self.prompts = list(self._prompts.texts)

    @cached_property
    def logits(self) -> Tensor:
        """Logits at the last prompt token, shape ``[draws, n_prompts, vocab]``."""
        study, request = self._study, self._request
        if study.batches.usable():
            return study.batches.logits(request)
        return hooked.last_logits(
            study.model,
            self._prompts,
            request.interventions,
            position=request.position,
            batch_size=study.profile.batch_size,
            prefix=self._prefix,
        )

    @property
    def _prefix(self) -> Prefix | None:
        study = self._study
        # Where edits are elsewhere the clean run is made as they are, whole.
        if study.profile.position == "last" and hooked.may_share(
            self._prompts, self._request.interventions, self._request.position
        ):
            return study.prefix(self._prompts)
        return None

    @cached_property
    def _scores(self) -> Scores:
        study, known = self._study, "logits" in self.__dict__
        if self._request.interventions and not known and study.batches.usable():
            return study.batches.scores(self._request)
        return study.score(self.logits, study.run(on=self._request.side).logits)

    @property
    def logit_diff(self) -> Vector:
        """Mean logit of the emotion's targets less that of neutral's, in logits."""
        return self._scores.logit_diff

    @property
    def log_odds(self) -> Vector:
        """Log odds of the emotion's lexicon as the next token, in nats.

        Raises:
            InputError: When no word of the lexicon is one token.
        """
        return self._of_lexicon(self._scores.log_odds)

    @property
    def prob_mass(self) -> Vector:
        """Probability of the emotion's lexicon as the next token, in [0, 1].

        Raises:
            InputError: When no word of the lexicon is one token.
        """
        return self._of_lexicon(self._scores.prob_mass)

    def _of_lexicon(self, values: Vector | None) -> Vector:
        # Where there are none, asking for the ids says why.
        return to_numpy(self._study.lexicon_ids) if values is None else values

    def kl(self, clean: Readout) -> Vector:
        """Return ``KL(clean ‖ this)`` of the next-token distributions, in nats."""
        if clean is self._study.run(on=self._request.side):
            return self._scores.kl
        return mean_draws(metrics.kl(clean.logits.mean(0), self.logits))

    @cached_property
    def continuations(self) -> Continuations:
        """Greedy continuations."""
        study, request = self._study, self._request
        if study.batches.usable():
            return study.batches.continuations(request)
        return hooked.generate(
            study.model,
            self._prompts,
            request.interventions,
            max_new_tokens=study.profile.max_new_tokens,
            position=request.position,
            batch_size=study.profile.batch_size,
            prefix=self._prefix,
        )

    @property
    def texts(self) -> list[str]:
        """Greedy continuations as text, without the prompts."""
        return list(self.continuations.texts)

    @property
    def margin(self) -> Vector:
        """Smallest top-2 gap over a continuation's steps, in logits."""
        return np.array(self.continuations.margins)

    @property
    def sentiment(self) -> Vector:
        """VADER compound valence of the continuations, in [−1, 1]."""
        return np.array([text_metrics.sentiment(text) for text in self.texts])

    @property
    def keyword_rate(self) -> Vector:
        """Lexicon hits per 100 words of the continuations, negated ones left out."""
        return self._keyword_rates[0]

    @property
    def negated_rate(self) -> Vector:
        """Negated lexicon hits per 100 words of the continuations ("not angry")."""
        return self._keyword_rates[1]

    @cached_property
    def _keyword_rates(self) -> tuple[Vector, Vector]:
        words = self._study.emotion.lexicon.words
        plain, negated = np.array(
            [text_metrics.keyword_rates(text, words) for text in self.texts]
        ).T
        return plain, negated

    def keyword_changes(self, clean: Readout) -> dict[str, Vector]:
        """Return how far the rate of every emotion's words moves, ``keyword_rate_<emotion>``."""
        return {
            f"keyword_rate_{name}": self._rates(lexicon) - clean._rates(lexicon)
            for name, lexicon in self._study.lexicons.items()
        }

    def _rates(self, lexicon: Lexicon) -> Vector:
        return np.array([text_metrics.keyword_rate(text, lexicon.words) for text in self.texts])

    @property
    def distinct_2(self) -> Vector:
        """Unique over total bigrams of each continuation, in [0, 1]."""
        return np.array([text_metrics.distinct_2([text]) for text in self.texts])

    @cached_property
    def fluency(self) -> Vector:
        """Mean log-probability of the continuations under the clean model, in nats per token."""
        study = self._study
        if study.batches.usable():
            return np.array(study.batches.fluency(self._request.side, self.continuations.ids))
        values = hooked.log_probs(
            study.model,
            self._prompts,
            self.continuations.ids,
            batch_size=study.profile.batch_size,
            prefix=study.prefix(self._prompts) if study.profile.position == "last" else None,
        )
        return np.array(values)

    def changed(self, clean: Readout) -> Vector:
        """Return 1 for each prompt whose text differs from the clean one, else 0."""
        pairs = zip(self.texts, clean.texts, strict=True)
        return np.array([float(text != other) for text, other in pairs])


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of items that read what their edits do to emotion prompts: logits, texts."""
    yield planned.runs("emotion", planned.firsts * planned.draws)
    yield planned.runs("emotion", planned.firsts * TEXT_DRAWS, new=planned.profile.max_new_tokens)
