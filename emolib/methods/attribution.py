"""What every head moves: attribution patching, and the exact effects it is checked against.

Formulas: docs/science.md, "Attribution patching", after Kramár et al. (2403.00745).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from emolib.engine.costs import Planned, Runs
from emolib.engine.gradients import At
from emolib.engine.hooked import split_heads
from emolib.inputs.heads import Head
from emolib.inputs.profiles import Profile
from emolib.inputs.prompts import Side
from emolib.interventions import patch
from emolib.methods.scores import Table, to_numpy
from emolib.methods.study import Study
from emolib.models.encoding import Batch
from emolib.stats.missed import drawn_for
from emolib.stats.summary import split_half

MIDPOINTS = tuple((k + 0.5) / 5 for k in range(5))
"""Points of the path from neutral to emotion at which ``atp_ig`` takes the gradient."""


def attribution_scores(study: Study) -> dict[str, Table]:
    """Return attribution patching of every head: first-order estimates of the patch effects.

    ``atp_denoise = (z_emo − z_neu) · ∂LD/∂z`` at the neutral run, ``atp_noise`` its counterpart
    ``(z_neu − z_emo) · ∂LD/∂z`` at the emotion run; ``atp_ig`` averages the gradient over 5
    midpoints of the straight path that moves z at Q of all heads from neutral to emotion.

    Returns:
        Each of shape ``[n_pairs, H]``, in logits.
    """
    denoise, *path = _moved_by(study, "neutral", [None, *MIDPOINTS])
    (noise,) = _moved_by(study, "emotion", [None])
    return {
        "atp_denoise": to_numpy(denoise),
        "atp_noise": -to_numpy(noise),
        "atp_ig": to_numpy(torch.stack(path).mean(0)),
    }


def _moved_by(study: Study, side: Side, shares: Sequence[float | None]) -> list[Tensor]:
    """Return ``(z_emo − z_neu) · ∂LD/∂z`` of every head, ``[n_pairs, H]``, at points of a path.

    Args:
        study: The study.
        side: Whose prompts run.
        shares: Per point how far z at Q is moved from neutral to emotion; None for the clean run.
    """
    position = study.profile.position
    z_emo, z_neu = (study.activations(side).z for side in ("emotion", "neutral"))

    def between(batch: Batch, tokens: int, layer: int) -> tuple[Tensor, Tensor]:
        """Return z of neutral and the way from there to emotion, ``[B, S, H * d_head]``."""
        chosen = list(batch.rows)
        emo, neu = (z.last(layer, tokens)[chosen].flatten(-2) for z in (z_emo, z_neu))
        return neu, emo - neu

    def points(batch: Batch, tokens: int) -> list[At | None]:
        def at(share: float, layer: int) -> Tensor:
            neu, change = between(batch, tokens, layer)
            return neu + share * change

        return [None if share is None else partial(at, share) for share in shares]

    rows: list[list[Tensor]] = [[] for _ in shares]
    order: list[int] = []
    for batch, found in study.runner.gradients(side, position, study.objective, points):
        order += batch.rows
        tokens = found[0][0].shape[1]
        mask = batch.at(position)[:, -tokens:]
        effects: list[list[Tensor]] = [[] for _ in shares]
        for layer in study.model.head_layers:
            _, change = between(batch, tokens, layer)
            for made, by_layer in zip(effects, found, strict=True):
                made.append(_effect(mask, change, by_layer[layer], study.model.n_heads))
        for made, parts in zip(rows, effects, strict=True):
            made.append(torch.cat(parts, dim=1))
    back = torch.tensor(order).argsort()
    return [torch.cat(made)[back] for made in rows]


def _effect(mask: Tensor, change: Tensor, gradient: Tensor, n_heads: int) -> Tensor:
    """Return ``Σ_Q change · gradient`` of each head, ``[B, n_heads]``, in float64."""
    moved = (change.double() * gradient.double()) * mask[..., None]
    return split_heads(moved, n_heads).sum((1, 3))


def rank(heads: Sequence[Head], scores: Table) -> list[Head]:
    """Return heads by the absolute mean of their scores ``[n_pairs, H]``, strongest first."""
    order = np.argsort(-np.abs(scores.mean(0)), kind="stable")
    return [heads[i] for i in order]


def ranking(study: Study) -> tuple[list[Head], float | None]:
    """Return the heads by |atp_ig|, as screening ranks them, and the ranking's reliability."""
    scores = attribution_scores(study)["atp_ig"]
    return rank(study.model.heads, scores), split_half(scores, seed=study.profile.seed)


def to_verify(
    ranking: Sequence[Head], profile: Profile, drawn: int | None = None
) -> tuple[list[Head], list[Head]]:
    """Return the heads whose effects are computed exactly: the top ones, and random others.

    Args:
        ranking: Heads, strongest first.
        profile: Its `verify` is the number of top heads, or ``all``; its seed draws the others.
        drawn: How many others, at most all; so many by default that at most a tenth of the others
            is left open (`emolib.stats.missed.drawn_for`), and none without top ones.
    """
    top, others = _how_many(len(ranking), profile)
    others = others if drawn is None else min(drawn, len(ranking) - top)
    rest = sorted(ranking[top:])
    return list(ranking[:top]), sorted(random.Random(profile.seed).sample(rest, others))


def _how_many(heads: int, profile: Profile) -> tuple[int, int]:
    top = min(profile.strongest, heads)
    if profile.verify == "all":
        return top, heads - top
    return top, drawn_for(heads - top) if top else 0


def verify(study: Study, heads: Sequence[Head]) -> dict[Head, tuple[float, float]]:
    """Return the exact patch effects of heads.

    Args:
        study: The study.
        heads: The heads, of which each is patched alone.

    Returns:
        Per head the mean effect on ``logit_diff``: (denoise, noise), in logits.
    """
    sources = {side: study.activations(side) for side in ("emotion", "neutral")}
    neutral, emotion = study.run(on="neutral"), study.run(on="emotion")
    study.expect([patch(head, sources["emotion"]) for head in heads], on="neutral")
    study.expect([patch(head, sources["neutral"]) for head in heads], on="emotion")
    denoised = {
        head: study.run(patch(head, sources["emotion"]), on="neutral").logit_diff for head in heads
    }
    effects = {}
    for head in heads:
        noise = study.run(patch(head, sources["neutral"]), on="emotion").logit_diff
        effects[head] = (
            float((denoised[head] - neutral.logit_diff).mean()),
            float((noise - emotion.logit_diff).mean()),
        )
    return effects


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `attribution_scores`: the gradient at the clean runs and along the path."""
    yield planned.runs("neutral", (0,) * (1 + len(MIDPOINTS)), backward=True)
    yield planned.runs("emotion", (0,), backward=True)


def verify_costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `verify`: the top heads and the random others, patched both ways."""
    chosen = sum(_how_many(planned.n_layers * planned.n_heads, planned.profile))
    for side in planned.prompts:
        yield planned.runs(side, planned.spread(chosen))
