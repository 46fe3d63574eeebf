"""What the scripts of the page read: the data as a whole, and the packed part of each study."""

from __future__ import annotations

from typing import Any

from emolib.reporting.page.map_scores import Score
from emolib.reporting.page.page_blobs import pack
from emolib.reporting.page.page_parts import PageParts
from emolib.reporting.page.page_words import rounded
from emolib.results.selection import StudyKey
from emolib.stats.significance import LEVEL
from emolib.stats.summary import ENOUGH

# Heads that a study names as its first.
_TOP = 5


class PageData:
    """The data of a page.

    Attributes:
        ids: By study the id of its blob.
        blobs: By id the packed parts of studies and of steering.
    """

    def __init__(self, parts: PageParts) -> None:
        """Pack the parts of studies."""
        self._parts = parts
        self.ids = {study: f"b-{i}" for i, study in enumerate(parts.maps.studies)}
        self.blobs = {name: pack(self._of_study(study)) for study, name in self.ids.items()}
        self._steered: dict[StudyKey, str] = {}
        for i, study in enumerate(parts.views.steering):
            if (texts := parts.steered.told(study)) is not None:
                self._steered[study] = f"b-s{i}"
                self.blobs[f"b-s{i}"] = pack(texts)

    def _of_study(self, study: StudyKey) -> dict[str, Any]:
        parts = self._parts
        maps = {score.id: grid.told() for score, grid in parts.maps.grids[study].items()}
        return (
            parts.prompts[study].told()
            | {"maps": maps, "controls": parts.views.controls.get(study, [])}
            | parts.aside.told(study)
        )

    def told(self) -> dict[str, Any]:
        """Return the data."""
        parts = self._parts
        numbers = {study: i for i, study in enumerate(self.ids)}
        views = parts.views._asdict()

        def listed(view: str) -> list[dict[str, Any]]:
            return [
                {"study": numbers.get(study), "model": study.model, "emotion": study.emotion} | told
                for study, told in views[view].items()
            ]

        steering = listed("steering")
        for study, told in zip(parts.views.steering, steering, strict=True):
            told["blob"] = self._steered.get(study)
        check = parts.compared.told()
        for effect in check["effects"] if check else ():
            effect["study"] = numbers.get(StudyKey(effect["model"], effect["emotion"]))
        default = parts.maps.default()
        return {
            "enough": ENOUGH,
            "default_score": default.id if default else None,
            "scores": [self._score(score) for score in parts.maps.scores],
            "studies": [self._study(study, blob) for study, blob in self.ids.items()],
            "circuits": listed("circuits"),
            "paths": listed("paths"),
            "steering": steering,
            "units": listed("units"),
            "comparison": parts.views.comparison,
            "check": check,
            "glossary": parts.words,
        }

    def _score(self, score: Score) -> dict[str, Any]:
        maps, words = self._parts.maps, score.words
        return {
            "id": score.id,
            "group": score.group,
            "title": words["title"],
            "what": words["what"],
            "formula": words["formula"],
            "unit": words["unit"],
            "sign": words["sign"],
            "signed": maps.is_signed(score),
            "base": score.base,
            "level": LEVEL,
            "limit": rounded(maps.limit(score)),
            "experiment": score.experiment,
            "metric": score.metric,
            "kind": score.kind,
        }

    def _study(self, study: StudyKey, blob: str) -> dict[str, Any]:
        layers, heads = self._parts.maps.shapes[study]
        prompts = self._parts.prompts[study]
        return {
            "model": study.model,
            "emotion": study.emotion,
            "layers": layers,
            "heads": heads,
            "blob": blob,
            "gap": rounded(prompts.gap),
            "n": len(prompts.ids),
            "templates": len(set(prompts.templates)),
            "top": self._parts.maps.ranked(study)[:_TOP],
        }
