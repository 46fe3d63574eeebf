"""Running a model on an emotion's prompts, clean or intervened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, assert_never, get_args

import torch
from torch import Tensor

from emolib.engine.batching import Request
from emolib.engine.costs import CLEAN, Planned, Runs
from emolib.engine.gradients import Objective
from emolib.engine.proofs import check as check_structure
from emolib.engine.runner import Runner
from emolib.engine.traced import PlacedTrace, traced
from emolib.errors import InputError
from emolib.inputs.emotions import Emotion, load_emotion
from emolib.inputs.profiles import Ablation, Profile, load_profile
from emolib.inputs.prompts import Lexicon, Position, Side, load_lexicon
from emolib.inputs.targets import Targets, target_set
from emolib.inputs.units import UnitSet
from emolib.interventions import Activations, Intervention, mean, resample, zero
from emolib.methods import metrics
from emolib.methods.classified import label_metrics
from emolib.methods.optimal_ablation import OptimalAblation
from emolib.methods.own_metrics import names_of, of_logits, of_texts, registered
from emolib.methods.readouts import Reading, Readout
from emolib.methods.reference import reference
from emolib.methods.scores import Measuring, OfLogits, Scores, score
from emolib.models.architectures import register_all
from emolib.models.encoding import AlignedPairs, Prompts
from emolib.models.language_model import LanguageModel
from emolib.models.loading import load
from emolib.models.prompt_check import check_prompts
from emolib.models.sources import find
from emolib.notebook import facts


class Study:
    """One model on one emotion's prompts, under a profile.

    Attributes:
        model: The model.
        emotion: The emotion's data.
        profile: The settings.
        lexicons: By emotion the lexicons that texts are read with.
        in_pieces: Words of the lexicon and targets that are several tokens under the model's
            tokenizer, which the logit metrics leave out.
    """

    def __init__(
        self,
        model: LanguageModel,
        emotion: Emotion,
        profile: Profile,
        lexicons: Mapping[str, Lexicon] | None = None,
        half: LanguageModel | None = None,
    ) -> None:
        """Encode the prompts.

        Args:
            model: The model.
            emotion: The emotion's data.
            profile: The settings.
            lexicons: By emotion the lexicons that texts are read with; the emotion's own alone
                when None.
            half: The same model in half precision, in which sweeps of many runs are computed.

        Raises:
            InputError: When no pair aligns, a prompt is too long, no target word is one token, or
                the chat template is missing or refuses the prompts, or the model's structure
                is not proven.
        """
        check_structure(model)
        self.model, self.emotion, self.profile, self.half = model, emotion, profile, half
        self.lexicons = {emotion.name: emotion.lexicon} if lexicons is None else dict(lexicons)
        self.targets = model.target_ids(emotion.lexicon, emotion.neutral)
        new, chat = profile.max_new_tokens, profile.as_chat
        self._pairs: AlignedPairs | None = None
        self._free: dict[Side, Prompts] = {}
        if emotion.pairs is not None:
            names = emotion.places("emotion")
            self._pairs = model.align(emotion.pairs, new, chat=chat, names=names)
        elif emotion.free is not None:
            for side in get_args(Side):
                names = emotion.places(side)
                self._free[side] = model.encode(emotion.written(side), new, chat=chat, names=names)
        words = dict.fromkeys((*emotion.lexicon.words, *emotion.lexicon.targets))
        self.in_pieces = model.in_pieces([*words, *emotion.neutral.targets])
        self._own = registered()
        self._of_texts = {name: of_texts(o) for name, o in self._own.items() if o.of == "texts"}
        self._of_texts |= label_metrics(profile.classifiers, self.lexicons, model.device)
        self._clean: dict[Side, Readout] = {}
        self._references: dict[UnitSet | None, Activations] = {}

    def __repr__(self) -> str:
        """Return what it is of, on one line."""
        told = self._told()
        return f"<{told['model']}; {told['prompts']}; position {told['position']}>"

    def _repr_html_(self) -> str:
        """Return what it is of for a notebook, with its first prompt and the neutral one."""
        first = {
            self.emotion.name if side == "emotion" else side: self.prompts(side).texts[0]
            for side in get_args(Side)
            if len(self.prompts(side))
        }
        return facts({**self._told(), **first})._repr_html_()

    def _told(self) -> dict[str, str]:
        model, kind = self.model, "prompts" if self._pairs is None else "pairs"
        prompts = self.prompts()
        count = f"{len(prompts)} {kind} of {self.emotion.name}"
        if prompts.clusters is not None:
            count += f", {len(set(prompts.clusters))} templates"
        if self.left_out:
            count += f" ({len(self.left_out)} that do not align left out)"
        return {
            "model": f"{model.name} ({model.arch.model_type}), {model.n_layers} layers of "
            f"{model.n_heads} heads",
            "prompts": count,
            "position": self.profile.position,
        }

    @property
    def pairs(self) -> AlignedPairs:
        """The aligned pairs.

        Raises:
            InputError: When free prompt lists stand in for the pairs.
        """
        if self._pairs is None:
            raise InputError(
                f"this experiment needs aligned pairs of {self.emotion.name!r}, got free prompt "
                "lists; drop --emotion-prompts/--neutral-prompts or give a pairs file with "
                "--prompts-file"
            )
        return self._pairs

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Ids of the pairs that do not align under the model's tokenizer, with the reason."""
        return () if self._pairs is None else self._pairs.left_out

    def prompts(self, side: Side = "emotion") -> Prompts:
        """Return the prompts of one side: the pairs', or the free list.

        Raises:
            InputError: When there is no such side.
        """
        _check("on", side, get_args(Side))
        if self._pairs is None:
            return self._free[side]
        return {"emotion": self._pairs.emotion, "neutral": self._pairs.neutral}[side]

    @property
    def batch_size(self) -> int | None:
        """Prompts per forward; None for as many as there is room for."""
        return self.profile.batch_size

    @cached_property
    def lexicon_ids(self) -> Tensor:
        """Token ids of the lexicon's words that are one token, shape ``[k]``.

        Raises:
            InputError: When none of them is.
        """
        lexicon = self.emotion.lexicon
        return self.model.word_ids((*lexicon.words, *lexicon.targets), "lexicon words")

    @cached_property
    def _lexicon_ids(self) -> Tensor | None:
        try:
            return self.lexicon_ids
        except InputError:
            return None

    def run(
        self,
        *interventions: Intervention,
        on: Side = "emotion",
        position: Position | None = None,
    ) -> Readout:
        """Return the readout of a run; the clean one is made once and shared.

        Args:
            *interventions: Applied together; none for the clean run.
            on: Which side's prompts.
            position: Where in the prompt z is edited; None takes the profile's.

        Raises:
            InputError: When there is no such side or position.
        """
        where = self.profile.position if position is None else position
        _check("on", on, get_args(Side))
        _check("position", where, get_args(Position))
        request = self.runner.request(interventions, on, where)
        if not (interventions or request.under):
            return self.clean(on)
        return Readout(self._reading, request, self.prompts(on).texts)

    def expect(
        self,
        runs: Sequence[Intervention],
        on: Side = "emotion",
        position: Position | None = None,
        *,
        texts: bool = False,
    ) -> None:
        """Have runs that will be asked for one by one, of one intervention each, computed together.

        Args:
            runs: What each does.
            on: Which side's prompts.
            position: Where in the prompt they edit; None takes the profile's.
            texts: Whether their texts are meant, in place of the logit metrics.
        """
        where = self.profile.position if position is None else position
        self.runner.expect(runs, on, where, texts=texts)

    def clean(self, side: Side = "emotion") -> Readout:
        """Return the readout of the clean run, of the model as it was loaded, made once."""
        if side not in self._clean:
            request = Request((), side, self.profile.position)
            self._clean[side] = Readout(self._reading, request, self.prompts(side).texts)
        return self._clean[side]

    @cached_property
    def runner(self) -> Runner[Scores]:
        """What runs the model."""
        return Runner(
            self.model,
            self.prompts,
            self.measuring,
            batch_size=self.profile.batch_size,
            max_new_tokens=self.profile.max_new_tokens,
            # Where edits are elsewhere the clean run is made as they are, whole.
            share=self.profile.position == "last",
            half=self.half,
            seed=self.profile.seed,
        )

    @cached_property
    def _reading(self) -> Reading:
        return Reading(
            self.runner,
            self.score,
            self.emotion.lexicon,
            self.lexicons,
            lambda: self.lexicon_ids,
            self.clean,
            names_of(self._own, "logits"),
            self._of_texts,
        )

    def traced(self, place: str, **options: Any) -> PlacedTrace:
        """Return a trace on the model, to be used in a ``with``; see `emolib.engine.traced`."""
        return traced(self.model, place, **options)

    @cached_property
    def _others(self) -> dict[str, OfLogits]:
        """By name metrics of one's own, and ``logit_diff_<emotion>`` of every lexicon at hand."""
        made = {name: of_logits(own) for name, own in self._own.items() if own.of == "logits"}
        for name, lexicon in self.lexicons.items():
            try:
                own, neutral = self.model.target_ids(lexicon, self.emotion.neutral)
            except InputError:
                # None of its targets is one token.
                continue
            made[f"logit_diff_{name}"] = partial(metrics.logit_diff, emotion=own, neutral=neutral)
        return made

    @cached_property
    def measuring(self) -> Measuring:
        """What is kept of logits."""
        return Measuring(self.targets, self._lexicon_ids, self._others)

    def score(self, logits: Tensor, clean: Tensor | None) -> Scores:
        """Return what logits ``[draws, n_prompts, vocab]`` say, beside the clean run's."""
        return score(logits, clean, self.measuring)

    def logit_diff(self, logits: Tensor) -> Tensor:
        """Return the metric of logits, ``[…, vocab]``, in float64, ``[…]``."""
        return metrics.logit_diff(logits, *self.targets)

    @cached_property
    def objective(self) -> Objective:
        """What gradients are of: ``logit_diff``."""
        count = len(self.targets[0])

        def diff(logits: Tensor) -> Tensor:
            places = torch.arange(logits.shape[-1], device=logits.device)
            return metrics.logit_diff(logits, places[:count], places[count:])

        return Objective(torch.cat(self.targets), diff)

    @cached_property
    def clean_gap(self) -> float | None:
        """``M_emo − M_neu`` of clean ``logit_diff``, logits; None of free prompts."""
        if self._pairs is None:
            return None
        return float((self.clean().logit_diff - self.clean("neutral").logit_diff).mean())

    def activations(self, side: Side, targets: Targets | None = None) -> Activations:
        """Return z of every head on one side's prompts, without interventions, read once.

        Args:
            side: Whose prompts.
            targets: Of units, their activations come in place of the heads' z.
        """
        return self.runner.activations(side, _units_of(targets))

    def streams_at_last(self, side: Side) -> Tensor:
        """Return the residual stream after each layer at the last prompt token, clean.

        Returns:
            Shape ``[n_layers, n_prompts, d_model]``.
        """
        _check("side", side, get_args(Side))
        return self.runner.streams_at_last(side)

    @property
    def reference(self) -> Activations:
        """Clean z on as many emotion as neutral prompts, for `mean` and `resample`."""
        return self._reference(None)

    def reference_of(self, targets: Targets) -> Activations:
        """Return the reference of heads, which all share, or of units, read once for a set."""
        return self._reference(_units_of(targets))

    def _reference(self, units: UnitSet | None) -> Activations:
        if self.runner.under:
            return self._read_reference(units)
        if units not in self._references:
            self._references[units] = self._read_reference(units)
        return self._references[units]

    def _read_reference(self, units: UnitSet | None) -> Activations:
        return reference(
            self.model, [self.runner.activations(side, units) for side in get_args(Side)]
        )

    @cached_property
    def optimal(self) -> OptimalAblation:
        """The constants that change ``logit_diff`` least, fitted set by set when asked for."""

        def clean(side: Side) -> Tensor:
            request = Request((), side, self.profile.position, self.runner.under)
            scores = self.runner.scores(request)
            return torch.from_numpy(scores.logit_diff)

        return OptimalAblation(
            self.runner,
            self.prompts,
            self.objective,
            clean,
            self.reference_of,
            self.profile.position,
        )

    def ablation(self, kind: Ablation) -> Callable[[Targets], Intervention]:
        """Return the function from heads or units to their ablation of one kind.

        Raises:
            InputError: When there is no such kind.
        """
        _check("ablation", kind, get_args(Ablation))

        def ablate(targets: Targets) -> Intervention:
            chosen = target_set(targets)
            match kind:
                case "zero":
                    return zero(chosen)
                case "mean":
                    return mean(chosen, self.reference_of(chosen))
                case "resample":
                    reference, profile = self.reference_of(chosen), self.profile
                    return resample(chosen, reference, draws=profile.draws, seed=profile.seed)
                case "optimal":
                    return self.optimal.ablate(chosen)
                case _:
                    assert_never(kind)

        return ablate


