"""Controls of a sweep: what heads that should not matter, and pairs that should not, come to.

Three of them, each beside the exact patch effect of a head (docs/science.md, "Controls"): random
heads of the same layer; labels shuffled within pairs; a rare but unemotional word in the slot.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emolib.engine.costs import Planned, Runs
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Pair, Side
from emolib.interventions import patch
from emolib.methods.scores import Apart, Vector
from emolib.methods.study import Study

CONTROLS = ("same_layer", "shuffled_labels", "lexical")
"""Names of the controls."""


class ControlError(ValueError):
    """A control that cannot tell anything."""


_ROUNDING = 1e-6
"""Logits: what runs that edit nothing may be apart from the clean one."""


@dataclass(frozen=True)
class Controlled:
    """A head's effect and its controls, values per pair in logits, shape ``[n_pairs]``.

    Attributes:
        head: The head.
        other: The random head of its layer, none of the strongest where there is another.
        denoise: ``logit_diff`` of neutral prompts with the head's z of the emotion prompts, less
            clean: the effect that the controls are of.
        same_layer: The same of the other head; None in a model of one head a layer.
        shuffled_labels: ``(denoise − noise) / 2`` with emotion and neutral changed places in a
            random half of the templates. The part that turns its sign with the labels: denoise
            and noise differ in size too, and that difference no shuffle takes away.
        lexical: ``logit_diff`` of neutral prompts with the head's z of prompts whose slot holds a
            rare, unemotional word, less clean; shape ``[n_aligned]``, None where no word fits.
    """

    head: Head
    other: Head | None
    denoise: Vector
    same_layer: Vector | None
    shuffled_labels: Vector
    lexical: Vector | None

    def to_record(self) -> dict[str, Any]:
        """Return it as `record` takes it."""
        named = {"head": str(self.head), "other_head": str(self.other) if self.other else "none"}
        found = {"denoise": self.denoise} | {name: getattr(self, name) for name in CONTROLS}
        # Not every pair has a rare word that fits.
        if self.lexical is not None:
            found["lexical"] = self.lexical.view(Apart)
        return named | found


def controls(study: Study, heads: Sequence[Head]) -> list[Controlled]:
    """Return heads with their controls.

    Args:
        study: The model on an emotion's pairs.
        heads: The heads, usually the strongest of screening.

    Raises:
        InputError: When the study has free prompts in place of pairs.
        ControlError: When a control is exactly 0 on every pair of every head: then it did not
            reach the model, and finding nothing with it is no finding.
    """
    seed = study.profile.seed
    swapped = shuffled(study.pairs.emotion.clusters or (), len(study.pairs), seed)
    lexical = lexical_study(study)
    others = {head: _other(head, heads, study.model.n_heads, seed) for head in heads}
    drawn = [other for other in others.values() if other is not None]
    for one, denoised in ((study, [*heads, *drawn]), (lexical, heads)):
        if one is not None:
            source = one.activations("emotion")
            one.expect([patch(head, source) for head in dict.fromkeys(denoised)], on="neutral")
    source = study.activations("neutral")
    study.expect([patch(head, source) for head in heads], on="emotion")
    found = [_controlled(study, head, others[head], swapped, lexical) for head in heads]
    check_controls(found)
    return found


def _other(head: Head, heads: Sequence[Head], n_heads: int, seed: int) -> Head | None:
    """Return a random head of the layer, None where there is no other."""
    alike = [Head(head.layer, index) for index in range(n_heads)]
    # A head that is strong itself controls nothing, where the layer has others.
    free = [h for h in alike if h not in heads] or [h for h in alike if h != head]
    # A string seed: hash() of a tuple differs from one process to the next.
    return random.Random(f"{seed}:{head}").choice(free) if free else None


def check_controls(found: Sequence[Controlled]) -> None:
    """Check that no control is exactly 0 ± 0 everywhere.

    Raises:
        ControlError: When one is.
    """
    for name in CONTROLS:
        vectors = [v for one in found if (v := getattr(one, name)) is not None]
        if vectors and not any(np.any(np.abs(vector) > _ROUNDING) for vector in vectors):
            heads = ", ".join(str(one.head) for one in found)
            raise ControlError(
                f"the control {name} of {heads} is exactly 0 on every pair: it did nothing, so "
                "that nothing was found with it says nothing; check that its runs edit the model "
                "and its prompts differ"
            )


def _controlled(
    study: Study, head: Head, other: Head | None, swapped: Vector, lexical: Study | None
) -> Controlled:
    def effect(target: Head, source: Study, side: Side = "emotion") -> Vector:
        on: Side = "neutral" if side == "emotion" else "emotion"
        run = source.run(patch(target, source.activations(side)), on=on)
        return np.asarray(run.logit_diff - source.run(on=on).logit_diff)

    denoise, noise = effect(head, study), effect(head, study, "neutral")
    return Controlled(
        head,
        other,
        denoise,
        effect(other, study) if other else None,
        (1 - 2 * swapped) * (denoise - noise) / 2,
        effect(head, lexical) if lexical else None,
    )


def shuffled(clusters: Sequence[str], count: int, seed: int) -> Vector:
    """Return 1 per pair whose labels change places, else 0: half of the templates, at random.

    Args:
        clusters: Per pair its template; pairs without one are each their own.
        count: Number of pairs.
        seed: The same seed changes the same ones.
    """
    names = list(clusters) or [str(i) for i in range(count)]
    templates = list(dict.fromkeys(names))
    chosen = set(random.Random(f"{seed}:labels").sample(templates, len(templates) // 2))
    return np.array([float(name in chosen) for name in names])


def lexical_study(study: Study) -> Study | None:
    """Return the study of a rare word against neutral, None where no word fits any pair.

    The pairs are those of `study` with a rare, unemotional word in place of what makes the
    emotion; the words whose logits are read stay those of the emotion.

    Raises:
        InputError: When the study has free prompts, or the list of words is missing or malformed.
    """
    words, seed = _rare_words(study), study.profile.seed
    pairs = []
    for pair in study.pairs.pairs:
        fitting = list(_fitting(study, pair, words))
        if fitting:
            slot = random.Random(f"{seed}:{pair.id}").choice(fitting)
            pairs.append(replace(pair, emotion=slot))
    if not pairs:
        return None
    emotion = replace(study.emotion, pairs=tuple(pairs))
    return Study(study.model, emotion, study.profile, study.lexicons)


def _fitting(study: Study, pair: Pair, words: Sequence[str]) -> Iterator[str]:
    """Yield what may stand in the slot: as many tokens there as the neutral words are."""
    rest = pair.neutral.partition(" ")[2]
    width = _width(study, pair, pair.neutral)
    for word in words:
        for slot in dict.fromkeys((f"{word} {rest}".strip(), word)):
            if slot != pair.neutral and _width(study, pair, slot) == width:
                yield slot


def _width(study: Study, pair: Pair, slot: str) -> int:
    filled = replace(pair, neutral=slot).written("neutral")
    return len(study.model.tokens(filled, study.profile.as_chat))


def _rare_words(study: Study) -> list[str]:
    path = study.profile.path("lexical", "control")
    try:
        words = json.loads(path.read_text(encoding="utf-8"))["words"]
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError("no words")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path}: expected {{"version": 1, "words": ["…", …]}}, got something else ({error!r})'
        ) from None
    return [str(word) for word in words]


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `controls`, but for the ranking, which others share.

    Of each head denoise, noise, another head of its layer and its z of the lexical study's prompts,
    which are here taken to be as many and as long as the emotion's.
    """
    heads = planned.spread(min(planned.profile.strongest, planned.n_layers * planned.n_heads))
    same_layer = heads if planned.n_heads > 1 else []
    lexical = heads
    yield planned.runs("neutral", [*heads, *same_layer, *lexical])
    yield planned.runs("emotion", heads)
    # The lexical study's own.
    yield from planned.clean()
