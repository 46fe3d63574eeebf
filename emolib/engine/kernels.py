"""The operations a layer is made of, each in the fastest exact form there is for the machine.

Equal to transformers' own up to float rounding (1e-6 relative). On a CPU in float32 matrix
products go through oneDNN, whose kernels use the whole width of AVX-512 on every maker's
processors; torch's default for float32, MKL, runs at half that speed on AMD's.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# By class name: transformers' activations that are chains of elementwise operations, or one
# operation of torch, and the operation that equals them.
ACTIVATIONS = {
    "NewGELUActivation": ("gelu", "tanh"),
    "FastGELUActivation": ("gelu", "tanh"),
    "PytorchGELUTanh": ("gelu", "tanh"),
    "GELUTanh": ("gelu", "tanh"),
    "BloomGelu": ("gelu", "tanh"),
    "GELUActivation": ("gelu", "none"),
    "GELU": ("gelu", "none"),
    "SiLUActivation": ("swish", ""),
    "SiLU": ("swish", ""),
    "ReLU": ("relu", ""),
}
Activation = tuple[str, str]
PLAIN: Activation = ("none", "")

_FEW = 4
"""Rows below which a matrix product reads the weights once and no kernel is faster than MKL's."""
_SAME = 1e-5
"""How far, of its largest output, a norm may be from an `RMSNorm` that takes its place."""


def activation_of(module: nn.Module) -> Activation | None:
    """Return the name of the one operation that a module equals, None where there is none."""
    return ACTIVATIONS.get(type(module).__name__)


def activate(values: Tensor, activation: Activation) -> Tensor:
    """Return an activation of values, elementwise."""
    name, variant = activation
    match name:
        case "gelu":
            return F.gelu(values, approximate=variant)
        case "swish":
            return F.silu(values)
        case "relu":
            return F.relu(values)
        case "none":
            return values
        case _:
            raise ValueError(f"activation: expected one of {ACTIVATIONS.values()}, got {name!r}")


def linear(
    values: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = PLAIN
) -> Tensor:
    """Return ``activation(values @ weight.T + bias)``.

    Args:
        values: Shape ``[…, in]``.
        weight: Shape ``[out, in]``.
        bias: Shape ``[out]``.
        activation: From `ACTIVATIONS`, done in the same pass over the output.
    """
    if not _through_onednn(values, weight):
        return activate(F.linear(values, weight, bias), activation)
    if values.requires_grad:
        product: Tensor = _Linear.apply(values, weight, bias)  # type: ignore[no-untyped-call]
        return activate(product, activation)
    return _onednn(values, weight, bias, activation)


def _through_onednn(values: Tensor, weight: Tensor) -> bool:
    return (
        values.dtype == torch.float32 == weight.dtype
        and values.device.type == "cpu"
        and values.numel() >= _FEW * values.shape[-1]
        and _has_onednn()
    )


