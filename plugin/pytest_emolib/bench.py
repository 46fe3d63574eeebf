"""What is in memory: one model, its study of one emotion, and what was computed of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import Head
from emolib.inputs.profiles import Profile
from emolib.models.sources import Source
from pytest_emolib.threads import limit_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emolib.inputs.units import UnitSet
    from emolib.methods.attention import LastAttention
    from emolib.methods.screening import Screening
    from emolib.methods.study import Study
    from emolib.methods.unit_scores import UnitRanking
    from emolib.methods.unit_screening import UnitScreening
    from emolib.models.language_model import LanguageModel


class Bench:
    """Models and studies, made when first asked for; torch is not loaded before."""

    def __init__(self, profile: Profile, emotions: Mapping[str, Emotion]) -> None:
        """Hold the settings and the emotions by name."""
        self._profile = profile
        self._emotions = emotions
        self._models: dict[str, LanguageModel] = {}
        self._halves: dict[str, LanguageModel] = {}
        self._studies: dict[tuple[str, str], Study] = {}
        self._screenings: dict[tuple[str, str], Screening] = {}
        self._attention: dict[tuple[str, str], LastAttention] = {}
        self._rankings: dict[tuple[str, str], tuple[list[Head], float | None]] = {}
        # Of units little is kept, and so for all studies: several experiments go through them.
        self._unit_rankings: dict[tuple[str, str], UnitRanking] = {}
        self._unit_screenings: dict[tuple[str, str], UnitScreening] = {}
        self._activity: dict[tuple[str, str], NDArray[np.float64]] = {}

    def model(self, source: Source) -> LanguageModel:
        """Return a model with its weights; the last one asked for is kept."""
        if source.name not in self._models:
            from emolib.models.language_model import load

            # Once more: an experiment may have loaded torch, and set it, since the session began.
            limit_threads()
            self._models.clear()
            self._forget_studies()
            dtype = "float32" if self._profile.dtype == "bfloat16" else self._profile.dtype
            self._models[source.name] = load(source, device=self._profile.device, dtype=dtype)
        return self._models[source.name]

    def _half(self, source: Source) -> LanguageModel | None:
        """Return a model in bfloat16, for sweeps, where that is asked for and can be had."""
        from emolib.models.language_model import in_half, why_no_half

        if self._profile.dtype != "bfloat16":
            return None
        if reason := why_no_half(self._profile.device):
            warnings.warn(f"--dtype bfloat16: {reason}; all runs are in float32", stacklevel=2)
            return None
        if source.name not in self._halves:
            self._halves.clear()
            self._halves[source.name] = in_half(self.model(source))
        return self._halves[source.name]

    def study(self, source: Source, emotion: str) -> Study:
        """Return a model on an emotion's prompts; the last one asked for is kept."""
        from emolib.methods.study import Study

        key = source.name, emotion
        if key not in self._studies:
            model = self.model(source)
            self._forget_studies()
            lexicons = {name: found.lexicon for name, found in self._emotions.items()}
            self._studies[key] = Study(
                model, self._emotions[emotion], self._profile, lexicons, self._half(source)
            )
        return self._studies[key]

    def _forget_studies(self) -> None:
        self._studies.clear()
        self._screenings.clear()
        self._attention.clear()

    def screening(self, study: Study) -> Screening:
        """Return the screening scores of a study's model on its emotion, computed once."""
        from emolib.methods.screening import screen

        key = study.model.name, study.emotion.name
        if key not in self._screenings:
            self._screenings[key] = screen(study)
        return self._screenings[key]

    def unit_ranking(self, source: Source, emotion: str) -> UnitRanking:
        """Return the MLP units as unit screening ranks them, made once."""
        from emolib.methods.unit_scores import unit_scores

        key = source.name, emotion
        if key not in self._unit_rankings:
            self._unit_rankings[key] = unit_scores(self.study(source, emotion)).ranking()
        return self._unit_rankings[key]

    def unit_screening(self, study: Study) -> UnitScreening:
        """Return the scores of MLP units and the ablations that confirm them, made once."""
        from emolib.methods.unit_screening import screen_units

        key = study.model.name, study.emotion.name
        if key not in self._unit_screenings:
            self._unit_screenings[key] = screen_units(study)
            self._unit_rankings[key] = self._unit_screenings[key].ranking
        return self._unit_screenings[key]

    def matched_units(self, study: Study, units: UnitSet) -> UnitSet:
        """Return random units to compare units with: of their layers and about as active."""
        from emolib.methods.unit_scores import activity, matched

        key = study.model.name, study.emotion.name
        if key not in self._activity:
            self._activity[key] = activity(study)
        return matched(units, self._activity[key], seed=self._profile.seed)

    def attention(self, study: Study) -> LastAttention:
        """Return where a study's heads look from the last token, read once."""
        from emolib.methods.attention import last_attention

        key = study.model.name, study.emotion.name
        if key not in self._attention:
            self._attention[key] = last_attention(study)
        return self._attention[key]

    def ranking(self, source: Source, emotion: str) -> tuple[list[Head], float | None]:
        """Return the heads as screening ranks them, and the ranking's reliability, made once."""
        from emolib.methods.attribution import ranking

        key = source.name, emotion
        if key not in self._rankings:
            screened = self._screenings.get(key)
            self._rankings[key] = (
                (screened.ranking, screened.reliability)
                if screened
                else ranking(self.study(source, emotion))
            )
        return self._rankings[key]

    def made(self, source: Source | None, emotion: str | None) -> Study | None:
        """Return a study if it is in memory."""
        return self._studies.get((source.name, emotion)) if source and emotion else None
