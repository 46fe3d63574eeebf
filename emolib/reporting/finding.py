"""One finding: a sentence or two with figures, on some model, emotion and heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from emolib.reporting.wording import Estimate, listed, spread
from emolib.results.selection import StudyKey

ORDER = (
    "gap", "heads", "patching", "ranking", "effects", "controls", "attention", "specificity",
    "circuit", "paths", "texts", "steering", "units", "probes", "design", "own", "not run",
)  # fmt: skip
"""What findings are about, in the order in which they are told."""


@dataclass(frozen=True)
class Finding:
    """What a run found, or what it did not find.

    Attributes:
        model: The model it is on; empty where it is on several.
        emotion: The emotion, likewise.
        about: One of `ORDER`.
        text: Plain text, a sentence or two with figures and their 95 % intervals.
        found: False of what was not found, or cannot be told; the text says why.
        heads: The heads it names.
    """

    model: str
    emotion: str
    about: str
    text: str
    found: bool = True
    heads: tuple[str, ...] = ()


def finding(
    about: str,
    studies: Iterable[StudyKey],
    text: str,
    *,
    found: bool = True,
    heads: Iterable[str] = (),
) -> Finding:
    """Return a finding on some studies, with the model and emotion that they all share."""
    every = list(studies)
    models, emotions = ({study[i] for study in every} for i in (0, 1))
    return Finding(
        models.pop() if len(models) == 1 else "",
        emotions.pop() if len(emotions) == 1 else "",
        about,
        text,
        found,
        tuple(dict.fromkeys(heads)),
    )


def spread_of(found: Mapping[StudyKey, Estimate]) -> str:
    """Return estimates of studies as `emolib.reporting.wording.spread` does."""
    return spread({named(study): value for study, value in found.items()})


def named(study: StudyKey) -> str:
    """Return a study as a sentence names it."""
    return ", ".join(filter(None, study))


def listed_studies(studies: Iterable[StudyKey], most: int = 6) -> str:
    """Return studies as a list in a sentence, those of one model together."""
    of_model: dict[str, list[str]] = {}
    for study in dict.fromkeys(studies):
        of_model.setdefault(study.model, []).append(study.emotion)
    return listed(
        (
            f"{model} ({listed(emotions, most)})"
            if model and any(emotions)
            else model or listed(emotions, most)
            for model, emotions in of_model.items()
        ),
        most,
    )


def models_of(studies: Iterable[StudyKey]) -> list[str]:
    """Return the models of studies, each once."""
    return list(dict.fromkeys(study.model for study in studies))


def emotions_of(studies: Iterable[StudyKey]) -> list[str]:
    """Return the emotions of studies, each once."""
    return list(dict.fromkeys(study.emotion for study in studies))
