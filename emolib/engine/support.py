"""Whether a model's layers can be taken apart, and how far that is from its own forward."""

from __future__ import annotations

import torch
from torch import Tensor

from emolib.engine.forwards import run_columns
from emolib.engine.layers import Blocks
from emolib.models.architectures import BLOCKS
from emolib.models.language_model import LanguageModel
from emolib.tracing import hook_count

_LINEAR = {"Linear", "Conv1D", "FalconLinear", "NonDynamicallyQuantizableLinear"}


_STATIC_ROPE = {"default", "linear", "llama3", "yarn", "proportional"}


def why_not(model: LanguageModel) -> str | None:
    """Return why a model's layers cannot be taken apart, None where they can.

    Hooks of one's own see nothing where modules do not run, so a model that carries any does not.
    """
    if hook_count(model.hf):
        return "it carries hooks"
    return "it is in training mode" if model.hf.training else _misfit(model)


def _misfit(model: LanguageModel) -> str | None:
    config, kind = model.hf.config, model.arch.model_type
    if kind not in BLOCKS:
        return f"emolib.engine.layers has no row for {kind!r}"
    rope = getattr(config, "rope_parameters", None) or {}
    for part in [rope] if "rope_type" in rope else rope.values():
        if isinstance(part, dict) and part.get("rope_type", "default") not in _STATIC_ROPE:
            return f"its rotary positions depend on the length ({part['rope_type']})"
    if getattr(config, "apply_residual_connection_post_layernorm", False):
        return "its residual stream starts after the norm"
    if getattr(config, "add_cross_attention", False):
        return "it has cross-attention"
    layers = Blocks(model).layers
    for module in (part for layer in layers for part in layer.modules()):
        if type(module).__name__ not in _LINEAR:
            return f"a projection is a {type(module).__name__}"
    return None


@torch.no_grad()
def disagreement(model: LanguageModel, ids: Tensor, mask: Tensor, places: Tensor) -> float:
    """Return how far the layers taken apart are from transformers' own forward.

    Args:
        model: The model.
        ids: Token ids, ``[B, T]``.
        mask: 1 at tokens and 0 at padding, ``[B, T]``.
        places: Positions, ``[B, T]``.

    Returns:
        The largest difference of a logit at the last token, over the largest logit.
    """
    expected = run_columns(model, ids, mask, places).logits[:, -1].double()
    blocks, width = Blocks(model), slice(ids.shape[1])
    stem = blocks.stem(ids, mask, places)
    resid = stem.hidden[:, None]
    for layer, frame in zip(blocks.layers, stem.frames, strict=True):
        query, key, value = layer.qkv(layer.normed(resid), frame.turns_of(width))
        z = layer.attend(query, (key, value), None, frame.bias_of(width, width.stop))
        resid = layer.finish(resid, z)
    difference = blocks.logits(resid[:, 0, -1]).double() - expected
    return float(difference.abs().max() / expected.abs().max())
