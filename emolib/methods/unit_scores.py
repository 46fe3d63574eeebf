"""UnitTable of every MLP unit on aligned pairs, from a forward and backward or two per side.

Formulas: docs/science.md, "Units"; attribution patching after Kramár et al. (2403.00745), relevance
after RelP (2508.21258), direct logit attribution as in Wang et al. (2211.00593).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib.engine.costs import Planned, Runs
from emolib.engine.direct_path import direct_path
from emolib.engine.gradients import UnitSlopes
from emolib.engine.hooked import by_prompt, read
from emolib.errors import InputError
from emolib.inputs.prompts import Side
from emolib.inputs.units import Unit, UnitSet
from emolib.methods.direct_effects import adds_up, target_direction, unit_posts
from emolib.methods.frozen_norms import frozen_norms, norm_paths
from emolib.methods.study import Study
from emolib.stats.summary import split_half

UnitTable = NDArray[np.float32]
"""A score of every unit on every pair, ``[n_pairs, U]``."""
NAMES = ("delta_act", "dla", "atp_denoise", "atp_noise", "relp")


@dataclass(frozen=True)
class UnitRanking:
    """All units by the absolute mean of their scores, strongest first.

    Attributes:
        n_units: Units per layer.
        order: Places of the units among all, layer by layer, shape ``[U]``.
        reliability: Split-half reliability of the ranking, or None.
    """

    n_units: int
    order: NDArray[np.int64]
    reliability: float | None

    def unit(self, rank: int) -> Unit:
        """Return the unit of a rank, from 1."""
        return Unit(*divmod(int(self.order[rank - 1]), self.n_units))

    def top(self, count: int) -> list[Unit]:
        """Return the strongest units, all where there are fewer."""
        return [self.unit(rank) for rank in range(1, min(count, len(self.order)) + 1)]


@dataclass(frozen=True)
class UnitScores:
    """UnitTable of every unit, U in all: layer by layer, `n_units` each.

    Attributes:
        n_units: Units per layer.
        pairs: Per score the value of each pair and unit, shape ``[n_pairs, U]``, in float32:
            ``delta_act`` (activation on emotion less neutral at Q), ``dla``, ``atp_denoise``,
            ``atp_noise``, ``relp`` (logits). ``dla`` and ``relp`` are not there where they cannot
            be had of the model.
        seed: Of the splits of a ranking's reliability.
        lacking: By score that is not there why.
    """

    n_units: int
    pairs: dict[str, UnitTable]
    seed: int = 0
    lacking: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def atp(self) -> UnitTable:
        """``(a_emo − a_neu) · ∂LD/∂a``, the gradient averaged over both runs, ``[n_pairs, U]``.

        That is attribution patching along the straight path by the trapezoid rule.
        """
        both = self.pairs["atp_denoise"] - self.pairs["atp_noise"]
        return np.asarray(both / 2, dtype=np.float32)

    @property
    def relp(self) -> UnitTable | None:
        """`atp` with relevance in place of the gradient, ``[n_pairs, U]``; None without."""
        return self.pairs.get("relp")

    def ranking(self, rows: NDArray[np.int64] | None = None) -> UnitRanking:
        """Return the units by |atp|, averaged over all pairs or over some."""
        atp = self.atp if rows is None else self.atp[rows]
        order = np.argsort(-np.abs(atp.mean(0)), kind="stable")
        return UnitRanking(self.n_units, order, split_half(atp, seed=self.seed))

    def unit(self, place: int) -> Unit:
        """Return the unit that stands at a place among all."""
        return Unit(*divmod(place, self.n_units))

    def place(self, unit: Unit) -> int:
        """Return where a unit stands among all."""
        return unit.layer * self.n_units + unit.index


def unit_scores(study: Study) -> UnitScores:
    """Return the scores of every unit of a model on one emotion's aligned pairs.

    Q is the profile's position setting; ``dla`` is read at the last token of the emotion run,
    with the norms' scales frozen there and every scale on the way counted.

    Raises:
        InputError: When the study has free prompts in place of pairs.
    """
    model, position = study.model, study.profile.position
    whys = {"dla": adds_up(study).reason, "relp": study.runner.why_no_relevance}
    lacking = {name: why for name, why in whys.items() if why is not None}
    names = [name for name in NAMES if name not in lacking]
    shape = len(study.pairs), model.n_layers * model.n_units
    tables = {name: np.zeros(shape, np.float32) for name in names}
    read_there = None if "dla" in lacking else _read_there(study)
    sides = [
        study.runner.unit_gradients(side, position, study.objective) for side in get_args(Side)
    ]
    for (batch, emotion), (_, neutral) in zip(*sides, strict=True):
        rows, tokens = list(batch.rows), emotion[0].units.shape[1]
        counted = batch.at(position)[:, -tokens:]
        for layer, pair in enumerate(zip(emotion, neutral, strict=True)):
            direct = None
            if read_there is not None:
                w_out = _wide(model.w_out(layer))
                direct = read_there[layer][rows].to(w_out) @ w_out.T
            units = slice(layer * model.n_units, (layer + 1) * model.n_units)
            scored = _scores_of(*pair, counted, direct)
            for name in names:
                values = scored[name]
                tables[name][rows, units] = values.float().cpu().numpy()
    return UnitScores(model.n_units, tables, study.profile.seed, lacking)


def _read_there(study: Study) -> list[Tensor]:
    """Return per layer the direction that the metric reads of an MLP's output, ``[n, d_model]``."""
    model, posts = study.model, unit_posts(study.model)
    into = study.runner.inputs_at_last("emotion", norm_paths(model, posts))
    unembed, factors = target_direction(model, study.targets), direct_path(model)
    through = frozen_norms(model, posts, into)
    return [factors.mlp(layer) * norms.back(unembed) for layer, norms in enumerate(through)]


