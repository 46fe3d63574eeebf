"""What classifiers make of the continuations of a run: the probability of each label.

A label is a metric of texts, ``classifier_<label>``, by which tables know it; where there are
several classifiers, ``classifier_<folder>_<label>``. Of a classifier that has labels named like
emotions of the profile it is these alone, so that a study of gratitude has ``classifier_gratitude``
beside ``classifier_anger``; of any other all labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from emolib.errors import InputError
from emolib.methods.scores import Vector
from emolib.models.classifiers import Classifier, classifier


def label_metrics(
    folders: Sequence[str], emotions: Collection[str], device: str | torch.device
) -> dict[str, Callable[[Sequence[str]], Vector]]:
    """Return the labels of classifiers as metrics of texts: a probability for each text.

    Args:
        folders: The classifiers.
        emotions: Names of the profile's emotions.
        device: Where they run.

    Raises:
        InputError: When a folder is no classifier, or two labels would have one name.
    """
    found: dict[str, Callable[[Sequence[str]], Vector]] = {}
    for folder in folders:
        made = classifier(folder)
        own = f"{_plain(made.name)}_" if len(folders) > 1 else ""
        for index, label in _chosen(made, emotions):
            name = f"classifier_{own}{_plain(label)}"
            if name in found:
                raise InputError(
                    f"--classifier {folder}: two labels would both be {name}; rename the folder, "
                    "or the label in its config.json"
                )
            found[name] = partial(_probability, made, index, device)
    return found


def _chosen(made: Classifier, emotions: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield the labels that are told, with their places: those of emotions, or all."""
    names = {_plain(name) for name in emotions}
    every = list(enumerate(made.labels))
    yield from [(i, label) for i, label in every if _plain(label) in names] or every


def _plain(name: str) -> str:
    """Return a name as columns have it: small letters, digits and _."""
    return re.sub(r"\W+", "_", name.casefold()).strip("_")


def _probability(
    made: Classifier, index: int, device: str | torch.device, texts: Sequence[str]
) -> Vector:
    return np.array([row[index] for row in made.probabilities(texts, device)])