@cache
def _has_onednn() -> bool:
    # A build of torch without oneDNN has neither.
    backend: Any = torch.backends.mkldnn
    return backend.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn(values: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    name, variant = activation
    operation: Any = torch.ops.mkldnn._linear_pointwise
    # With gaps between rows oneDNN falls back on a kernel that is 100 times slower.
    flat = values.reshape(-1, values.shape[-1]).contiguous()
    if not weight.is_contiguous() and not weight.T.is_contiguous():
        weight = weight.contiguous()
    product: Tensor = operation(flat, weight, bias, name, [], variant)
    return product.view(*values.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """The oneDNN product with a gradient for its input; weights are frozen."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _onednn(values, weight, bias, PLAIN)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _onednn(gradients[0].contiguous(), weight.T, None, PLAIN), None, None


class RMSNorm:
    """A norm of transformers that equals ``values · gain / √(mean(values²) + eps)``.

    A chain of elementwise operations there, each a pass over the values and memory of its own.

    Attributes:
        module: The norm; its weight is read whenever it runs.
        eps: What keeps the scale from 0.
        offset: What is added to the weight for the gain: 1 in Gemma's, else 0.
    """

    def __init__(self, module: nn.Module, eps: float, offset: float) -> None:
        """Hold what it is made of."""
        self.module, self.eps, self.offset = module, eps, offset

    def __call__(self, values: Tensor) -> Tensor:
        """Return what comes out of the norm, of values ``[…, width]``."""
        if values.dtype != torch.float32 or values.device.type != "cpu":
            # What transformers rounds, and where, is its own matter.
            made: Tensor = self.module(values)
            return made
        return self.fused(values)

    def fused(self, values: Tensor) -> Tensor:
        """Return the same from fused operations, in the values' own type."""
        weight: Any = self.module.weight
        gain = weight + self.offset if self.offset else weight
        if values.requires_grad:
            return F.rms_norm(values, (values.shape[-1],), gain, self.eps)
        scale = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        scale = scale.square_().div_(values.shape[-1]).add_(self.eps).rsqrt_()
        normed: Tensor = (values * scale).mul_(gain)
        return normed


def fused_norm(module: nn.Module | None) -> Any:
    """Return a norm in its fastest form, told by what it puts out, not by its name.

    Args:
        module: A norm. `RMSNorm` takes its place where it is one whose weight is float32 on a
            CPU; any other, and None, comes back as it is.
    """
    weight, eps = getattr(module, "weight", None), _eps_of(module)
    if module is None or eps is None or not isinstance(weight, Tensor) or weight.ndim != 1:
        return module
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return module
    drawn = torch.randn(3, len(weight), generator=torch.Generator().manual_seed(0)) + 0.5
    # Small ones beside them, on which eps decides.
    values = torch.cat([drawn, 1e-3 * drawn])
    with torch.no_grad():
        own: Tensor = module.forward(values)
        for offset in (0.0, 1.0):
            norm = RMSNorm(module, eps, offset)
            if float((norm.fused(values) - own).abs().max()) <= _SAME * float(own.abs().max()):
                return norm
    return module


def _eps_of(module: nn.Module | None) -> float | None:
    """Return the eps of a norm, under whichever of transformers' names; None without one."""
    for name in ("variance_epsilon", "eps", "epsilon"):
        if isinstance(value := getattr(module, name, None), float):
            return value
    return None


def attend(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    bias: Tensor | None,
    *,
    scale: float,
    cap: float | None = None,
) -> Tensor:
    """Return what every head reads, z, shape ``[B, k, S, H * d_head]``.

    B prompts, k rows of each; a row's S tokens look at P columns that the rows of a prompt share
    and at L columns of their own. Query heads come in groups of one key head.

    Args:
        query: Shape ``[B, k, S, H, d_head]``.
        own: Keys and values of the row, each ``[B, k, H_kv, L, d_head]``.
        shared: Keys and values of the prompt, each ``[B, H_kv, P, d_head]``; None where P is 0.
        bias: Added to the scores, ``[B, 1 or H, S, P + L]``; None for plain causal attention,
            the S tokens being the last of the columns.
        scale: Factor of the scores.
        cap: Bound that scores are pulled under by tanh before the bias.
    """
    rows, tokens = query.shape[1], query.shape[2]
    if shared is None and cap is None:
        return _fused(query, own, bias, scale)
    prompts, _, _, heads, d_head = query.shape
    key, value = own
    key_heads, columns = key.shape[2], key.shape[3]
    group = heads // key_heads
    apart = query.reshape(prompts, rows, tokens, key_heads, group, d_head)
    mine = apart.permute(0, 1, 3, 4, 2, 5).reshape(prompts, rows, key_heads, -1, d_head)
    scores = (mine @ key.transpose(-1, -2)).view(prompts, rows, key_heads, group, tokens, columns)
    if shared is not None:
        ours = apart.permute(0, 3, 1, 4, 2, 5).reshape(prompts, key_heads, -1, d_head)
        before = ours @ shared[0].transpose(-1, -2)
        before = before.view(prompts, key_heads, rows, group, tokens, -1).transpose(1, 2)
        scores = torch.cat([before, scores], dim=-1)
    pattern = _softmaxed(scores, bias, scale, cap).to(value.dtype)
    looked = pattern[..., -columns:].reshape(prompts, rows, key_heads, -1, columns)
    z = (looked @ value).view(prompts, rows, key_heads, group, tokens, d_head)
    if shared is not None:
        looked = pattern[..., :-columns].transpose(1, 2)
        looked = looked.reshape(prompts, key_heads, rows * group * tokens, -1)
        read = (looked @ shared[1]).view(prompts, key_heads, rows, group, tokens, d_head)
        z = z + read.transpose(1, 2)
    return z.permute(0, 1, 4, 2, 3, 5).reshape(prompts, rows, tokens, heads * d_head)


def pattern(
    query: Tensor, key: Tensor, bias: Tensor | None, *, scale: float, cap: float | None = None
) -> Tensor:
    """Return how much tokens attend to columns, ``[B, H, S, P]``; a row sums to 1.

    Args:
        query: Shape ``[B, S, H, d_head]``.
        key: Shape ``[B, H_kv, P, d_head]``.
        bias: As in `attend`, ``[B, 1 or H, S, P]``.
        scale: Factor of the scores.
        cap: As in `attend`.
    """
    prompts, tokens, heads, d_head = query.shape
    key_heads, columns = key.shape[1:3]
    apart = query.reshape(prompts, tokens, key_heads, -1, d_head).permute(0, 2, 3, 1, 4)
    scores = apart.reshape(prompts, key_heads, -1, d_head) @ key.transpose(-1, -2)
    scores = scores.view(prompts, 1, key_heads, heads // key_heads, tokens, columns)
    found = _softmaxed(scores, bias, scale, cap)
    return found.reshape(prompts, heads, tokens, columns)


def _softmaxed(scores: Tensor, bias: Tensor | None, scale: float, cap: float | None) -> Tensor:
    """Return the pattern of scores ``[B, k, H_kv, G, S, ·]``, in float32 or wider."""
    key_heads, group, tokens = scores.shape[2:5]
    scores = scores * scale
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    if bias is None and tokens > 1:
        bias = _causal(scores)
    if bias is not None:
        # [B, 1 or H, S, ·] beside them.
        heads_of_bias = (key_heads, group) if bias.shape[1] == key_heads * group > 1 else (1, 1)
        shape = (bias.shape[0], 1, *heads_of_bias, *bias.shape[2:])
        scores = scores + bias.reshape(shape)
    return scores.softmax(-1, dtype=_wide(scores.dtype))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _causal(scores: Tensor) -> Tensor:
    """Return the bias of tokens that are the last of their columns, ``[1, 1, S, columns]``."""
    tokens, columns = scores.shape[-2:]
    lowest = scores.new_full((tokens, columns), torch.finfo(scores.dtype).min)
    return lowest.triu(columns - tokens + 1)[None, None]


def _fused(query: Tensor, own: tuple[Tensor, Tensor], bias: Tensor | None, scale: float) -> Tensor:
    """Attend to the row's own columns, in one operation of torch."""
    prompts, rows, tokens, heads, d_head = query.shape
    key, value = (part.flatten(0, 1) for part in own)
    if bias is None and 1 < tokens < key.shape[2]:
        bias = _causal(query.new_empty(1, 1, tokens, key.shape[2]))
    elif bias is not None and rows > 1:
        bias = bias.repeat_interleave(rows, dim=0)
    z = F.scaled_dot_product_attention(
        query.flatten(0, 1).transpose(1, 2),
        key,
        value,
        attn_mask=bias,
        is_causal=bias is None and tokens > 1,
        scale=scale,
        enable_gqa=heads != key.shape[1],
    )
    return z.transpose(1, 2).reshape(prompts, rows, tokens, heads * d_head)


def rotate_halves(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return values turned by their positions: dim i of the first half with i of the second.

    Args:
        values: Shape ``[B, k, S, H, d_head]``; what is beyond the width of `cos` stays.
        cos: Shape ``[B or 1, S, width]``.
        sin: The same.
    """
    width = cos.shape[-1]
    half, rest = width // 2, values.shape[-1] - width
    if not _rounds_once(values, cos):
        cos, sin = _beside(cos), _beside(sin)
        turned = values[..., :width]
        first, second = turned.chunk(2, dim=-1)
        out = (turned * cos + torch.cat((-second, first), dim=-1) * sin).to(values.dtype)
        return torch.cat((out, values[..., width:]), dim=-1) if rest else out
    # What stays is turned by 0: a factor is cheaper than a copy beside it.
    cos, sin = _beside(F.pad(cos, (0, rest), value=1.0)), _beside(sin)
    out = values * cos
    out[..., :half].addcmul_(values[..., half:width], sin[..., :half], value=-1)
    out[..., half:width].addcmul_(values[..., :half], sin[..., half:])
    return out


def rotate_pairs(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return values turned by their positions, neighbouring dims with each other.

    Args:
        values: Shape ``[B, k, S, H, d_head]``; what is beyond twice the width of `cos` stays.
        cos: Shape ``[B, S, width / 2]``.
        sin: The same.
    """
    width = 2 * cos.shape[-1]
    turned, rest = values[..., :width], values[..., width:]
    if _rounds_once(values, cos):
        # A pair is a complex number, which a position turns by one product.
        pairs = torch.view_as_complex(turned.reshape(*turned.shape[:-1], -1, 2).contiguous())
        out = torch.view_as_real(pairs * _beside(torch.complex(cos, sin))).flatten(-2)
    else:
        cos, sin = _beside(cos), _beside(sin)
        even, odd = turned[..., ::2], turned[..., 1::2]
        out = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    return torch.cat((out, rest), dim=-1) if rest.shape[-1] else out


def _beside(angles: Tensor) -> Tensor:
    """Return what there is of positions, ``[B or 1, S, ·]``, for all rows and heads."""
    return angles[:, None, :, None]


def _rounds_once(values: Tensor, cos: Tensor) -> bool:
    # Of half the width transformers rounds each product, which the fused forms do not.
    return values.dtype == cos.dtype and values.dtype in (torch.float32, torch.float64)
