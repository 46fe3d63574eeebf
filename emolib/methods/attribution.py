"""What every head moves: attribution patching, and the exact effects it is checked against.

Formulas: SCIENCE §3, after Kramár et al. (2403.00745).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from emolib.engine import hooked
from emolib.engine.batch_sizes import columns_of
from emolib.engine.costs import Planned, Runs
from emolib.engine.forwards import forward
from emolib.engine.gradients import gradients
from emolib.inputs.heads import Head, all_heads
from emolib.inputs.prompts import Side
from emolib.interventions import patch
from emolib.methods import metrics
from emolib.methods.scores import Table, to_numpy
from emolib.methods.study import Study
from emolib.models.encoding import Batch, Prompts
from emolib.stats.summary import split_half
from emolib.tracing import OwnTraceDict

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
    passes = _rows if study.batches.usable() else _hooked
    denoise, *path = passes(study, "neutral", [None, *MIDPOINTS])
    (noise,) = passes(study, "emotion", [None])
    return {
        "atp_denoise": to_numpy(denoise),
        "atp_noise": -to_numpy(noise),
        "atp_ig": to_numpy(torch.stack(path).mean(0)),
    }


def _rows(study: Study, side: Side, shares: Sequence[float | None]) -> list[Tensor]:
    """Return ``(z_emo − z_neu) · ∂LD/∂z`` of every head, ``[n_pairs, H]``, at points of a path.

    Args:
        study: The study.
        side: Whose prompts run.
        shares: Per point how far z at Q is moved from neutral to emotion; None for the clean run.
    """
    model, position = study.model, study.profile.position
    z_emo, z_neu = (study.activations(side).z for side in ("emotion", "neutral"))
    rows: list[list[Tensor]] = [[] for _ in shares]
    order: list[int] = []
    blocks, cleans = study.batches.clean(side, position)
    for clean in cleans:
        batch = clean.batch
        tokens = columns_of(batch, (), position)
        chosen = list(batch.rows)
        order += chosen
        emo, neu = ([z[chosen, -tokens:].flatten(-2) for z in side] for side in (z_emo, z_neu))
        change = [e - n for e, n in zip(emo, neu, strict=True)]
        values = [
            None if share is None else [n + share * d for n, d in zip(neu, change, strict=True)]
            for share in shares
        ]
        mask = batch.at(position)[:, -tokens:]
        found = gradients(blocks, clean, position, study.targets, values)
        for made, layers in zip(rows, found, strict=True):
            pairs = zip(change, layers, strict=True)
            made.append(torch.cat([_effect(mask, *pair, model.n_heads) for pair in pairs], dim=1))
    back = torch.tensor(order).argsort()
    return [torch.cat(made)[back] for made in rows]


def _hooked(study: Study, side: Side, shares: Sequence[float | None]) -> list[Tensor]:
    """Return what `_rows` does, of a model that runs whole."""
    z_emo, z_neu = (study.activations(side).z for side in ("emotion", "neutral"))
    change = [emo - neu for emo, neu in zip(z_emo, z_neu, strict=True)]
    mask = study.activations(side).batch.at(study.profile.position)
    found = []
    for share in shares:
        values = (
            None
            if share is None
            else [n + share * step for n, step in zip(z_neu, change, strict=True)]
        )
        layers = zip(change, _gradients(study, study.prompts(side), values), strict=True)
        effects = [_effect(mask, c.flatten(-2), g.flatten(-2), c.shape[2]) for c, g in layers]
        found.append(torch.cat(effects, dim=1))
    return found


def _effect(mask: Tensor, change: Tensor, gradient: Tensor, n_heads: int) -> Tensor:
    """Return ``Σ_Q change · gradient`` of each head, ``[B, n_heads]``, in float64."""
    moved = (change.double() * gradient.double()) * mask[..., None]
    return hooked.split_heads(moved, n_heads).sum((1, 3))


def rank(heads: Sequence[Head], scores: Table) -> list[Head]:
    """Return heads by the absolute mean of their scores ``[n_pairs, H]``, strongest first."""
    order = np.argsort(-np.abs(scores.mean(0)), kind="stable")
    return [heads[i] for i in order]


def ranking(study: Study) -> tuple[list[Head], float | None]:
    """Return the heads by |atp_ig|, as screening ranks them, and the ranking's reliability."""
    scores = attribution_scores(study)["atp_ig"]
    heads = all_heads(study.model.n_layers, study.model.n_heads)
    return rank(heads, scores), split_half(scores, seed=study.profile.seed)


