"""What one run says, a number or a text per prompt, read when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from emolib.engine.batching import Request
from emolib.engine.costs import Planned, Runs
from emolib.engine.decoding import Continuations
from emolib.engine.runner import Runner
from emolib.errors import InputError
from emolib.inputs.profiles import TEXT_DRAWS
from emolib.inputs.prompts import Lexicon, Side
from emolib.methods import metrics, text_metrics
from emolib.methods.own_metrics import Of, registered
from emolib.methods.scores import Scores, Vector, mean_draws, to_numpy

OfTexts = Callable[[Sequence[str]], Vector]
"""A metric of texts: a number for each."""


@dataclass(frozen=True)
class Reading:
    """What the readouts of a study are read with.

    Attributes:
        runner: What runs the model.
        score: From a run's logits and the clean run's to its scores.
        lexicon: Of the emotion.
        lexicons: By emotion the lexicons that texts are read with.
        lexicon_ids: Token ids of the lexicon's words; raises where none is one token.
        clean: From a side to its clean run.
        own: Names of the metrics of one's own that are of logits.
        of_texts: By name those that are of texts, classifiers among them.
    """

    runner: Runner[Scores]
    score: Callable[[Tensor, Tensor | None], Scores]
    lexicon: Lexicon
    lexicons: Mapping[str, Lexicon]
    lexicon_ids: Callable[[], Tensor]
    clean: Callable[[Side], Readout]
    own: tuple[str, ...] = ()
    of_texts: Mapping[str, OfTexts] = field(default_factory=dict)


class Readout:
    """What one run says, per prompt; each part is computed when it is first asked for.

    Logit metrics are read at the last prompt token and averaged over an intervention's draws;
    text metrics come from greedy continuations under the first draw. Every vector has shape
    ``[n_prompts]``.

    While a model carries hooks, forwards or weights of somebody's own, a run that is asked for
    belongs to them: it goes through the model as it is then, at once. Its texts have to be read
    before they are gone; its fluency, which is under the model as it was loaded, may be read at
    any time after that.

    Attributes:
        prompts: The prompts run, as text.
    """

    def __init__(self, reading: Reading, request: Request, prompts: Sequence[str]) -> None:
        """Hold what to run; `emolib.methods.study.Study.run` makes these."""
        self._reading, self._request = reading, request
        self.prompts = list(prompts)
        self._of_texts: dict[str, Vector] = {}
        if request.under:
            # It belongs to what is on the model now, which may be gone when it is read.
            assert self.logits is not None

    @cached_property
    def logits(self) -> Tensor:
        """Logits at the last prompt token, shape ``[draws, n_prompts, vocab]``."""
        return self._reading.runner.logits(self._request)

    @cached_property
    def _scores(self) -> Scores:
        if "logits" in self.__dict__:
            clean = None if self._request.under else self._clean.logits
            return self._reading.score(self.logits, clean)
        return self._reading.runner.scores(self._request)

    @property
    def _clean(self) -> Readout:
        """The clean run on the same prompts, of the model as it was loaded."""
        return self._reading.clean(self._request.side)

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
        return to_numpy(self._reading.lexicon_ids()) if values is None else values

    def metric(self, name: str) -> Vector:
        """Return a further metric by name: one of one's own, or ``logit_diff_anger`` and the like.

        Raises:
            InputError: When the study reads no such metric, or it does not give a finite number
                for each prompt.
        """
        if name in self._reading.of_texts:
            if name not in self._of_texts:
                self._of_texts[name] = self._reading.of_texts[name](self.texts)
            return self._of_texts[name]
        others = self._scores.others
        if name not in others:
            known = ", ".join(sorted({*others, *self._reading.of_texts})) or "none"
            late = " (one came after it: make the study again)" if name in registered() else ""
            raise InputError(
                f"metric({name!r}): this study has no such metric{late}; it has {known}"
            )
        return others[name]

    def own_metrics(self, clean: Readout, of: Of | None = None) -> dict[str, Vector]:
        """Return how far each metric of one's own, and each classifier's label, moves, by name.

        Args:
            clean: What they move from.
            of: Those of ``logits`` or of ``texts`` alone; None for all of them.
        """
        names = [*(self._reading.own if of != "texts" else ())]
        names += self._reading.of_texts if of != "logits" else ()
        return {name: self.metric(name) - clean.metric(name) for name in names}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a metric of one's own by its name."""
            reading = self.__dict__.get("_reading")
            if reading is not None and name in (*reading.own, *reading.of_texts):
                return self.metric(name)
            # Of a part that is there and raised, what it raised.
            return object.__getattribute__(self, name)

    def kl(self, clean: Readout) -> Vector:
        """Return ``KL(clean ‖ this)`` of the next-token distributions, in nats."""
        if clean is self._clean and self._scores.kl is not None:
            return self._scores.kl
        return mean_draws(metrics.kl(clean.logits.mean(0), self.logits))

    @cached_property
    def continuations(self) -> Continuations:
        """Greedy continuations."""
        return self._reading.runner.texts(self._request)

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
        words = self._reading.lexicon.words
        plain, negated = np.array(
            [text_metrics.keyword_rates(text, words) for text in self.texts]
        ).T
        return plain, negated

    def keyword_changes(self, clean: Readout) -> dict[str, Vector]:
        """Return how far the rate of every emotion's words moves, ``keyword_rate_<emotion>``."""
        return {
            f"keyword_rate_{name}": self._rates(lexicon) - clean._rates(lexicon)
            for name, lexicon in self._reading.lexicons.items()
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
        return np.array(self._reading.runner.log_probs(self._request.side, self.continuations.ids))

    def changed(self, clean: Readout) -> Vector:
        """Return 1 for each prompt whose text differs from the clean one, else 0."""
        pairs = zip(self.texts, clean.texts, strict=True)
        return np.array([float(text != other) for text, other in pairs])


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of items that read what their edits do to emotion prompts: logits, texts."""
    yield planned.runs("emotion", planned.firsts * planned.draws)
    yield planned.runs("emotion", planned.firsts * TEXT_DRAWS, new=planned.profile.max_new_tokens)
