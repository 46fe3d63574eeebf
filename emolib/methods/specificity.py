"""Is a head about this emotion, or about any? Effects on the words and prompts of every emotion.

Formulas: docs/science.md, "Specificity".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emolib.engine.costs import Planned, Runs
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet, head_set
from emolib.inputs.profiles import Ablation
from emolib.methods.scores import Apart, Vector
from emolib.methods.study import Study

_METRIC = "logit_diff_"
_NO_WORDS = "no other emotion has a target of one token under this tokenizer"
_NO_TEMPLATES = "the emotions share fewer than two templates: it is one number, of all prompts"


@dataclass(frozen=True)
class Effects:
    """What ablating a set of heads does on the prompts of one emotion a.

    Attributes:
        by_words: By emotion b ``E[a, b]``, the effect on the logit difference of b's words, of each
            prompt, in logits, shape ``[n_prompts]``; a's own among them. Emotions without a target
            of one token are not there.
        templates: The template of each prompt; None of free lists.
    """

    by_words: Mapping[str, Vector]
    templates: tuple[str, ...] | None


@dataclass(frozen=True)
class Specificity:
    """What ablating a set of heads does, by whose words and on whose prompts.

    Attributes:
        emotion: The emotion a that it is to be about.
        kind: The kind of ablation.
        effects: By emotion the effects on its prompts, a's among them.
    """

    emotion: str
    kind: Ablation
    effects: Mapping[str, Effects]

    def of(self, emotion: str) -> Vector:
        """Return ``E[c, c]`` of each prompt of an emotion c, in logits, shape ``[n_prompts]``."""
        return self.effects[emotion].by_words[emotion]

    @property
    def words(self) -> Vector | None:
        """``E[a, a] − mean_{b≠a} E[a, b]`` of each prompt of a; None where no b has targets."""
        by_words = self.effects[self.emotion].by_words
        others = [effect for name, effect in by_words.items() if name != self.emotion]
        return by_words[self.emotion] - np.mean(others, axis=0) if others else None

    @property
    def prompts(self) -> Vector | float:
        """``E[a, a] − mean_{c≠a} E[c, c]``, template by template, shape ``[n_templates]``.

        Where the emotions do not share two templates or more it is one number, of all prompts.
        """
        if shared := self._shared():
            means = {name: self._by_template(name, shared) for name in self.effects}
        else:
            means = {name: np.array(self.of(name).mean()) for name in self.effects}
        own = means.pop(self.emotion)
        difference = np.asarray(own - np.mean(list(means.values()), axis=0))
        return difference if shared else float(difference)

    def _shared(self) -> list[str]:
        """Return the templates that all emotions have, none where they are fewer than two."""
        named = [set(one.templates or ()) for one in self.effects.values()]
        own = dict.fromkeys(self.effects[self.emotion].templates or ())
        shared = [name for name in own if all(name in names for names in named)]
        return shared if len(shared) > 1 else []

    def _by_template(self, emotion: str, shared: Sequence[str]) -> Vector:
        names = np.array(self.effects[emotion].templates)
        return np.array([self.of(emotion)[names == name].mean() for name in shared])

    def to_record(self) -> dict[str, Any]:
        """Return it as `record` takes it."""
        own = self.effects[self.emotion].by_words
        record: dict[str, Any] = {"logit_diff": own[self.emotion], "specificity": self.words}
        prompts = self.prompts
        # As a vector it is of templates.
        has_templates = not isinstance(prompts, float)
        record["specificity_prompts"] = (
            np.asarray(prompts).view(Apart) if has_templates else prompts
        )
        record |= {f"effect_{name}": effect for name, effect in own.items()}
        record["kind"] = self.kind
        if record["specificity"] is None:
            record["why_no_specificity"] = _NO_WORDS
        if not has_templates:
            record["why_no_specificity_prompts_ci"] = _NO_TEMPLATES
        return record


def effects(
    study: Study, sets: Sequence[HeadSet], kind: Ablation = "zero"
) -> dict[HeadSet, Effects]:
    """Return what sets of heads do on the prompts of a study's emotion, from one run each.

    Args:
        study: The study.
        sets: The sets, each ablated together.
        kind: The kind of ablation.
    """
    ablate, templates = study.ablation(kind), study.prompts("emotion").clusters
    edits = {chosen: ablate(chosen) for chosen in dict.fromkeys(sets)}
    study.expect(list(edits.values()))
    names = [name.removeprefix(_METRIC) for name in study.measuring.others]
    clean = study.run()
    found = {}
    for chosen, edit in edits.items():
        run = study.run(edit)
        changes = {b: run.metric(_METRIC + b) - clean.metric(_METRIC + b) for b in names}
        found[chosen] = Effects(changes, templates)
    return found


def specificity_of(
    studies: Sequence[Study], heads: Head | HeadSet | Sequence[Head], kind: Ablation = "zero"
) -> Specificity:
    """Return how far what heads do is about the emotion of the first study.

    >>> import emolib
    >>> from emolib.inputs.heads import Head
    >>> studies = [emolib.study("tiny-gpt2", name) for name in ("gratitude", "anger")]
    >>> found = specificity_of(studies, Head(0, 2))
    >>> found.words.shape, found.prompts.shape
    ((90,), (18,))

    Args:
        studies: Of one model, an emotion each.
        heads: The heads, ablated together.
        kind: The kind of ablation.

    Raises:
        InputError: When there is one emotion only.
    """
    chosen = head_set(heads)
    found = {study.emotion.name: effects(study, [chosen], kind)[chosen] for study in studies}
    if len(found) < 2:
        raise InputError(
            f"specificity_of: expected studies of two emotions or more, got {', '.join(found)}; "
            "add one"
        )
    return Specificity(studies[0].emotion.name, kind, found)


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of items that ask for specificity: each set ablated on the emotion's prompts.

    Those on the prompts of other emotions are the runs of the items of these.
    """
    yield planned.runs("emotion", planned.firsts)
