"""Screening of MLP units: the strongest by attribution, confirmed by exact ablation.

With tens of thousands of units the strongest of a ranking are partly the luckiest. So each half of
the templates selects units whose ablation is then measured on the other half (docs/science.md,
"Units").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emolib.engine.costs import Planned, Runs
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import Intervention, mean, zero
from emolib.methods.scores import Vector
from emolib.methods.study import Study
from emolib.methods.unit_effects import (
    SCORES,
    Patched,
    exact_costs,
    exact_effects,
    halves_of,
    to_compare,
)
from emolib.methods.unit_scores import (
    UnitRanking,
    UnitScores,
    activity,
    activity_costs,
    matched,
    unit_scores,
)
from emolib.stats.summary import two_halves, unreliable

LISTED, CONFIRMED = 50, 20
UnitAblation = Literal["zero", "mean"]
KINDS: tuple[UnitAblation, ...] = ("zero", "mean")
Entry = dict[str, Any]
"""A row as `record` takes it: numbers, None, texts, vectors ``[n_pairs]``."""


@dataclass(frozen=True)
class HeldOut:
    """The top units of one half of the templates and their random counterparts, ablated together.

    Attributes:
        rows: The pairs of the other half, on which the ablation is measured.
        top: The units that this half ranks first.
        random: As many units of the same layers, about as active.
    """

    rows: NDArray[np.int64]
    top: UnitSet
    random: UnitSet


@dataclass(frozen=True)
class UnitScreening:
    """What unit screening has to say, as rows: of some fifty thousand units the strongest.

    Attributes:
        top: The scores of the strongest units by |atp|, a row each.
        layers: A summary of all units of each layer, a row each.
        confirmation: Per kind of ablation the top units beside random ones, on held-out pairs.
        ranking: All units by |atp|.
    """

    top: tuple[Entry, ...]
    layers: tuple[Entry, ...]
    confirmation: tuple[Entry, ...]
    ranking: UnitRanking


def screen_units(study: Study) -> UnitScreening:
    """Return the scores of every unit, with the strongest ones confirmed by exact ablation.

    Raises:
        InputError: When the study has free prompts in place of pairs.
    """
    scores = unit_scores(study)
    ranking = scores.ranking()
    top, folds = ranking.top(CONFIRMED), tuple(_folds(study, scores))
    # One reading for all: each is a run of its own.
    others = [unit for fold in folds for unit in (*fold.top, *fold.random)]
    compared = to_compare(scores)
    read = UnitSet(tuple(dict.fromkeys((*top, *others, *compared))))
    reference = study.reference_of(read)
    patched = Patched(exact_effects(study, compared, read), scores, halves_of(study))

    def ablated(kind: UnitAblation, units: Unit | UnitSet) -> Intervention:
        return zero(units) if kind == "zero" else mean(units, reference)

    def effect(kind: UnitAblation, units: Unit | UnitSet) -> Vector:
        return study.run(ablated(kind, units)).logit_diff - study.run().logit_diff

    together = [units for fold in folds for units in (fold.top, fold.random)]
    edited: list[Unit | UnitSet] = [*top, *together]
    study.expect([ablated(kind, units) for kind in KINDS for units in edited])
    alone = {unit: {kind: effect(kind, unit) for kind in KINDS} for unit in top}
    joint: dict[UnitAblation, dict[str, Vector]] = {}
    for kind in KINDS if folds else ():
        joint[kind] = {name: np.zeros(len(study.pairs)) for name in ("top", "random")}
        for fold in folds:
            joint[kind]["top"][fold.rows] = effect(kind, fold.top)[fold.rows]
            joint[kind]["random"][fold.rows] = effect(kind, fold.random)[fold.rows]
    return UnitScreening(
        tuple(_top(scores, ranking, alone, folds, patched)),
        tuple(_layers(scores, ranking)),
        tuple(_confirmation(joint, folds)),
        ranking,
    )


def _folds(study: Study, scores: UnitScores) -> Iterator[HeldOut]:
    halves = halves_of(study)
    if len(set(halves.tolist())) < 2:
        return
    active, seed = activity(study), study.profile.seed
    # Of a small model the top units must leave others of their layer to compare with.
    count = min(CONFIRMED, scores.n_units // 2)
    for half in (0, 1):
        selecting, held_out = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
        top = UnitSet(tuple(scores.ranking(selecting).top(count)))
        yield HeldOut(held_out, top, matched(top, active, seed=seed))


def _top(
    scores: UnitScores,
    ranking: UnitRanking,
    alone: Mapping[Unit, Mapping[UnitAblation, Vector]],
    folds: Sequence[HeldOut],
    patched: Patched,
) -> Iterator[Entry]:
    """Yield the scores of the strongest units, one row each.

    ``patch_effect`` is what ``atp`` and ``relp`` estimate, exactly; ``atp_correlation`` and
    ``relp_correlation`` say how well they rank units by it (`Patched.correlation`).

    ``rank`` is None where the ranking's reliability is below 0.8; a text, ``ranking``, then says
    so. ``zero_effect`` and ``mean_effect`` are of ablating the unit alone; ``held_out_zero`` and
    ``held_out_mean`` their means over the pairs that took no part in selecting the unit, None
    where neither half selected it; ``selected_by`` counts the halves that did.
    """
    doubt = unreliable(ranking.reliability)
    change = scores.pairs["delta_act"]
    agreement = {f"{name}_correlation": patched.correlation(name) for name in SCORES}
    for rank, unit in enumerate(ranking.top(LISTED), start=1):
        place, atp = scores.place(unit), scores.atp[:, scores.place(unit)]
        effects = alone.get(unit, {})
        rows = [fold.rows for fold in folds if unit in fold.top.units]
        row: Entry = {"unit": str(unit)} | ({"ranking": doubt} if doubt else {})
        # A vector has its interval in the table, which is for those that were ablated.
        row["atp"] = atp if effects else float(atp.mean())
        row["relp"] = None if scores.relp is None else float(scores.relp[:, place].mean())
        row["patch_effect"] = patched.effects.get(unit)
        row["rank"] = None if doubt else rank
        row |= {f"{kind}_effect": effects.get(kind) for kind in KINDS}
        for kind in KINDS:
            held_out = [effects[kind][chosen] for chosen in rows] if effects else []
            row[f"held_out_{kind}"] = float(np.concatenate(held_out).mean()) if held_out else None
        row["selected_by"] = len(rows)
        row["delta_act"] = float(change[:, place].mean())
        row["act_d_z"] = d_z(change[:, place])
        row |= {f"why_no_{name}": why for name, why in scores.lacking.items()}
        for name in ("dla", "atp_denoise", "atp_noise"):
            table = scores.pairs.get(name)
            row[name] = None if table is None else float(table[:, place].mean())
        yield row | {"reliability": ranking.reliability} | agreement


def _layers(scores: UnitScores, ranking: UnitRanking) -> Iterator[Entry]:
    """Yield a summary of the scores, averaged over pairs, of all units of each layer."""
    averages = {name: table.mean(0, dtype=float) for name, table in scores.pairs.items()}
    averages["atp"] = scores.atp.mean(0, dtype=float)
    if scores.relp is not None:
        averages["relp"] = scores.relp.mean(0, dtype=float)
    by_layer = {name: values.reshape(-1, scores.n_units) for name, values in averages.items()}
    layer_of_top = ranking.order[:LISTED] // scores.n_units
    for layer, atp in enumerate(by_layer["atp"]):
        strongest = np.sort(np.abs(atp))[::-1]
        yield {
            "layer": f"L{layer}",
            "sum_abs_atp": float(strongest.sum()),
            "max_abs_atp": float(strongest[0]),
            # How few units make half of the layer's total.
            "units_for_half": int((strongest.cumsum() < strongest.sum() / 2).sum()) + 1,
            "units_in_top": int((layer_of_top == layer).sum()),
            "sum_atp": float(atp.sum()),
            "sum_relp": float(by_layer["relp"][layer].sum()) if "relp" in by_layer else None,
            "sum_dla": float(by_layer["dla"][layer].sum()) if "dla" in by_layer else None,
            "mean_abs_delta_act": float(np.abs(by_layer["delta_act"][layer]).mean()),
            "n_units": scores.n_units,
        }


def _confirmation(
    joint: Mapping[UnitAblation, Mapping[str, Vector]], folds: Sequence[HeldOut]
) -> Iterator[Entry]:
    """Yield a row per kind of ablation: the top units beside random ones, on held-out pairs.

    ``top_effect`` and ``random_effect`` are of ablating the units together, each pair with those
    that the other half of the templates selected: ``top_units`` and ``random_units`` name them.
    """
    for kind, effect in joint.items():
        named = {name: [""] * len(effect["top"]) for name in ("top", "random")}
        for fold in folds:
            for row in fold.rows:
                named["top"][row], named["random"][row] = str(fold.top), str(fold.random)
        yield {
            "kind": kind,
            "top_effect": effect["top"],
            "random_effect": effect["random"],
            "difference": effect["top"] - effect["random"],
            "n_units": len(folds[0].top),
            "in_both_halves": len(set(folds[0].top) & set(folds[1].top)),
            "top_units": named["top"],
            "random_units": named["random"],
        }


def d_z(values: NDArray[np.float32]) -> float | None:
    """Return mean over SD, None where the SD is that of float noise."""
    x = values.astype(float)
    sd = float(x.std(ddof=1)) if len(x) > 1 else 0.0
    return float(x.mean()) / sd if sd > 1e-6 * max(1.0, abs(float(x.mean()))) else None


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `screen_units`, but for those of the scores, which others share.

    The activations of `mean` and `patch`; the top units ablated alone; those that scores are
    compared on patched both ways, at most so many; and, where the templates are of two halves,
    those of each half together and their random counterparts, which sets are taken to reach into
    the first layer.
    """
    yield from planned.clean()
    units = planned.n_layers * planned.n_units
    alone = planned.spread(min(CONFIRMED, units))
    yield from exact_costs(planned)
    together: list[int] = []
    halves = two_halves(len(planned.prompts["emotion"]), planned.prompts["emotion"].clusters)
    if len(set(halves.tolist())) == 2:
        yield from activity_costs(planned)
        together = [0] * 2 * len(("top", "random"))
    yield planned.runs("emotion", len(KINDS) * [*alone, *together])
