"""Which way a model's runs go, checked on it: layers apart, its own modules, or all under hooks.

The first two are `emolib.engine.layerwise`, the last `emolib.engine.whole`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from emolib.engine.forwards import run_columns
from emolib.engine.layers import KeysValues
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.errors import InputError
from emolib.models.encoding import Batch
from emolib.models.language_model import LanguageModel
from emolib.models.snapshot import own_forward
from emolib.tracing import hook_count

TOLERANCE = {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far, relative to the largest logit, the layers taken apart may be from the model's own."""

_LINEAR = {"Linear", "Conv1D", "FalconLinear", "NonDynamicallyQuantizableLinear"}
_STATIC_ROPE = {"default", "linear", "llama3", "yarn", "proportional"}


Way = Literal["own layers", "own modules", "hooks"]


@dataclass(frozen=True)
class Support:
    """The way that a model's runs go.

    Attributes:
        way: ``own layers``: resumed and batched through layers taken apart here; ``own modules``:
            the same through transformers' layer modules; ``hooks``: one by one, the whole model.
        deviation: How far the way is from the model's forward, relative to the largest logit; 0
            of hooks.
        reasons: Why not each of the ways before it.
    """

    way: Way
    deviation: float
    reasons: tuple[str, ...]


def support_of(model: LanguageModel, batch: Batch) -> Support:
    """Return the way of a model's runs, the fastest that is right on some prompts.

    Where layers could be taken apart but say something else than the model does, a warning says
    so.
    """
    columns = batch.input_ids, batch.attention_mask, batch.position_ids
    limit = TOLERANCE[str(model.hf.dtype).removeprefix("torch.")]
    reasons: list[str] = []
    if (why := why_not(model)) is None:
        apart = disagreement(model, *columns)
        if apart <= limit:
            return Support("own layers", apart, ())
        why = f"layers taken apart are {apart:.1g} (relative) from transformers', over {limit:g}"
        warnings.warn(
            f"{model.name}: emolib's own pass through the layers is {apart:.1g} (relative) from "
            f"transformers', more than {limit:g}; runs go another way, which is slower. Please "
            "report the model's config.json",
            stacklevel=2,
        )
    reasons.append(why)
    if (why := why_not_modules(model)) is None:
        try:
            apart = disagreement(model, *columns, apart=False)
            if apart <= limit:
                return Support("own modules", apart, tuple(reasons))
            why = f"its modules run one by one are {apart:.1g} (relative) from all at once"
        except InputError:
            raise
        except Exception as error:  # Of whatever its modules do when they are run alone.
            line = (str(error).splitlines() or [""])[0]
            why = f"its layers do not run alone ({type(error).__name__}: {line[:120]})"
    return Support("hooks", 0.0, (*reasons, why))


def why_not(model: LanguageModel) -> str | None:
    """Return why a model's layers cannot be taken apart, None where they can."""
    if (why := why_not_modules(model)) is not None:
        return why
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


def why_not_modules(model: LanguageModel) -> str | None:
    """Return why a model's layers cannot be run one by one, None where they can.

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
    without = [layer for layer in range(model.n_layers) if layer not in model.head_layers]
    return f"layers {without} have no attention" if without else None


@torch.no_grad()
def disagreement(
    model: LanguageModel, ids: Tensor, mask: Tensor, position_ids: Tensor, *, apart: bool = True
) -> float:
    """Return how far layers run one by one are from transformers' own forward.

    They run once whole, and once for the last column alone as if it were generated, two rows of
    each prompt beside the keys and values of the first run.

    Args:
        model: The model.
        ids: Token ids, ``[B, T]``.
        mask: 1 at tokens and 0 at padding, ``[B, T]``.
        position_ids: Positions, ``[B, T]``.
        apart: Whether layers are taken apart, or are the model's own modules.

    Returns:
        The largest difference of a logit at the last token, over the largest logit.

    Raises:
        InputError: When the model's logits are no finite numbers.
    """
    expected = run_columns(model, ids, mask, position_ids).logits[:, -1].double()
    largest = float(expected.abs().max())
    if not math.isfinite(largest):
        raise InputError(
            f"model {model.name!r}: its logits are no finite numbers; its weights are damaged, or "
            f"too large for {str(model.hf.dtype).removeprefix('torch.')}: save it again, or take a "
            "wider --dtype"
        )
    layerwise, width = LayerwiseModel(model, apart=apart), ids.shape[1]
    stem = layerwise.stem(ids, mask, position_ids)
    made: list[KeysValues] = []

    def keep(key: Tensor, value: Tensor) -> KeysValues:
        made.append((key, value))
        return made[-1]

    resid = stem.hidden[:, None]
    for layer, inputs in zip(layerwise.layers, stem.inputs, strict=True):
        resid, _ = layer.step(resid, inputs, slice(0, width), keep=keep)
    found = [layerwise.logits(resid[:, 0, -1])]
    if width > 1:
        # As a token that is generated comes: embedded alone, its column another's when the rest of
        # what layers are given was made.
        others = torch.cat([ids[:, :-1], (ids[:, -1:] + 1) % model.d_vocab], dim=1)
        stem = layerwise.stem(others, mask, position_ids)
        resid = layerwise.embed(ids[:, -1], position_ids[:, -1])[:, None, None]
        resid = resid.expand(-1, 2, -1, -1)
        for layer, inputs, (key, value) in zip(layerwise.layers, stem.inputs, made, strict=True):
            shared = key[:, 0, :, :-1], value[:, 0, :, :-1]
            resid, _ = layer.step(resid, inputs, slice(width - 1, width), shared)
        found += layerwise.logits(resid[:, :, -1]).unbind(1)
    # Of a tensor: Python's max passes over what is no number.
    off = torch.stack([(logits.double() - expected).abs().max() for logits in found]).max()
    return float(off / largest)
