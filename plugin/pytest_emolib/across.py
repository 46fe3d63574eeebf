"""What takes several emotions of one model, each read once for all items that ask for it.

Studies of large models do not stay beside each other in memory: of each no more is kept than
numbers per prompt and z at the last token. While one is read, that of the item is there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.profiles import Profile
from emolib.models.sources import Source
from pytest_emolib.loaded import Loaded, What

if TYPE_CHECKING:
    from emolib.methods.probes import Sides, ToldApart
    from emolib.methods.specificity import Specificity
    from emolib.methods.study import Study


class Across:
    """Specificity and probes of heads, over the emotions of the profile."""

    def __init__(self, loaded: Loaded, profile: Profile, emotions: Mapping[str, Emotion]) -> None:
        """Hold what studies are made of."""
        self._loaded, self._profile, self._emotions = loaded, profile, emotions

    def specificity(self, study: Study, source: Source, heads: HeadSet) -> Specificity:
        """Return whether heads are about a study's emotion, under the profile's first ablation.

        Args:
            study: Of an item, whose companions are computed with it.
            source: Its model.
            heads: The item's.
        """
        from emolib.methods.specificity import Specificity, effects

        kind = self._profile.ablations[0]
        sets = [heads, *study.runner.companions(heads)]
        found = self._over_emotions("effects", study, source, sets, partial(effects, kind=kind))
        return Specificity(study.emotion.name, kind, {n: of[heads] for n, of in found.items()})

    def probed(self, study: Study, source: Source, head: Head) -> dict[str, Any]:
        """Return what probes tell from z of a head, and what ablating it does, for `record`.

        Args:
            study: Of an item, whose companions are read with it.
            source: Its model.
            head: The head.
        """
        from emolib.methods import probes

        own, profile, alone = study.emotion.name, self._profile, HeadSet((head,))
        sets = (alone, *study.runner.companions(alone))
        heads = [one for chosen in sets for one in chosen if isinstance(one, Head)]
        over = self._over_emotions("last_z", study, source, heads, probes.last_z)
        # In one order, whichever emotion asks: what they are told apart by is the same of all.
        z = {name: over[name][head] for name in profile.emotions}
        how = {"folds": profile.probe_folds, "swaps": profile.probe_swaps, "seed": profile.seed}
        record = probes.probe(z[own], **how).to_record()
        record |= self._told_apart(source, head, z, how).to_record(own)
        record["logit_diff"] = probes.effect(study, head)
        if (test := self._test_z(study, source, heads)) is not None:
            record |= probes.probe_on(z[own], test[head], seed=profile.seed)
        return record

    def _told_apart(
        self, source: Source, head: Head, z: Mapping[str, Sides], how: Mapping[str, int]
    ) -> ToldApart:
        from emolib.methods.probes import told_apart

        # The same of every emotion.
        known = self._loaded.parts("told_apart", source.name, "")
        if head not in known:
            known[head] = told_apart(z, **how)
        found: ToldApart = known[head]
        return found

    def _test_z(
        self, study: Study, source: Source, heads: Sequence[Head]
    ) -> Mapping[Head, Sides] | None:
        """Return z of heads on the pairs of another file, None where none is named."""
        if (test := self._emotions[study.emotion.name].probe_test) is None:
            return None
        from emolib.methods.probes import last_z
        from emolib.methods.study import Study

        def read(lacking: Sequence[Head]) -> Mapping[Head, Sides]:
            return last_z(Study(study.model, test, self._profile, study.lexicons), lacking)

        return self._added("test_z", source, study.emotion.name, heads, read)

    def _over_emotions(
        self,
        what: What,
        study: Study,
        source: Source,
        wanted: Sequence[Any],
        make: Callable[[Study, Sequence[Any]], Mapping[Any, Any]],
    ) -> dict[str, Mapping[Any, Any]]:
        """Return by emotion what is made of heads or sets, the item's own emotion first."""
        names = dict.fromkeys([study.emotion.name, *self._profile.emotions])

        def of(emotion: str, lacking: Sequence[Any]) -> Mapping[Any, Any]:
            return make(self._loaded.study(source, emotion), lacking)

        return {n: self._added(what, source, n, wanted, partial(of, n)) for n in names}

    def _added(
        self,
        what: What,
        source: Source,
        emotion: str,
        wanted: Sequence[Any],
        make: Callable[[Sequence[Any]], Mapping[Any, Any]],
    ) -> Mapping[Any, Any]:
        known = self._loaded.parts(what, source.name, emotion)
        if lacking := [one for one in dict.fromkeys(wanted) if one not in known]:
            known.update(make(lacking))
        return known
