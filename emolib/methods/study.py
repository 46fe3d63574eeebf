"""Running a model on an emotion's prompts, clean or intervened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from emolib.engine import hooked
from emolib.engine.batching import Batches, Request
from emolib.engine.costs import CLEAN, Planned, Runs
from emolib.engine.forwards import DEFAULT_BATCH, Prefix
from emolib.errors import InputError
from emolib.inputs.emotions import Emotion
from emolib.inputs.profiles import Ablation, Profile
from emolib.inputs.prompts import Lexicon, Position, Side
from emolib.inputs.units import Targets, UnitSet, target_set
from emolib.interventions import Activations, Intervention, mean, resample, zero
from emolib.methods.readouts import Readout
from emolib.methods.scores import Scores, score
from emolib.models.encoding import AlignedPairs, Batch, Prompts
from emolib.models.language_model import LanguageModel


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
            InputError: When no pair aligns, a prompt is too long, or no target word is one token.
        """
        self.model, self.emotion, self.profile, self.half = model, emotion, profile, half
        self.lexicons = {emotion.name: emotion.lexicon} if lexicons is None else dict(lexicons)
        self.targets = model.target_ids(emotion.lexicon, emotion.neutral)
        new = profile.max_new_tokens
        self._pairs = None if emotion.pairs is None else model.align(emotion.pairs, new)
        self._free: dict[Side, Prompts] = {}
        if emotion.free is not None:
            self._free = {
                "emotion": model.encode(emotion.free[0], new),
                "neutral": model.encode(emotion.free[1], new),
            }
        words = dict.fromkeys((*emotion.lexicon.words, *emotion.lexicon.targets))
        self.in_pieces = model.in_pieces([*words, *emotion.neutral.targets])
        self._clean: dict[Side, Readout] = {}
        self._activations: dict[tuple[Side, UnitSet | None], Activations] = {}
        self._unit_references: dict[UnitSet, Activations] = {}
        # By identity: the study holds its prompts as long as these.
        self._prefixes: dict[int, Prefix] = {}

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
        """Return the prompts of one side: the pairs', or the free list."""
        if self._pairs is None:
            return self._free[side]
        return self._pairs.emotion if side == "emotion" else self._pairs.neutral

    @property
    def batch_size(self) -> int:
        """Prompts per forward."""
        return self.profile.batch_size or DEFAULT_BATCH

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
        """
        where = position or self.profile.position
        if interventions:
            return Readout(self, Request(interventions, on, where))
        if on not in self._clean:
            self._clean[on] = Readout(self, Request((), on, where))
        return self._clean[on]

    @cached_property
    def batches(self) -> Batches:
        """The runs that are computed together."""
        return Batches(
            self.model,
            self.prompts,
            self.score,
            batch_size=self.profile.batch_size,
            max_new_tokens=self.profile.max_new_tokens,
            half=self.half,
            seed=self.profile.seed,
        )

    def score(self, logits: Tensor, clean: Tensor) -> Scores:
        """Return what logits ``[draws, n_prompts, vocab]`` say, beside the clean run's."""
        return score(logits, clean, self.targets, self._lexicon_ids)

    @cached_property
    def clean_gap(self) -> float | None:
        """``M_emo − M_neu`` of clean ``logit_diff``, logits; None of free prompts."""
        if self._pairs is None:
            return None
        return float((self.run().logit_diff - self.run(on="neutral").logit_diff).mean())

    def prefix(self, prompts: Prompts) -> Prefix | None:
        """Return what runs on one side's prompts share, made once; None for one-token prompts."""
        if not hooked.may_share(prompts, (), "last"):
            return None
        if id(prompts) not in self._prefixes:
            made = Prefix(self.model, prompts, self.profile.batch_size)
            self._prefixes[id(prompts)] = made
        return self._prefixes[id(prompts)]

    def activations(self, side: Side, targets: Targets | None = None) -> Activations:
        """Return the clean z of every head on one side's prompts, read once and shared.

        Args:
            side: Whose prompts.
            targets: Of units, their activations come in place of the heads' z.
        """
        units = _units_of(targets)
        if (side, units) not in self._activations:
            if units is None and self.batches.usable():
                self._activations[side, None] = self._clean_z(side)
                return self._activations[side, None]
            self._activations[side, units] = hooked.activations(
                self.model, self.prompts(side), units, batch_size=self.profile.batch_size
            )
        return self._activations[side, units]

    def _clean_z(self, side: Side) -> Activations:
        model, prompts = self.model, self.prompts(side)
        whole = Batch(prompts, range(len(prompts)), model.pad, model.device)
        _, cleans = self.batches.clean(side, "all")
        layers = []
        for layer in range(model.n_layers):
            parts = [clean.state(layer, clean.batch.width).z for clean in cleans]
            z = parts[0].new_zeros(len(prompts), prompts.width, parts[0].shape[-1])
            for clean, part in zip(cleans, parts, strict=True):
                z[list(clean.batch.rows), -part.shape[1] :] = part
            layers.append(hooked.split_heads(z, model.n_heads))
        return Activations(prompts, whole, tuple(layers))

    @cached_property
    def reference(self) -> Activations:
        """Clean z on as many emotion as neutral prompts, for `mean` and `resample`."""
        return self._read_reference(None)

    def reference_of(self, targets: Targets) -> Activations:
        """Return the reference of heads, which all share, or of units, read once for a set."""
        units = _units_of(targets)
        if units is None:
            return self.reference
        if units not in self._unit_references:
            self._unit_references[units] = self._read_reference(units)
        return self._unit_references[units]

    def _read_reference(self, units: UnitSet | None) -> Activations:
        emotion, neutral = self.prompts("emotion"), self.prompts("neutral")
        count = min(len(emotion), len(neutral))
        joined = _joined(emotion, neutral, count)
        if units is None and self.batches.usable():
            batch = Batch(joined, range(len(joined)), self.model.pad, self.model.device)
            sides = [self.activations(side).z for side in ("emotion", "neutral")]
            z = tuple(
                torch.cat([_widened(part[:count], joined.width) for part in layer])
                for layer in zip(*sides, strict=True)
            )
            return Activations(joined, batch, z)
        return hooked.activations(self.model, joined, units, batch_size=self.profile.batch_size)

    def ablation(self, kind: Ablation) -> Callable[[Targets], Intervention]:
        """Return the function from heads or units to their ablation of one kind."""

        def ablate(targets: Targets) -> Intervention:
            if kind == "zero":
                return zero(targets)
            chosen = target_set(targets)
            reference = self.reference_of(chosen)
            if kind == "mean":
                return mean(chosen, reference)
            profile = self.profile
            return resample(chosen, reference, draws=profile.draws, seed=profile.seed)

        return ablate


def _widened(z: Tensor, width: int) -> Tensor:
    """Return the last columns of z, ``[n, seq, …]``, padded on the left where it has fewer."""
    z = z[:, -width:]
    return torch.cat([z.new_zeros(len(z), width - z.shape[1], *z.shape[2:]), z], dim=1)


def _units_of(targets: Targets | None) -> UnitSet | None:
    chosen = None if targets is None else target_set(targets)
    return chosen if isinstance(chosen, UnitSet) else None


def _joined(left: Prompts, right: Prompts, count: int) -> Prompts:
    def both(a: Sequence[object] | None, b: Sequence[object] | None) -> tuple[object, ...] | None:
        return None if a is None or b is None else (*a[:count], *b[:count])

    return Prompts(
        (*left.texts[:count], *right.texts[:count]),
        (*left.ids[:count], *right.ids[:count]),
        both(left.slots, right.slots),  # type: ignore[arg-type]
        both(left.clusters, right.clusters),  # type: ignore[arg-type]
    )


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of a study itself: each side clean, with its texts."""
    for side in planned.prompts:
        yield planned.runs(side, (CLEAN,), new=planned.profile.max_new_tokens)
