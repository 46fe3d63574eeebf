"""Paths between heads: how much of what a head does goes through which input of a later one.

Path patching as in Wang et al. (2211.00593) and Goldowsky-Dill et al. (2304.05969): on neutral
prompts a sender takes z of the paired emotion prompt at all positions, every other head keeps its
clean z, and what a receiver reads of that run is kept; a second run in which the receiver alone
reads it, and all behind it goes as it comes, gives the effect. Definitions: docs/science.md,
"Paths between heads".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from emolib.engine.costs import Planned, Runs
from emolib.engine.layers import Input
from emolib.engine.receiving import Received
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import Intervention, alone, patch
from emolib.methods.patching import FLOOR
from emolib.methods.scores import Vector
from emolib.methods.study import Study

INPUTS: tuple[Input, ...] = get_args(Input)
"""What a receiver reads by: all of its inputs first."""
LOGITS = "logits"
"""In place of a receiver: the logits, whose path is the direct effect."""


@dataclass(frozen=True)
class HeadPath:
    """One path, values per pair in logits, shape ``[n_pairs]``.

    Attributes:
        sender: The head that takes z of the emotion prompts.
        receiver: The later head that alone reads what comes of it; None for the logits.
        input: What it reads that by: ``all``, ``q``, ``k`` or ``v``; ``all`` of the logits.
        effect: ``logit_diff`` of neutral prompts under it, less clean; None where it cannot be had.
        total: The same where the sender takes z of the emotion prompts and all goes as it comes.
        no_effect: Why `effect` is None, else empty.
    """

    sender: Head
    receiver: Head | None
    input: Input
    effect: Vector | None
    total: Vector
    no_effect: str = ""

    @property
    def share(self) -> float | None:
        """``mean effect / mean total``; None where there is no effect, or the total is small."""
        total = float(self.total.mean())
        if self.effect is None or abs(total) < FLOOR:
            return None
        return float(self.effect.mean()) / total

    def to_record(self) -> dict[str, Any]:
        """Return it as `record` takes it."""
        named = {"sender": str(self.sender), "receiver": str(self.receiver or LOGITS)}
        whys = {"why_no_effect": self.no_effect} if self.no_effect else {}
        if self.share is None and not self.no_effect:
            size = abs(float(self.total.mean()))
            whys["why_no_share"] = f"the total effect, {size:.2g} logits, is below {FLOOR}"
        values = {"effect": self.effect, "total": self.total, "share": self.share}
        return named | {"input": self.input} | values | whys


def head_paths(study: Study, heads: Sequence[Head], *, freeze_mlps: bool = False) -> list[HeadPath]:
    """Return the paths from each of some heads to the logits and to each of them further on.

    Args:
        study: The model on an emotion's pairs.
        heads: The heads, senders and receivers alike.
        freeze_mlps: Whether MLPs between sender and receiver keep what they put out in the clean
            run, as the heads there do; else they are computed from what comes to them.

    Returns:
        Sender by sender, the logits first.

    Raises:
        InputError: When the study has free prompts in place of pairs, or MLPs are to be frozen
            that have no units.
    """
    assert study.pairs
    if not (order := sorted(set(heads))):
        return []
    source, clean = study.activations("emotion"), study.activations("neutral")
    whole = {head: patch(head, source) for head in order}
    held = _held_mlps(study, order[0].layer) if freeze_mlps else ()
    sends = {head: (alone(whole[head], clean), *held) for head in order}
    reads = _received(study, sends)
    patches = {
        (sender, receiver, name): patch(receiver, z)
        for sender, by_head in reads.items()
        for receiver, found in by_head.items()
        for name, z in found.z.items()
    }
    directs = [] if held else [one for one, *_ in sends.values()]
    study.expect([*whole.values(), *directs, *patches.values()], on="neutral", position="all")
    before = study.run(on="neutral").logit_diff

    def effect(*interventions: Intervention) -> Vector:
        return study.run(*interventions, on="neutral", position="all").logit_diff - before

    paths = []
    for sender in order:
        total = effect(whole[sender])
        paths.append(HeadPath(sender, None, "all", effect(*sends[sender]), total))
        for receiver, found in reads.get(sender, {}).items():
            for name in INPUTS:
                if one := patches.get((sender, receiver, name)):
                    paths.append(HeadPath(sender, receiver, name, effect(one), total))
                else:
                    paths.append(HeadPath(sender, receiver, name, None, total, found.lacking))
    return paths


def _received(
    study: Study, sends: Mapping[Head, Sequence[Intervention]]
) -> dict[Head, dict[Head, Received]]:
    """Return by sender what the heads of later layers read of its run."""
    behind = {head: [other for other in sends if other.layer > head.layer] for head in sends}
    senders = [head for head, others in behind.items() if others]
    if not senders:
        return {}
    found = study.runner.received(
        "neutral", [sends[head] for head in senders], [behind[head] for head in senders]
    )
    return dict(zip(senders, found, strict=True))


def _held_mlps(study: Study, first: int) -> tuple[Intervention]:
    """Return the intervention that holds all MLPs from a layer on at their clean units."""
    model = study.model
    layers = range(first, model.n_layers)
    if lacking := [layer for layer in layers if layer not in model.unit_layers]:
        raise InputError(
            f"paths(freeze_mlps=True): layer {lacking[0]} of {model.name} has no MLP units to "
            "hold; leave freeze_mlps out"
        )
    units = UnitSet(tuple(Unit(layer, i) for layer in layers for i in range(model.n_units)))
    return (patch(units, study.activations("neutral", units)),)


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `head_paths` of the top heads, but for the ranking, which others share.

    Of each sender its whole effect, its direct one and what others read of it, of which each
    receiver then takes one input or all of them.
    """
    heads = planned.spread(min(planned.profile.strongest, planned.n_layers * planned.n_heads))
    receivers = [other for head in heads for other in heads if other > head]
    firsts = [*heads, *heads, *receivers * len(INPUTS)]
    yield Runs(planned.prompts["neutral"], "all", tuple(firsts))
    yield Runs(planned.prompts["neutral"], "all", tuple(h for h in heads if h < heads[-1]))