def _gradients(
    study: Study, prompts: Prompts, values: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return ∂LD/∂z per layer, shape ``[n, seq, n_heads, d_head]``.

    Args:
        study: The model and its targets.
        prompts: What to run.
        values: Per layer the z to stand at Q. The value is replaced, the gradient still flows
            through what the model computed, so that indirect paths count.
    """
    model = study.model
    paths = {model.attn_out(layer): layer for layer in range(model.n_layers)}
    layers: list[list[Tensor]] = [[] for _ in paths]
    for batch in prompts.batches(study.batch_size, model.pad, model.device):
        mask = batch.at(study.profile.position)[..., None, None]
        rows = list(batch.rows)

        def probe(
            output: Tensor,
            path: str,
            inputs: tuple[Tensor, ...],
            mask: Tensor = mask,
            rows: list[int] = rows,
        ) -> tuple[Tensor, Tensor]:
            z = hooked.split_heads(inputs[0], model.n_heads)
            if values is not None:
                moved = values[paths[path]][rows] - z.detach()
                z = z + torch.where(mask, moved, torch.zeros_like(moved))
            leaf = torch.zeros_like(z, requires_grad=True)
            return leaf, model.module(path).forward((z + leaf).flatten(-2))

        found, _ = slopes(study, batch, list(paths), probe)
        for layer, gradient in enumerate(found):
            layers[layer].append(gradient)
    return [torch.cat(parts) for parts in layers]


Probe = Callable[[Tensor, str, tuple[Tensor, ...]], tuple[Tensor, Tensor]]
"""From a module's output, path and inputs to a leaf and the output made anew with the leaf in it.

Weights are frozen, so a zero that is added somewhere is the leaf that a gradient lands on.
"""


def slopes(
    study: Study, batch: Batch, paths: Sequence[str], probe: Probe, read: Sequence[str] = ()
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the gradient of ``logit_diff``, summed over prompts, at leaves put into the model.

    Args:
        study: The model and its targets.
        batch: What to run.
        paths: The modules with a leaf.
        probe: Puts it there.
        read: Modules whose input is wanted too.

    Returns:
        (Per path the gradient at its leaf; per module of `read` what went in.)
    """
    model = study.model
    leaves: dict[str, Tensor] = {}

    def edit_output(output: Tensor, layer: str, inputs: tuple[Tensor, ...]) -> Tensor:
        leaves[layer], output = probe(output, layer, inputs)
        return output

    traces = OwnTraceDict(
        model.hf,
        [*paths, *read],
        retain_output=False,
        retain_input=dict.fromkeys(read, True),
        edit_output=dict.fromkeys(paths, edit_output),
    )
    with torch.enable_grad(), traces as traced:
        logits = forward(model, batch).logits[:, -1]
        diff = metrics.logit_diff(logits, *study.targets).sum()
        found = torch.autograd.grad(diff, [leaves[path] for path in paths])
    return list(found), {path: traced[path].input.detach() for path in read}


def verify(study: Study, ranking: Sequence[Head]) -> dict[Head, tuple[float, float]]:
    """Return the exact patch effects of the top heads and of as many random other ones.

    Args:
        study: The study; its profile's `verify` is the number of top heads.
        ranking: Heads, strongest first.

    Returns:
        Per head the mean effect on ``logit_diff``: (denoise, noise), in logits.
    """
    count = study.profile.verify
    top, others = list(ranking[:count]), sorted(ranking[count:])
    draw = random.Random(study.profile.seed)
    chosen = top + sorted(draw.sample(others, min(count, len(others))))
    sources = {side: study.activations(side) for side in ("emotion", "neutral")}
    neutral, emotion = study.run(on="neutral"), study.run(on="emotion")
    effects = {}
    for head in chosen:
        denoise = study.run(patch(head, sources["emotion"]), on="neutral").logit_diff
        noise = study.run(patch(head, sources["neutral"]), on="emotion").logit_diff
        effects[head] = (
            float((denoise - neutral.logit_diff).mean()),
            float((noise - emotion.logit_diff).mean()),
        )
    return effects


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `attribution_scores`: the gradient at the clean runs and along the path."""
    yield planned.runs("neutral", (0,) * (1 + len(MIDPOINTS)), backward=True)
    yield planned.runs("emotion", (0,), backward=True)


def verify_costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `verify`: the top heads and as many others, patched both ways."""
    heads, count = planned.n_layers * planned.n_heads, planned.profile.verify
    chosen = min(count, heads) + min(count, max(0, heads - count))
    for side in planned.prompts:
        yield planned.runs(side, planned.spread(chosen))
