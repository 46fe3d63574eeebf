"""Direct effects of interventions, and how much of them the rest of the model makes up for.

Definitions: docs/science.md, "Direct effects of interventions" and "Self-repair", after Rushing &
Nanda (2402.15390).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from emolib.engine.costs import Planned, Runs
from emolib.engine.direct_path import direct_path
from emolib.inputs.prompts import Position, Side
from emolib.interventions import Intervention, alone
from emolib.methods.patching import FLOOR
from emolib.methods.scores import Vector
from emolib.methods.study import Study
from emolib.models.encoding import Prompts
from emolib.models.language_model import LanguageModel


@dataclass(frozen=True)
class SelfRepair:
    """An intervention's direct effect beside its whole one.

    Attributes:
        direct: ``logit_diff`` with every other head held at its clean z, less clean; logits,
            shape ``[n_prompts]``.
        self_repair: ``1 − |mean total| / |mean direct|``: 0 where other heads add nothing, 1 where
            they make up for all of it, below 0 where they add to it; None where the direct effect
            is below 0.1 logits.
        no_self_repair: Why `self_repair` is None, else empty.
    """

    direct: Vector
    self_repair: float | None
    no_self_repair: str

    def to_record(self) -> dict[str, Any]:
        """Return it as `record` takes it."""
        why = {"why_no_self_repair": self.no_self_repair} if self.no_self_repair else {}
        return {"direct": self.direct, "self_repair": self.self_repair} | why


def self_repair(study: Study, intervention: Intervention, on: Side = "emotion") -> SelfRepair:
    """Return the direct effect of an intervention and what the model repairs of it.

    Args:
        study: The study; its profile's position is where the intervention edits.
        intervention: What it does.
        on: Which side's prompts.
    """
    position = study.profile.position
    if not _reaches_last(study.prompts(on), position) and _heads_alone_move(study.model):
        why = (
            f"what is edited at {position} comes to the last token through other heads alone: "
            "with these held the direct effect is 0"
        )
        return SelfRepair(np.zeros(len(study.prompts(on))), None, why)
    clean = study.run(on=on).logit_diff
    direct = study.run(alone(intervention, study.activations(on)), on=on).logit_diff - clean
    if (size := abs(float(direct.mean()))) < FLOOR:
        return SelfRepair(direct, None, f"the direct effect, {size:.2g} logits, is below {FLOOR}")
    total = float((study.run(intervention, on=on).logit_diff - clean).mean())
    return SelfRepair(direct, 1 - abs(total) / size, "")


def _reaches_last(prompts: Prompts, position: Position) -> bool:
    """Tell whether a position has the last token of any prompt."""
    return position != "slot" or prompts.ends_with_slot


def _heads_alone_move(model: LanguageModel) -> bool:
    """Tell whether nothing but heads takes anything from one token to another."""
    path = direct_path(model)
    plain = path.reason is None and not any(layer.others for layer in path.layers)
    return plain and len(model.head_layers) == model.n_layers


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of items that read direct effects of what they do to emotion prompts."""
    if _reaches_last(planned.prompts["emotion"], planned.profile.position):
        yield planned.runs("emotion", planned.firsts * planned.draws)
