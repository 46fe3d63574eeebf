"""Effects on heads as the results files hold them, one item's file at a time. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emolib.errors import InputError


@dataclass(frozen=True)
class Effect:
    """What one intervention on some heads did to a model on an emotion's prompts.

    Attributes:
        experiment: ``head_ablation`` or ``head_patching``.
        model: The model.
        emotion: The emotion.
        heads: ``L0H2``, or a joint set, ``L0H0+L3H5``.
        kind: ``zero``, ``mean`` or ``resample``; ``denoise`` or ``noise``.
        position: Where in the prompt z was edited.
        values: Per metric a number, None, or the summary of a vector.
        vectors: Per metric the values per prompt.
        templates: Per prompt the template it comes from; empty for free prompts.
        texts: Per name the texts per prompt.
    """

    experiment: str
    model: str
    emotion: str
    heads: str
    kind: str
    position: str
    values: Mapping[str, Any]
    vectors: Mapping[str, Sequence[float]]
    templates: Sequence[str]
    texts: Mapping[str, Sequence[str]]

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over prompts, None where it was not measured."""
        value = self.values.get(metric)
        return value["mean"] if isinstance(value, dict) else value

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the 95 % CI of a metric's mean, None where there is none."""
        value = self.values.get(metric)
        ends = value["ci"] if isinstance(value, dict) else None
        return (ends[0], ends[1]) if ends else None

    @property
    def layer(self) -> int | None:
        """The layer of a single head, None of a joint set."""
        alone = self.heads.startswith("L") and "+" not in self.heads
        return int(self.heads[1:].partition("H")[0]) if alone else None


def read_effects(files: Iterable[Path]) -> list[Effect]:
    """Return the effects in results files of items, in the order of the files.

    Raises:
        InputError: When a file is missing or is none of them.
    """
    return [effect for path in files for effect in _read(path)]


def _read(path: Path) -> list[Effect]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        settings = content["provenance"]
        return [_effect(content, settings, record) for record in content.get("records", [content])]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the experiment that writes it first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a results file of an item ({error!r}); run its experiment with --fresh"
        ) from None


def _effect(
    content: Mapping[str, Any], settings: Mapping[str, Any], record: Mapping[str, Any]
) -> Effect:
    labels: Mapping[str, str] = record.get("labels", {})
    prompts: list[dict[str, Any]] = record["prompts"]
    columns = {name: [prompt[name] for prompt in prompts] for name in (prompts or [{}])[0]}
    return Effect(
        experiment=content["experiment"],
        model=content["model"],
        emotion=content["emotion"],
        heads=content["heads"],
        kind=content.get("ablation") or labels["direction"],
        position=labels.get("position", settings.get("position", "")),
        values=record["summary"],
        vectors={n: c for n, c in columns.items() if c and isinstance(c[0], (int, float))},
        templates=columns.get("template", []),
        texts={
            n: c
            for n, c in columns.items()
            if c and isinstance(c[0], str) and n not in ("id", "template")
        },
    )


def strongest(effects: Iterable[Effect], metric: str, count: int) -> list[str]:
    """Return the heads with the largest absolute mean of a metric over kinds, strongest first."""
    sizes: dict[str, float] = {}
    for effect in effects:
        size = abs(effect.mean(metric) or 0.0)
        sizes[effect.heads] = max(size, sizes.get(effect.heads, 0.0))
    return sorted(sizes, key=lambda heads: (-sizes[heads], heads))[:count]


def names(effects: Iterable[Effect], attribute: str) -> list[str]:
    """Return the values of an attribute, each once, as they come."""
    return list(dict.fromkeys(getattr(effect, attribute) for effect in effects))
