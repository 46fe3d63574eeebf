"""What one run works with: profile, models, emotions, and who does what with them. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emolib.errors import InputError
from emolib.files import results_folder
from emolib.inputs.emotions import Emotion, load_emotion
from emolib.inputs.rankings import load_ranking
from emolib.inputs.shards import parse_shard
from emolib.models.architectures import register_all
from emolib.models.classifiers import classifier
from emolib.models.prompt_check import check_prompts
from emolib.models.sources import Source, find
from pytest_emolib.across import Across
from pytest_emolib.cases import Cases
from pytest_emolib.companions import Companions
from pytest_emolib.devices import settled
from pytest_emolib.effects import Effects
from pytest_emolib.intact import Intact
from pytest_emolib.items import check_emotions, check_pairs, check_probes
from pytest_emolib.loaded import Loaded
from pytest_emolib.options import get
from pytest_emolib.plan import Plan
from pytest_emolib.rows import Rows, about_run
from pytest_emolib.settings import check_folder, check_writable, resolve
from pytest_emolib.writing import Writing

if TYPE_CHECKING:
    from emolib.methods.study import Study
    from pytest_emolib.shards import Part


class Lab:
    """What a run works with; everything is read when it is first needed, and once.

    Attributes:
        profile: The profile with the command line over it.
        free: Whether free prompt lists stand in for pairs.
        shard: Which part of the items is to run; None for all of them.
        part: What became of it; None before that is known.
        units: By id of an item the unit that one worker runs in one go; empty where this process
            runs them all.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Read the profile.

        Raises:
            InputError: When the profile or an option over it is wrong, or its device not there.
        """
        self._config = config
        profile, self.free = resolve(config)
        self.profile = settled(config, profile)
        register_all(self.profile.architectures)
        self.units: Mapping[str, str] = {}
        self._companions: Companions | None = None
        given = get(config, "--shard")
        self.shard = None if given is None else parse_shard(given)
        self.part: Part | None = None

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The profile's models by what the user typed.

        Raises:
            InputError: When one is not found, or two have one name.
        """
        for model in self.profile.models:
            check_folder(model)
        found = {model: find(model) for model in self.profile.models}
        names: dict[str, str] = {}
        for model, source in found.items():
            if source.name in names:
                raise InputError(
                    f"models {names[source.name]!r} and {model!r} are both called "
                    f"{source.name!r}, so their results would mix; rename a folder"
                )
            names[source.name] = model
        return found

    def is_of_a_model(self, folder: Path) -> bool:
        """Tell whether a folder is that of a model or classifier, whose files are somebody else's.

        The user's own folder, from which pytest was started, is no model's.
        """
        return bool(self._folders) and folder.resolve() in self._folders

    @cached_property
    def _folders(self) -> frozenset[Path]:
        found = [Path(source.folder) for source in self.sources.values() if source.gguf is None]
        places = [path.resolve() for path in (*found, *map(Path, self.profile.classifiers))]
        return frozenset(path for path in places if not Path.cwd().is_relative_to(path))

    @cached_property
    def emotions(self) -> dict[str, Emotion]:
        """The profile's emotions by name, their files read."""
        return {
            name: load_emotion(self.profile, name, free=self.free) for name in self.profile.emotions
        }

    @cached_property
    def cases(self) -> Cases:
        """What functions become items of."""
        return Cases(self.profile, self.sources)

    @cached_property
    def loaded(self) -> Loaded:
        """The models and studies in memory."""
        return Loaded(self.profile, self.emotions)

    @cached_property
    def across(self) -> Across:
        """What is computed of several emotions of a model."""
        return Across(self.loaded, self.profile, self.emotions)

    @cached_property
    def rows(self) -> Rows:
        """What the rows of items say."""
        return Rows(self._config, self.profile, self.emotions, self.loaded, self.intact)

    @cached_property
    def intact(self) -> Intact:
        """What items put on the models, and leave there."""
        return Intact(self.loaded)

    @cached_property
    def writing(self) -> Writing:
        """The store, and what is written and shown."""
        folder = get(self._config, "--results-dir")
        base = Path(folder) if folder else self._config.rootpath / "results"
        shard = str(self.shard) if self.shard else None
        return Writing(
            self._config, results_folder(base, self.profile.name), self._about_run, shard
        )

    def _about_run(self) -> dict[str, Any]:
        told = {"expected": self.part.items} if self.part else {}
        return about_run(self._config, self.profile) | told

    @cached_property
    def effects(self) -> Effects:
        """The regression check."""
        return Effects(
            self._config,
            self.profile,
            self.sources,
            self.emotions,
            self.writing.folder / "effects",
            lambda key: self.writing.store[key],
        )

    @cached_property
    def plan(self) -> Plan:
        """What a run would compute."""
        return Plan(self.profile, list(self.sources.values()), self.emotions, self.holds)

    def check(self) -> None:
        """Read all input that can be read without a model.

        Raises:
            InputError: When any of it is wrong.
        """
        assert self.emotions
        for folder in self.profile.classifiers:
            classifier(folder)
        if self.shard and (self.effects.saves or self.effects.compares):
            raise InputError(
                "--shard: the regression check is on all items; join the shards with `python -m "
                "emolib merge`, then give --effects-save or --effects-compare without --shard, "
                "which finds their rows in the store"
            )
        self.cases.check()
        self._check_rankings()
        self.effects.check()
        check_writable(self.writing.folder)

    def _check_rankings(self) -> None:
        for emotion in self.profile.emotions:
            if path := self.profile.ranking(emotion):
                for source in self.sources.values():
                    shape = source.n_layers, source.n_heads, source.head_layers
                    load_ranking(path, source.name, *shape)

    def check_prompts(self) -> None:
        """Check what a look at the files will not do for: prompts under tokenizers, classifiers.

        Raises:
            InputError: When a prompt is too long, a chat template is missing or refuses one, or a
                classifier cannot be loaded.
        """
        for folder in self.profile.classifiers:
            classifier(folder).load()
        emotions = list(self.emotions.values())
        tests = [emotion.probe_test for emotion in emotions if emotion.probe_test is not None]
        check_prompts(self.sources.values(), [*emotions, *tests], self.profile)

    def check_items(self, items: Sequence[pytest.Item]) -> None:
        """Check that the prompts and emotions that there are do for items.

        Raises:
            InputError: When they do not.
        """
        if self.free:
            check_pairs(items)
        check_emotions(items, self.profile)
        check_probes(items, self.profile, self.emotions)

    def others(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Return the items of other shards, none where no shard is asked for; note what is left."""
        if self.shard is None:
            return []
        from pytest_emolib.shards import part_of

        mine, self.part = part_of(items, self.shard, self.plan)
        return [item for item, is_mine in zip(items, mine, strict=True) if not is_mine]

    def hear(self, told: dict[str, int]) -> None:
        """Take note of what became of the shard, as another process tells it."""
        if self.shard is not None:
            from pytest_emolib.shards import Part

            self.part = Part(self.shard, **told)

    def pair_off(self, items: Iterable[pytest.Item]) -> None:
        """Have the runs of items computed together with those of others of their kind."""
        self._companions = Companions(items, self.loaded, self.holds, self.units)

    def holds(self, item: pytest.Item) -> bool:
        """Return whether an item need not run: its rows are in the store."""
        return self.writing.holds(self.rows.key(item))

    def study(self, item: pytest.Item, source: Source, emotion: str) -> Study:
        """Return the study of an item, which computes the item's runs with its companions'."""
        study = self.loaded.study(source, emotion)
        if self._companions is not None:
            study.runner.companions = self._companions.beside(item, study)
        return study

    def header(self) -> str:
        """Return the line on the profile for pytest's header."""
        models = ", ".join(source.name for source in self.sources.values())
        emotions = ", ".join(self.profile.emotions)
        free = "; free prompt lists in place of pairs" if self.free else ""
        chat = "; through the chat template" if self.profile.chat else ""
        shard = f", shard {self.shard}" if self.shard else ""
        return (
            f"emolib: profile {self.profile.name} ({models}; {emotions}{free}{chat}){shard}, "
            f"to {self.writing.where}"
        )

    def names(self) -> list[str]:
        """Return models, emotions and kinds of ablation in the order in which tables show them."""
        models = (source.name for source in self.sources.values())
        return [*models, *self.profile.emotions, *self.profile.ablations]
