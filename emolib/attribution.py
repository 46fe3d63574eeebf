"""What every head moves: attribution patching, and the exact effects it is checked against.

Formulas: SCIENCE §3, after Kramár et al. (2403.00745).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from emolib import engine, metrics
from emolib.encoding import Batch, Prompts
from emolib.forwards import forward
from emolib.heads import Head, all_heads
from emolib.interventions import patch
from emolib.runs import Study
from emolib.scores import Table, to_numpy
from emolib.stats import split_half
from emolib.tracing import OwnTraceDict

IG_STEPS = 5


def attribution_scores(study: Study) -> dict[str, Table]:
    """Return attribution patching of every head: first-order estimates of the patch effects.

    ``atp_denoise = (z_emo − z_neu) · ∂LD/∂z`` at the neutral run, ``atp_noise`` its counterpart
    ``(z_neu − z_emo) · ∂LD/∂z`` at the emotion run; ``atp_ig`` averages the gradient over 5
    midpoints of the straight path that moves z at Q of all heads from neutral to emotion.

    Returns:
        Each of shape ``[n_pairs, H]``, in logits.
    """
    pairs = study.pairs
    z_emo, z_neu = study.activations("emotion").z, study.activations("neutral").z
    change = [emo - neu for emo, neu in zip(z_emo, z_neu, strict=True)]

    def effect(gradients: list[Tensor]) -> Tensor:
        mask = study.activations("neutral").batch.at(study.profile.position)
        layers = [
            torch.einsum("bt,bthd,bthd->bh", mask.double(), step.double(), gradient.double())
            for step, gradient in zip(change, gradients, strict=True)
        ]
        return torch.cat(layers, dim=1)

    midpoints = [(k + 0.5) / IG_STEPS for k in range(IG_STEPS)]
    path = [
        effect(
            _gradients(
                study, pairs.neutral, [n + a * d for n, d in zip(z_neu, change, strict=True)]
            )
        )
        for a in midpoints
    ]
    return {
        "atp_denoise": to_numpy(effect(_gradients(study, pairs.neutral))),
        "atp_noise": -to_numpy(effect(_gradients(study, pairs.emotion))),
        "atp_ig": to_numpy(torch.stack(path).mean(0)),
    }


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
            z = engine.split_heads(inputs[0], model.n_heads)
            if values is not None:
                moved = values[paths[path]][rows] - z.detach()
                z = z + torch.where(mask, moved, torch.zeros_like(moved))
            leaf = torch.zeros_like(z, requires_grad=True)
            return leaf, model.module(path).forward((z + leaf).flatten(-2))

        gradients, _ = slopes(study, batch, list(paths), probe)
        for layer, gradient in enumerate(gradients):
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
        gradients = torch.autograd.grad(diff, [leaves[path] for path in paths])
    return list(gradients), {path: traced[path].input.detach() for path in read}


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