def _scores_of(
    emotion: UnitSlopes, neutral: UnitSlopes, mask: Tensor, direct: Tensor | None
) -> dict[str, Tensor]:
    """Return the scores of one layer's units on some pairs, ``[B, n_units]`` each.

    Args:
        emotion: Activations on the emotion prompts and what leads back to them there.
        neutral: The same on the neutral prompts.
        mask: Where of the S columns Q is, ``[B, S]``.
        direct: What an activation of 1 at the last token adds to the metric directly; None where
            that is not known.
    """
    a_emo, a_neu = _wide(emotion.units), _wide(neutral.units)
    counted = mask.to(a_emo)
    change = (a_emo - a_neu) * counted[..., None]
    found = {
        "delta_act": change.sum(1) / counted.sum(1, keepdim=True),
        "atp_denoise": (change * _wide(neutral.gradient)).sum(1),
        "atp_noise": -(change * _wide(emotion.gradient)).sum(1),
    }
    if direct is not None:
        found["dla"] = a_emo[:, -1] * direct
    if emotion.relevance is not None and neutral.relevance is not None:
        both = _wide(neutral.relevance) + _wide(emotion.relevance)
        found["relp"] = (change * both).sum(1) / 2
    return found


def _wide(values: Tensor) -> Tensor:
    """Return values in float32, or float64 as they are: half precision loses small products."""
    return values if values.dtype == torch.float64 else values.float()


@torch.no_grad()
def activity(study: Study) -> NDArray[np.float64]:
    """Return mean |a| of every unit at Q over both sides' prompts, shape ``[layers, n_units]``."""
    model = study.model
    paths = [model.mlp_out(layer) for layer in range(model.n_layers)]
    total, count = torch.zeros(model.n_layers, model.n_units, dtype=torch.float64), 0
    sides = [study.prompts(side) for side in get_args(Side)]
    found = (read(model, side, paths, batch_size=study.batch_size) for side in sides)
    for batch, inputs in chain.from_iterable(found):
        mask = batch.at(study.profile.position)
        for layer, path in enumerate(paths):
            a = by_prompt(inputs[path], batch)[mask]
            total[layer] += a.abs().double().sum(0).cpu()
        count += int(mask.sum())
    return (total / count).numpy()


def matched(
    units: UnitSet, activity: NDArray[np.float64], *, seed: int = 0, nearest: int = 10
) -> UnitSet:
    """Return as many random units of the same layers that are about as active: the control.

    For each unit one is drawn among the units of its layer whose mean |a| is nearest to its own.

    Args:
        units: The units to match, none of which is drawn.
        activity: Mean |a| per unit, shape ``[layers, n_units]``.
        seed: The same seed draws the same units.
        nearest: How many to draw from.

    Raises:
        InputError: When a layer has too few other units.
    """
    rng = np.random.default_rng([seed, *(number for u in units for number in (u.layer, u.index))])
    drawn: list[Unit] = []
    for unit in units:
        row = activity[unit.layer]
        taken = [u.index for u in (*units, *drawn) if u.layer == unit.layer]
        distance = np.abs(row - row[unit.index])
        distance[taken] = np.inf
        free = int(np.isfinite(distance).sum())
        if not free:
            raise InputError(
                f"no random unit of layer {unit.layer} is left to compare with: the set has more "
                f"than half of its {len(row)} units; name fewer"
            )
        choice = np.argsort(distance, kind="stable")[: min(nearest, free)]
        drawn.append(Unit(unit.layer, int(rng.choice(choice))))
    return UnitSet(tuple(drawn))


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `unit_scores`: each side twice forward and back, gradient and relevance."""
    for side in planned.prompts:
        yield planned.runs(side, (0, 0), backward=True)


def activity_costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `activity`: each side once."""
    yield from planned.clean()
