"""Whether a model's layers can be taken apart, and how far that is from its own forward."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from emolib.engine.forwards import run_columns
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel
from emolib.models.snapshot import own_forward
from emolib.tracing import hook_count

TOLERANCE = {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far, relative to the largest logit, the layers taken apart may be from the model's own."""

_LINEAR = {"Linear", "Conv1D", "FalconLinear", "NonDynamicallyQuantizableLinear"}
_STATIC_ROPE = {"default", "linear", "llama3", "yarn", "proportional"}


def can_be_layerwise(model: LanguageModel, batch: Batch) -> bool:
    """Tell whether a model's layers can be taken apart, checked on some prompts.

    Where they could be but say something else than the model does, a warning says so.
    """
    if why_not(model) is not None:
        return False
    apart = disagreement(model, batch.input_ids, batch.attention_mask, batch.position_ids)
    limit = TOLERANCE[str(model.hf.dtype).removeprefix("torch.")]
    if apart <= limit:
        return True
    warnings.warn(
        f"{model.name}: emolib's own pass through the layers is {apart:.1g} (relative) from "
        f"transformers', more than {limit:g}; every run goes through the whole model, which "
        "is slower. Please report the model's config.json",
        stacklevel=2,
    )
    return False


def why_not(model: LanguageModel) -> str | None:
    """Return why a model's layers cannot be taken apart, None where they can.

    Hooks see nothing where modules do not run, so a model that carries any is run whole.
    """
    if hook_count(model.hf):
        return "it carries hooks"
    # First: what spreads a model replaces forwards.
    if len({weight.device for weight in model.hf.parameters()}) > 1:
        return "its layers are on several devices"
    if any(own_forward(module) is not None for module in model.hf.modules()):
        return "forwards of its modules are replaced"
    if model.hf.training:
        return "it is in training mode"
    config = model.hf.config
    if model.arch.block is None:
        return f"the row of {model.arch.model_type!r} does not say how its layers are put together"
    rope = getattr(config, "rope_parameters", None) or {}
    for part in [rope] if "rope_type" in rope else rope.values():
        if isinstance(part, dict) and part.get("rope_type", "default") not in _STATIC_ROPE:
            return f"its rotary positions depend on the length ({part['rope_type']})"
    if getattr(config, "apply_residual_connection_post_layernorm", False):
        return "its residual stream starts after the norm"
    if getattr(config, "add_cross_attention", False):
        return "it has cross-attention"
    layers = LayerwiseModel(model).layers
    for module in (part for layer in layers for part in layer.modules()):
        if type(module).__name__ not in _LINEAR:
            return f"a projection is a {type(module).__name__}"
    return None


@torch.no_grad()
def disagreement(model: LanguageModel, ids: Tensor, mask: Tensor, position_ids: Tensor) -> float:
    """Return how far the layers taken apart are from transformers' own forward.

    Args:
        model: The model.
        ids: Token ids, ``[B, T]``.
        mask: 1 at tokens and 0 at padding, ``[B, T]``.
        position_ids: Positions, ``[B, T]``.

    Returns:
        The largest difference of a logit at the last token, over the largest logit.
    """
    expected = run_columns(model, ids, mask, position_ids).logits[:, -1].double()
    layerwise, width = LayerwiseModel(model), slice(0, ids.shape[1])
    stem = layerwise.stem(ids, mask, position_ids)
    resid = stem.hidden[:, None]
    for layer, inputs in zip(layerwise.layers, stem.inputs, strict=True):
        resid = layer.finish(resid, layer.z(resid, inputs, width))
    difference = layerwise.logits(resid[:, 0, -1]).double() - expected
    return float(difference.abs().max() / expected.abs().max())