def study(
    model: str | LanguageModel,
    emotion: str | Emotion,
    *,
    profile: str | Profile = "demo",
    **settings: Any,
) -> Study:
    """Return a study of a model on an emotion's prompts, without pytest.

    >>> import emolib
    >>> from emolib.interventions import zero
    >>> from emolib.inputs.heads import Head
    >>> study = emolib.study("tiny-gpt2", "gratitude", max_new_tokens=8)
    >>> effect = study.run(zero(Head(0, 2))).logit_diff - study.run().logit_diff
    >>> effect.shape, bool(effect.mean() < -5)
    ((90,), True)

    Args:
        model: An embedded name, a folder, a ``.gguf`` file or a Hub id; or a model in memory.
        emotion: Its name, with files where the profile has them; or its data.
        profile: The name of the settings, or the path of a ``.toml`` file, or the settings.
        **settings: Fields of the profile to change, as ``position="slot"`` or ``seed=1``.

    Raises:
        InputError: When the model, the emotion's files or a setting is wrong.
    """
    chosen = load_profile(profile) if isinstance(profile, str) else profile
    fields = {field.name for field in dataclasses.fields(Profile)}
    if unknown := settings.keys() - fields:
        known = ", ".join(sorted(fields))
        raise InputError(f"study({min(unknown)}=…): unknown setting; the settings are {known}")
    chosen = chosen.override(**settings)
    register_all(chosen.architectures)
    if isinstance(model, str):
        source = find(model)
        data = load_emotion(chosen, emotion) if isinstance(emotion, str) else emotion
        check_prompts([source], [data], chosen)
        model = load(source, device=chosen.device, dtype=chosen.dtype)
    if isinstance(emotion, str):
        emotion = load_emotion(chosen, emotion)
    lexicons = {
        name: load_lexicon(chosen.path("lexicon", name), name)
        for name in chosen.emotions
        if name != emotion.name
    }
    return Study(model, emotion, chosen, lexicons | {emotion.name: emotion.lexicon})


def _check(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def _units_of(targets: Targets | None) -> UnitSet | None:
    chosen = None if targets is None else target_set(targets)
    return chosen if isinstance(chosen, UnitSet) else None


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of a study itself: each side clean, with its texts."""
    for side in planned.prompts:
        yield planned.runs(side, (CLEAN,), new=planned.profile.max_new_tokens)
