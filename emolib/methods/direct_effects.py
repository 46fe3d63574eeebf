"""Direct effects on the logits: what reaches them of what a part writes, with norms frozen.

Between the stream and the logits stand the factors of `emolib.engine.direct_path`, the norms, the
unembedding and its scale. Whether that is all is checked once for each model: embedding, heads,
biases, MLPs and what else layers add have to come to the logit difference. Where they do not,
there are no direct effects, and the reason stands in their place (docs/science.md, "Direct
effects").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from emolib.engine.direct_path import CLOSE, DirectPath, direct_path
from emolib.engine.forwards import forward
from emolib.engine.hooked import by_prompt, split_heads
from emolib.errors import InputError
from emolib.methods.frozen_norms import FrozenNorms, UnknownNorm, frozen_norms, kind_of
from emolib.methods.study import Study
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel
from emolib.models.structure import Seen, capped, observed

Targets = tuple[Tensor, Tensor]
"""Token ids T_emo and T_neu."""
CHECKED = 2
"""Prompts of each side on which the sum is checked."""


@dataclass(frozen=True)
class AddsUp:
    """Whether the parts of a model add up to a logit difference.

    Attributes:
        deviation: How far they are from it, relative to the largest part; None where they could
            not be had.
        reason: Why there are no direct effects, None where they add up.
    """

    deviation: float | None
    reason: str | None


_KNOWN: WeakKeyDictionary[LanguageModel, AddsUp] = WeakKeyDictionary()


def head_posts(model: LanguageModel) -> list[str | None]:
    """Return per layer the path of a norm on what its attention puts out, None without one."""
    having = model.head_layers
    return [model.post_attn_norm(i) if i in having else None for i in range(model.n_layers)]


def unit_posts(model: LanguageModel) -> list[str | None]:
    """Return per layer the path of a norm on what its MLP puts out, None without one."""
    having = model.unit_layers
    return [model.post_mlp_norm(i) if i in having else None for i in range(model.n_layers)]


def adds_up(study: Study) -> AddsUp:
    """Return whether the parts of a study's model add up to its logit difference.

    It is checked once for a model, as it was loaded, on a few prompts of both sides.
    """
    model, sides = study.model, (study.prompts("emotion"), study.prompts("neutral"))
    if model not in _KNOWN:
        try:
            with model.as_loaded.lifted("the sum of its direct effects"):
                _KNOWN[model] = check_sum(model, sides, study.targets)
        except InputError:
            # Changed for good: what holds now is not to be kept.
            return check_sum(model, sides, study.targets)
    return _KNOWN[model]


def target_direction(model: LanguageModel, targets: Targets) -> Tensor:
    """Return what a stream is read with: mean W_U[T_emo] − mean W_U[T_neu], scaled, ``[d_model]``.

    Args:
        model: The model; its scale on the logits is in it.
        targets: T_emo and T_neu.
    """
    unembed: Tensor = model.hf.get_output_embeddings().weight
    emotion, neutral = targets
    rows = (unembed[ids.to(unembed.device)].double().mean(0) for ids in (emotion, neutral))
    first, second = (row.to(model.device) for row in rows)
    return (first - second) * model.logit_scale


def check_sum(model: LanguageModel, sides: Sequence[Prompts], targets: Targets) -> AddsUp:
    """Return whether the parts of a model add up to the difference of targets' logits.

    Args:
        model: The model, as it is.
        sides: Prompts, of which the first few of each run.
        targets: T_emo and T_neu.
    """
    path = direct_path(model)
    if path.reason is not None:
        return AddsUp(None, f"no direct effects: {path.reason}")
    worst = 0.0
    for side in sides:
        rows = range(min(CHECKED, len(side)))
        batch = Batch(side, rows, model.pad, model.device)
        try:
            off, why = _off(model, targets, batch, path)
        except UnknownNorm as error:
            return AddsUp(None, f"no direct effects: {error}")
        if why:
            return AddsUp(None, f"no direct effects: {why}")
        # What is no number stays: `max` would pass it over.
        worst = float(np.maximum(worst, off))
    limit = CLOSE[str(model.hf.dtype).removeprefix("torch.")]
    if not worst <= limit:
        return AddsUp(
            worst,
            f"no direct effects: the parts of the model come {worst:.2g} (relative) off the logit "
            f"difference, more than {limit:g}",
        )
    return AddsUp(worst, None)


@torch.no_grad()
def _off(
    model: LanguageModel, targets: Targets, batch: Batch, path: DirectPath
) -> tuple[float, str]:
    """Return how far the parts are from the logit difference on a batch, or why they are none."""
    arch = model.arch
    unembedding = model.hf.get_output_embeddings()
    name = next(name for name, module in model.hf.named_modules() if module is unembedding)
    others = [other for layer in path.layers for other, _ in layer.others]
    posts = [*head_posts(model), *unit_posts(model)]
    outs = [model.attn_out(i) for i in model.head_layers]
    outs += [model.mlp_out(i) for i in model.unit_layers]
    first = f"{arch.layers}.0"
    paths = {first, *outs, *filter(None, posts), *others, arch.final_norm, name}
    with observed(model.hf, paths) as seen:
        logits = forward(model, batch).logits[:, -1].double().cpu()
    put_out = _last(seen[name].output, batch) * model.logit_scale
    emotion, neutral = (ids.cpu() for ids in targets)
    limit = CLOSE[str(model.hf.dtype).removeprefix("torch.")]
    if float((capped(put_out, model.logit_cap) - logits).abs().max()) > limit * float(
        logits.abs().max()
    ):
        return 0.0, "the logits are not those that the unembedding puts out, scaled and capped"
    expected = put_out[:, emotion].mean(1) - put_out[:, neutral].mean(1)
    parts = list(_parts(model, targets, seen, batch, path))
    off = torch.stack(parts).sum(0) - expected
    largest = torch.stack([*parts, expected]).abs().amax(0)
    return float((off.abs() / largest).max()), ""


def _parts(
    model: LanguageModel,
    targets: Targets,
    seen: Mapping[str, Seen],
    batch: Batch,
    path: DirectPath,
) -> Iterator[Tensor]:
    """Yield the direct effect of every part at the last token, ``[batch]`` each."""
    # All that was seen is on the CPU, wherever the parts of the model are.
    direction, final = target_direction(model, targets).cpu(), model.arch.final_norm
    into = {path: _last(seen[path].input, batch) for path in [*_norms(model), final]}
    rows = len(batch.rows)
    (last,) = frozen_norms(model, [None], into)
    embedding = _last(seen[f"{model.arch.layers}.0"].input, batch)
    yield path.embedding * (last(embedding) @ direction)
    heads, mlps = head_posts(model), unit_posts(model)
    through_heads = frozen_norms(model, heads, into)
    through_mlps = frozen_norms(model, mlps, into)
    for layer in range(model.n_layers):
        if layer in model.head_layers:
            z = split_heads(_last(seen[model.attn_out(layer)].input, batch), model.n_heads)
            w_o = torch.stack(
                [model.w_o(h).double().cpu() for h in model.heads if h.layer == layer]
            )
            for written in torch.einsum("bhd,hdm->hbm", z, w_o):
                yield path.attn(layer) * (through_heads[layer](written) @ direction)
            bias = _biases(model, model.attn_out(layer), heads[layer], through_heads[layer], rows)
            yield path.attn(layer) * (last(bias) @ direction)
        if layer in model.unit_layers:
            units = _last(seen[model.mlp_out(layer)].input, batch)
            written = units @ model.w_out(layer).double().cpu()
            yield path.mlp(layer) * (through_mlps[layer](written) @ direction)
            bias = _biases(model, model.mlp_out(layer), mlps[layer], through_mlps[layer], rows)
            yield path.mlp(layer) * (last(bias) @ direction)
        for other, factor in path.layers[layer].others:
            written = _last(seen[other].output, batch)
            yield path.kept[layer] * factor * (last(written) @ direction)
    kind = kind_of(model, final, embedding)
    yield (kind.bias @ direction).expand(rows)
    unembed_bias = getattr(model.hf.get_output_embeddings(), "bias", None)
    if unembed_bias is not None:
        emotion, neutral = (ids.cpu() for ids in targets)
        wide = unembed_bias.double().cpu() * model.logit_scale
        yield (wide[emotion].mean() - wide[neutral].mean()).expand(rows)


def _norms(model: LanguageModel) -> list[str]:
    return [path for path in (*head_posts(model), *unit_posts(model)) if path]


def _biases(
    model: LanguageModel, projection: str, post: str | None, through: FrozenNorms, rows: int
) -> Tensor:
    """Return what biases of a projection and of the norm on it add, before the final norm."""
    bias = getattr(model.module(projection), "bias", None)
    width = model.hf.get_output_embeddings().weight.shape[1]
    added = torch.zeros(rows, width, dtype=torch.float64)
    if bias is not None:
        added = added + bias.double().cpu()
    if post is None:
        return added
    own = through.norms[0](added)
    norm_bias = getattr(model.module(post), "bias", None)
    return own if norm_bias is None else own + norm_bias.double().cpu()


def _last(values: Tensor | None, batch: Batch) -> Tensor:
    assert values is not None
    return by_prompt(values, batch)[:, -1].double()
