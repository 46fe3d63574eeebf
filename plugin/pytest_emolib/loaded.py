"""What is in memory: models, their studies of emotions, and what was computed of them.

Of large ones it is the last alone; small ones stay beside it, since the experiments of a run go
through them one after the other.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from emolib.errors import InputError
from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.profiles import Profile
from emolib.inputs.prompts import Side
from emolib.inputs.units import UnitSet
from emolib.models.sources import Source
from pytest_emolib.cases import Case
from pytest_emolib.threads import limit_threads

if TYPE_CHECKING:
    from emolib.inputs.rankings import Ranking
    from emolib.methods.attention import LastAttention
    from emolib.methods.circuit_records import Circuits
    from emolib.methods.screening import Screening
    from emolib.methods.study import Study
    from emolib.methods.unit_scores import UnitRanking
    from emolib.methods.unit_screening import UnitScreening
    from emolib.models.language_model import LanguageModel

What = Literal[
    "screening",
    "attention",
    "ranking",
    "circuit",
    "unit_ranking",
    "unit_screening",
    "unit_activity",
    "effects",
    "last_z",
    "test_z",
    "told_apart",
]
"""What is computed of a study once."""
# Of these there is much; of the others little is kept, and so for all studies, since several
# experiments go through them.
_WITH_THE_STUDY: tuple[What, ...] = ("screening", "attention")
ROOM = 2**28
"""Bytes that studies, and models, may hold together to stay when another is asked for."""
Named = tuple[str, str]
"""A study by the names of its model and emotion."""
Made = TypeVar("Made")


class Loaded:
    """Models and studies, made when first asked for; torch is not loaded before."""

    def __init__(self, profile: Profile, emotions: Mapping[str, Emotion]) -> None:
        """Hold the settings and the emotions by name."""
        self._profile = profile
        self._emotions = emotions
        self._models: dict[str, LanguageModel] = {}
        self._halves: dict[str, LanguageModel] = {}
        self._studies: dict[Named, Study] = {}
        self._computed: dict[tuple[What, Named], Any] = {}
        self._of_item: dict[tuple[What, Named], Any] = {}
        self._sets: dict[tuple[str, Case], Any] = {}

    @property
    def models(self) -> list[LanguageModel]:
        """The models in memory, but for copies in half precision."""
        return list(self._models.values())

    def forget(self, model: str) -> None:
        """Let go of a model, and of all that was computed of it."""
        self._models.pop(model, None)
        self._halves.pop(model, None)
        self._forget_studies([named for named in self._studies if named[0] == model])
        self._computed = {k: made for k, made in self._computed.items() if k[1][0] != model}
        self.begin()

    def model(self, source: Source) -> LanguageModel:
        """Return a model with its weights; the last one asked for is kept, and small ones."""
        if source.name not in self._models:
            from emolib.models.loading import load

            # Once more: an experiment may have loaded torch, and set it, since the session began.
            limit_threads()
            if not self._has_room(sum(map(_bytes, self._models.values()))):
                self._models.clear()
                self._forget_studies(list(self._studies))
            dtype = "float32" if self._profile.dtype == "bfloat16" else self._profile.dtype
            model = load(source, device=self._profile.device, dtype=dtype)
            model.as_loaded.begin()
            self._models[source.name] = model
        return self._models[source.name]

    def _half(self, source: Source) -> LanguageModel | None:
        """Return a model in bfloat16, for sweeps, where that is asked for and can be had."""
        from emolib.models.loading import in_half, why_no_half

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
        """Return a model on an emotion's prompts; the last one asked for is kept, and small ones.

        What runs said is forgotten of all but the last: other experiments ask for other runs.
        """
        from emolib.methods.study import Study

        key, last = (source.name, emotion), next(reversed(self._studies), None)
        if key not in self._studies:
            model = self.model(source)
            if not self._has_room(sum(map(_held, self._studies.values()))):
                self._forget_studies(list(self._studies))
            lexicons = {name: found.lexicon for name, found in self._emotions.items()}
            self._studies[key] = Study(
                model, self._emotions[emotion], self._profile, lexicons, self._half(source)
            )
        if last in self._studies and last != key:
            self._studies[last].runner.release()
        # The last one asked for is the last of them.
        self._studies[key] = self._studies.pop(key)
        return self._studies[key]

    def _has_room(self, held: int) -> bool:
        # In half precision which runs are computed in full goes by those computed beside them.
        return held <= ROOM and self._profile.dtype != "bfloat16"

    def _forget_studies(self, named: Collection[Named]) -> None:
        for study in named:
            del self._studies[study]
        for memo in (self._computed, self._of_item):
            for what, study in list(memo):
                if what in _WITH_THE_STUDY and study in named:
                    del memo[what, study]
        if named:
            # A study, its runs and what they read refer to each other, and hold hundreds of MB.
            gc.collect()

    def made(self, source: Source | None, emotion: str | None) -> Study | None:
        """Return a study if it is in memory."""
        return self._studies.get((source.name, emotion)) if source and emotion else None

    def _once(self, what: What, study: Named, make: Callable[[], Made]) -> Made:
        """Return what was computed of a study before; the first time, compute it.

        While a model is not as it was loaded, what is computed of it is the item's alone. An item
        gets one answer, whenever it asks.
        """
        key = what, study
        if key not in self._of_item:
            changed = any(model.changes for model in self.models)
            kept: dict[tuple[What, Named], Any] = {} if changed else self._computed
            if key not in kept:
                kept[key] = make()
            self._of_item[key] = kept[key]
        return cast(Made, self._of_item[key])

    def parts(self, what: What, model: str, emotion: str) -> dict[Any, Any]:
        """Return what is computed of a study part by part, as far as it is, to be added to."""
        return self._once(what, (model, emotion), dict)

    def begin(self) -> None:
        """Forget what the last item was given."""
        self._of_item.clear()
        self._sets.clear()

    def _kept(self, what: What, study: Named) -> Any:
        """Return what was computed of a study of the model as it was loaded, None otherwise."""
        if any(model.changes for model in self.models):
            return None
        return self._computed.get((what, study))

    def screening(self, study: Study) -> Screening:
        """Return the screening scores of a study's model on its emotion, computed once."""
        from emolib.methods.screening import screen

        return self._once("screening", _named(study), lambda: screen(study))

    def attention(self, study: Study) -> LastAttention:
        """Return where a study's heads look from the last token, read once."""
        from emolib.methods.attention import last_attention

        return self._once("attention", _named(study), lambda: last_attention(study))

    def ranking(self, source: Source, emotion: str) -> tuple[list[Head], float | None]:
        """Return the heads as screening ranks them, and the ranking's reliability, made once."""
        from emolib.methods.attribution import ranking

        key = source.name, emotion

        def make() -> tuple[list[Head], float | None]:
            if screened := self._of_item.get(("screening", key)) or self._kept("screening", key):
                return screened.ranking, screened.reliability
            return ranking(self.study(source, emotion))

        return self._once("ranking", key, make)

    def circuit(self, study: Study) -> Circuits:
        """Return the faithfulness of sets of a study's heads, measured once."""
        from emolib.methods.circuits import find_circuit

        return self._once("circuit", _named(study), lambda: find_circuit(study, self._order(study)))

    def _order(self, study: Study) -> Ranking:
        """Return the order of heads that circuits go by: a file's, or that of screening."""
        from emolib.inputs.rankings import load_ranking
        from emolib.methods.circuits import by_attribution

        model, named = study.model, _named(study)
        if path := self._profile.ranking(study.emotion.name):
            shape = model.n_layers, model.n_heads, model.head_layers
            return load_ranking(path, model.name, *shape)
        screened: Screening | None = self._of_item.get(("screening", named)) or self._kept(
            "screening", named
        )
        return by_attribution(study, screened.pairs["atp_ig"] if screened else None)

    def unit_screening(self, study: Study) -> UnitScreening:
        """Return the scores of MLP units and the ablations that confirm them, made once."""
        from emolib.methods.unit_screening import screen_units

        return self._once("unit_screening", _named(study), lambda: screen_units(study))

    def unit_ranking(self, source: Source, emotion: str) -> UnitRanking:
        """Return the MLP units as unit screening ranks them, made once."""
        from emolib.methods.unit_scores import unit_scores

        key = source.name, emotion

        def make() -> UnitRanking:
            screened = self._of_item.get(("unit_screening", key))
            if screened := screened or self._kept("unit_screening", key):
                return cast("UnitScreening", screened).ranking
            return unit_scores(self.study(source, emotion)).ranking()

        return self._once("unit_ranking", key, make)

    def matched_units(self, study: Study, units: UnitSet) -> UnitSet:
        """Return random units to compare units with: of their layers and about as active."""
        from emolib.methods.unit_scores import activity, matched

        active = self._once("unit_activity", _named(study), lambda: activity(study))
        return matched(units, active, seed=self._profile.seed)

    def heads(self, case: Case) -> HeadSet:
        """Return the heads of a case; those of a rank are looked up in the ranking."""
        assert case.heads is not None
        if isinstance(case.heads, HeadSet):
            return case.heads
        assert case.source is not None and case.emotion is not None
        if ("heads", case) not in self._sets:
            heads, _ = self.ranking(case.source, case.emotion)
            self._sets["heads", case] = HeadSet((heads[case.heads.rank - 1],))
        return cast(HeadSet, self._sets["heads", case])

    def units(self, case: Case) -> UnitSet:
        """Return the units of a case; those of a rank are looked up in the scores.

        Raises:
            InputError: When the model has not as many as its configuration says.
        """
        assert case.units is not None
        if case.source is not None and case.source.name in self._models:
            found, said = self._models[case.source.name].n_units, case.source.n_units
            if found != said:
                raise InputError(
                    f"model {case.source.id!r}: its configuration says {said} MLP units a layer, "
                    f"it has {found}; name the field of config.json with their number, "
                    f"n_units_key, in its row [architectures.{case.source.model_type}]"
                )
        if isinstance(case.units, UnitSet):
            return case.units
        assert case.source is not None and case.emotion is not None
        if ("units", case) not in self._sets:
            ranking = self.unit_ranking(case.source, case.emotion)
            self._sets["units", case] = UnitSet((ranking.unit(case.units.rank),))
        return cast(UnitSet, self._sets["units", case])

    def edited(self, fixture: str, case: Case, study: Study) -> HeadSet | UnitSet | None:
        """Return the value of a fixture that is a set to edit; None where the case has none.

        Args:
            fixture: One that the table of fixtures says ``edits`` of.
            case: What the item runs on.
            study: Its study.
        """
        match fixture:
            case "heads":
                return self.heads(case) if case.heads else None
            case "units":
                return self.units(case) if case.units else None
            case "matched_units":
                return self.matched_units(study, self.units(case)) if case.units else None
            case _:
                raise AssertionError(f"how the sets of the fixture {fixture} are made is not here")


def _bytes(model: LanguageModel) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.hf.parameters())


def _held(study: Study) -> int:
    from emolib.engine.costs import held
    from emolib.engine.layerwise_model import shape_of_model

    sides = {side: study.prompts(side) for side in get_args(Side)}
    return held(shape_of_model(study.model), sides)


def _named(study: Study) -> Named:
    return study.model.name, study.emotion.name
