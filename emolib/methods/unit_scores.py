"""UnitTable of every MLP unit on aligned pairs, from one forward and backward per side of a batch.

Formulas: docs/science.md, "Units"; attribution patching after Kramár et al.
(2403.00745), direct logit attribution as in Wang et al. (2211.00593).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib.engine.costs import CLEAN, Planned, Runs
from emolib.engine.direct_path import direct_path
from emolib.engine.hooked import by_prompt, read, slopes
from emolib.errors import InputError
from emolib.inputs.prompts import Side
from emolib.inputs.units import Unit, UnitSet
from emolib.methods.direct_effects import adds_up, target_direction, unit_posts
from emolib.methods.frozen_norms import frozen_norms, norm_paths
from emolib.methods.study import Study
from emolib.models.encoding import Batch
from emolib.stats.summary import split_half

UnitTable = NDArray[np.float32]
"""A score of every unit on every pair, ``[n_pairs, U]``."""
NAMES = ("delta_act", "dla", "atp_denoise", "atp_noise")


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
            ``atp_noise`` (logits). ``dla`` is not there where it cannot be had of the model.
        seed: Of the splits of a ranking's reliability.
        no_dla: Why there is no ``dla``, None where there is.
    """

    n_units: int
    pairs: dict[str, UnitTable]
    seed: int = 0
    no_dla: str | None = None

    @cached_property
    def atp(self) -> UnitTable:
        """``(a_emo − a_neu) · ∂LD/∂a``, the gradient averaged over both runs, ``[n_pairs, U]``.

        That is attribution patching along the straight path by the trapezoid rule.
        """
        both = self.pairs["atp_denoise"] - self.pairs["atp_noise"]
        return np.asarray(both / 2, dtype=np.float32)

    def ranking(self, rows: NDArray[np.int64] | None = None) -> UnitRanking:
        """Return the units by |atp|, averaged over all pairs or over some."""
        atp = self.atp if rows is None else self.atp[rows]
        order = np.argsort(-np.abs(atp.mean(0)), kind="stable")
        return UnitRanking(self.n_units, order, split_half(atp, seed=self.seed))

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
    model, pairs = study.model, study.pairs
    sides = (pairs.emotion, pairs.neutral)
    batches = [side.batches(study.batch_size, model.pad, model.device) for side in sides]
    no_dla = adds_up(study).reason
    names = [name for name in NAMES if name != "dla" or no_dla is None]
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    for emotion, neutral in zip(*batches, strict=True):
        layers = list(_scores_of_layers(study, emotion, neutral, has_dla=no_dla is None))
        for name in names:
            rows[name].append(torch.cat([scores[name].float() for scores in layers], dim=1).cpu())
    tables = {name: torch.cat(parts).numpy() for name, parts in rows.items()}
    return UnitScores(model.n_units, tables, study.profile.seed, no_dla)


def _scores_of_layers(
    study: Study, emotion: Batch, neutral: Batch, *, has_dla: bool
) -> Iterator[dict[str, Tensor]]:
    """Yield the scores of each layer's units on a batch of pairs, ``[batch, n_units]`` each."""
    model = study.model
    mask = neutral.at(study.profile.position)
    # Of all other positions nothing is kept: units are many.
    columns = mask.any(0)
    paths = [model.mlp_out(layer) for layer in range(model.n_layers)]
    posts = unit_posts(model)
    norms = norm_paths(model, posts) if has_dla else []
    slope_emo, read = _slopes(study, emotion, paths, norms)
    a_emo = [_wide(by_prompt(read[path], emotion)[:, columns]) for path in paths]
    last = [_wide(by_prompt(read[path], emotion)[:, -1]) for path in paths]
    into = {path: by_prompt(read[path], emotion)[:, -1] for path in norms}
    through = frozen_norms(model, posts, into) if has_dla else []
    slope_neu, read = _slopes(study, neutral, paths, ())
    a_neu = [_wide(by_prompt(read[path], neutral)[:, columns]) for path in paths]
    unembed, factors = target_direction(model, study.targets), direct_path(model)
    counted = _wide(mask[:, columns].to(model.hf.dtype))
    for layer in range(model.n_layers):
        w_out = _wide(model.w_out(layer))
        change = (a_emo[layer] - a_neu[layer]) * counted[..., None]
        direct = {}
        if has_dla:
            read_there = factors.mlp(layer) * through[layer].back(unembed)
            direct["dla"] = last[layer] * (read_there.to(w_out) @ w_out.T)
        gradients = [slope[layer][:, columns] @ w_out.T for slope in (slope_neu, slope_emo)]
        yield {
            "delta_act": change.sum(1) / counted.sum(1, keepdim=True),
            **direct,
            "atp_denoise": (change * gradients[0]).sum(1),
            "atp_noise": -(change * gradients[1]).sum(1),
        }


def _slopes(
    study: Study, batch: Batch, paths: Sequence[str], norms: Sequence[str]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return ∂LD/∂(MLP output) per layer, ``[batch, seq, d_model]``, and what went into modules.

    The down-projection is linear: the gradient at its units is ``W_out`` times that.
    """

    def probe(output: Tensor, path: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        leaf = torch.zeros_like(output, requires_grad=True)
        return leaf, output + leaf

    gradients, read = slopes(study.model, batch, study.logit_diff, paths, probe, [*paths, *norms])
    return [_wide(by_prompt(gradient, batch)) for gradient in gradients], read


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
    """Yield the runs of `unit_scores`: each side forward and backward through the whole model."""
    for prompts in planned.prompts.values():
        yield Runs(prompts, "all", (CLEAN,), backward=True)


def activity_costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `activity`: each side once."""
    yield from planned.clean()
