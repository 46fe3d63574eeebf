"""The structure of a model that has no row in the table, found by shape and place.

One short run is watched. Of each layer the projection is taken that puts out what the attention
puts out, and the one that puts out what the MLP does; a norm that takes one of them up stands
between it and the residual stream. What is found is a row like those of
`emolib.models.architectures`; `emolib.engine.proofs` proves it before anything is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emolib.models.architectures import Architecture, shape_from_config

_NO_HEADS = ("linear", "lightning", "delta", "mamba", "recurrent", "rwkv", "cross")


class StructureNotFound(ValueError):
    """What was looked for in a model and is not there."""


@dataclass(frozen=True)
class Seen:
    """What went through a module in one run: copies, since some models go on in place.

    Attributes:
        input: The first tensor that went in, None where none did.
        output: The first tensor that came out, None where none did.
        others: What came out beside it.
    """

    input: Tensor | None
    output: Tensor | None
    others: tuple[Any, ...] = ()


@contextmanager
def observed(
    hf: nn.Module, paths: Collection[str] | None = None, *, excited: Mapping[str, float] = {}
) -> Iterator[dict[str, Seen]]:
    """Watch modules of a model while the context is open.

    Args:
        hf: The model.
        paths: The modules; None for all. Of one that runs several times the last run counts.
        excited: By path the size of noise that is added to what a module puts out, so that there
            is something to see even where it puts out nothing.

    Yields:
        By path what went through, in the order in which modules end.
    """
    seen: dict[str, Seen] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: Any, options: dict[str, Any], output: Any) -> Any:
            if name in excited:
                # The same noise every time, and another for each module.
                drawn = torch.Generator().manual_seed(len(name) + sum(map(ord, name)))
                noise = torch.randn(output.shape, generator=drawn, dtype=torch.float32)
                output = output + (excited[name] * noise).to(output)
            given = [*args, *(options[k] for k in ("hidden_states", "x") if k in options)]
            came = output if isinstance(output, (tuple, list)) else (output,)
            seen.pop(name, None)
            seen[name] = Seen(_first(given), _first(came[:1]), tuple(came[1:]))
            return output

        return module.register_forward_hook(hook, with_kwargs=True)

    named = dict(hf.named_modules())
    handles = [watch(name, named[name]) for name in (named if paths is None else paths)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _first(values: Any) -> Tensor | None:
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.detach().to("cpu", copy=True)
    return None


def probe_ids(hf: Any) -> Tensor:
    """Return a few tokens that any model reads, ``[1, 6]``."""
    rows = hf.get_input_embeddings().weight.shape[0]
    ids: Tensor = (torch.arange(6, device=hf.device)[None] * 7 + 5) % max(rows - 1, 1)
    return ids


def text_config(config: Any) -> Any:
    """Return the part of a transformers config that is about the text decoder."""
    return getattr(config, "text_config", None) or config


def output_map(hf: Any) -> tuple[float, float | None]:
    """Return the scale and the soft cap between the unembedding and the logits.

    ``logits = cap · tanh(scale · u / cap)`` of what the unembedding puts out, u. Whether the model
    applies what its config names is measured: some name what they do not apply.

    Returns:
        (The scale, the cap or None); (1, None) where neither explains the logits.
    """
    config = text_config(hf.config)
    path = _path_of(hf, hf.get_output_embeddings())
    with torch.no_grad(), observed(hf, [path]) as seen:
        logits: Tensor = hf(input_ids=probe_ids(hf), use_cache=False).logits.double().cpu()
    put_out = seen[path].output
    if put_out is None or put_out.shape != logits.shape:
        return 1.0, None
    u = put_out.double()

    def number(key: str) -> float | None:
        value = getattr(config, key, None)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and value else None

    scales, caps = [1.0], [None, number("final_logit_softcapping"), number("logits_soft_cap")]
    scales += [s for k in ("logit_scale", "lm_head_multiplier") if (s := number(k)) is not None]
    scales += [1 / s for k in ("logits_scaling",) if (s := number(k)) is not None]
    # Another scale, that of no key known here.
    scales.append(float((u * logits).sum() / u.square().sum()))
    close = 1e-5 if hf.dtype in (torch.float32, torch.float64) else 2e-2
    for cap in dict.fromkeys(caps):
        for scale in scales:
            made = capped(scale * u, cap)
            if float((made - logits).abs().max()) <= close * float(logits.abs().max()):
                return scale, cap
    return 1.0, None


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Return logits under a soft cap, ``cap · tanh(logits / cap)``."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def find(hf: Any) -> Architecture:
    """Return the row of a model that has none, found by shape and place.

    Raises:
        StructureNotFound: When a part is not there, with what was looked for.
    """
    kind: str = hf.config.model_type
    if hf.get_output_embeddings() is None:
        raise StructureNotFound(f"{kind}: it has no unembedding")
    try:
        n_layers, n_heads = shape_from_config(hf.config.to_dict())
    except ValueError as error:
        raise StructureNotFound(f"{kind}: {error}") from None
    with torch.no_grad(), observed(hf) as seen:
        hf(input_ids=probe_ids(hf), use_cache=False)
    unembedding = _path_of(hf, hf.get_output_embeddings())
    stream = seen[unembedding].input if unembedding in seen else None
    if stream is None:
        raise StructureNotFound(f"{kind}: its unembedding did not run")
    layers = _layers(hf, seen, n_layers, stream.shape[-1])
    final = _final_norm(hf, seen, layers, n_layers, stream)
    parts = _Parts(hf, seen, layers, n_layers, n_heads, stream.shape[-1])
    attn = parts.attention()
    if not attn:
        raise StructureNotFound(
            f"{kind}: no projection of {layers} puts out what an attention does ({n_heads} heads "
            f"of one width to a stream of {stream.shape[-1]})"
        )
    attn_out, post_attn = _common(attn)
    mlp = parts.mlp({layer: found[0] for layer, found in attn.items()})
    mlp_out, post_mlp = _common(mlp) if mlp else (None, None)
    return Architecture(
        kind,
        layers=layers,
        attn_out=attn_out,
        mlp_out=mlp_out,
        final_norm=final,
        post_attn_norm=post_attn,
        post_mlp_norm=post_mlp,
    )


def describe(row: Architecture) -> str:
    """Return a row in one line, as it is given by hand."""
    named = {
        "layers": row.layers,
        "attn_out": row.attn_out,
        "mlp_out": row.mlp_out,
        "final_norm": row.final_norm,
        "post_attn_norm": row.post_attn_norm,
        "post_mlp_norm": row.post_mlp_norm,
    }
    return ", ".join(f'{key} = "{value}"' for key, value in named.items() if value)


def _path_of(hf: nn.Module, module: nn.Module) -> str:
    names: dict[nn.Module, str] = {found: name for name, found in hf.named_modules()}
    return names[module]


def _layers(hf: Any, seen: Mapping[str, Seen], n_layers: int, width: int) -> str:
    """Return the path of the list of layers: of n that ran, on a stream of that width."""
    modules: dict[str, nn.Module] = dict(hf.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            ran = [seen.get(f"{name}.{layer}") for layer in range(n_layers)]
            if all(
                one is not None and one.output is not None and one.output.shape[-1] == width
                for one in ran
            ):
                return name
    raise StructureNotFound(
        f"{hf.config.model_type}: no list of {n_layers} layers puts out a stream of {width}"
    )


def _final_norm(
    hf: nn.Module, seen: Mapping[str, Seen], layers: str, n_layers: int, stream: Tensor
) -> str:
    """Return the path of the norm that takes up what the last layer puts out.

    Where there is none, it is the one whose output goes into the unembedding, scaled or not.
    """
    last, fallback = seen[f"{layers}.{n_layers - 1}"].output, None
    for name in reversed(list(seen)):
        found = seen[name]
        if name.startswith(f"{layers}.") or not is_norm(hf.get_submodule(name)):
            continue
        if found.input is not None and last is not None and ends_alike(found.input, last):
            return name
        if found.output is not None:
            out = found.output[..., -stream.shape[-2] :, :]
            if out.shape == stream.shape and _is_multiple(out, stream):
                fallback = fallback or name
    if fallback is None:
        raise StructureNotFound(
            f"{type(hf).__name__}: no norm stands between the layers and the unembedding"
        )
    return fallback


def ends_alike(one: Tensor, other: Tensor) -> bool:
    """Tell whether two streams are the same at the last token: one may be cut to it."""
    return one.ndim == other.ndim and torch.equal(one[..., -1, :], other[..., -1, :])


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module is a norm: by its name, and it has weights of one dimension at most."""
    named = "norm" in type(module).__name__.lower()
    return named and all(weight.ndim < 2 for weight in module.parameters())


def _is_multiple(of: Tensor, what: Tensor) -> bool:
    if torch.equal(of, what):
        return True
    of, what = of.double(), what.double()
    scale = (of * what).sum() / of.square().sum().clamp(min=1e-30)
    return float((scale * of - what).abs().max()) <= 1e-5 * float(what.abs().max())


def is_projection(module: nn.Module) -> bool:
    """Tell whether a module is a linear map: one weight of two dimensions, used as one."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Embedding) or not isinstance(weight, Tensor) or weight.ndim != 2:
        return False
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def has_experts(module: nn.Module) -> bool:
    """Tell whether a module is, or holds, a mixture of experts."""
    for name, part in module.named_modules():
        kind, own = type(part).__name__.lower(), name.rpartition(".")[2].lower()
        # Of some models the dense layers have "moe" in their names as well.
        if "expert" in kind + own or kind.endswith(("moe", "moeblock", "moelayer")):
            return True
        cubes = any(weight.ndim > 2 for weight in part.parameters(recurse=False))
        if cubes and not isinstance(part, nn.Conv1d):
            return True
    return False


class _Parts:
    """The projections of each layer, from one run."""

    def __init__(
        self,
        hf: Any,
        seen: Mapping[str, Seen],
        layers: str,
        n_layers: int,
        n_heads: int,
        width: int,
    ) -> None:
        self._hf, self._seen, self._layers = hf, seen, layers
        self._n_layers, self._n_heads, self._width = n_layers, n_heads, width

    def attention(self) -> dict[int, tuple[str, str | None]]:
        """Return by layer the attention's output projection and the norm on it, from the layer."""
        found = {}
        for layer in range(self._n_layers):
            for path in self._projections(layer):
                holder = path.rpartition(".")[0]
                z = self._at(layer, path).input
                if (
                    holder
                    and self._is_attention(layer, holder)
                    and z is not None
                    and z.shape[-1] % self._n_heads == 0
                    and self._same(layer, path, holder)
                ):
                    found[layer] = path, self._norm_of(layer, path)
                    break
        return found

    def mlp(self, attention: Mapping[int, str]) -> dict[int, tuple[str, str | None]]:
        """Return by layer the MLP's down-projection and the norm on it, from the layer.

        Args:
            attention: By layer the attention's output projection.
        """
        found = {}
        for layer in range(self._n_layers):
            own = attention.get(layer, "").partition(".")[0]
            # In a module of its own before one of the layer's: those may be for something else.
            for path in sorted(self._projections(layer), key=lambda path: "." not in path):
                child = path.partition(".")[0]
                module = self._module(layer, child)
                mixes = self._is_attention(layer, child) or self._is_mixer(layer, child)
                if child == own or mixes or has_experts(module):
                    continue
                if path == child or self._same(layer, path, child):
                    found[layer] = path, self._norm_of(layer, path)
                    break
        return found

    def _projections(self, layer: int) -> list[str]:
        """Return the linear maps of a layer to the stream, from the last that ran."""
        root = f"{self._layers}.{layer}."
        return [
            name.removeprefix(root)
            for name in reversed(list(self._seen))
            if name.startswith(root)
            and is_projection(self._hf.get_submodule(name))
            and (out := self._seen[name].output) is not None
            and out.shape[-1] == self._width
        ]

    def _is_attention(self, layer: int, path: str) -> bool:
        """Tell whether a module, or one that it stands in, is an attention with heads."""
        parts = path.split(".")
        kinds = [self._kind(layer, ".".join(parts[: count + 1])) for count in range(len(parts))]
        if any(word in kind for kind in kinds for word in _NO_HEADS):
            return False
        return "attention" in kinds[-1] or "attn" in kinds[-1]

    def _kind(self, layer: int, path: str) -> str:
        """Return the name of a module's class, without the model's name at its beginning."""
        name = type(self._module(layer, path)).__name__
        root = type(self._hf.get_submodule(f"{self._layers}.{layer}")).__name__
        alike = 0
        while alike < min(len(name), len(root)) and name[alike] == root[alike]:
            alike += 1
        return name[alike:].lower() or name.lower()

    def _is_mixer(self, layer: int, path: str) -> bool:
        """Tell whether a module mixes tokens: then it is no MLP."""
        module = self._module(layer, path)
        if is_projection(module):
            return False
        words = [path.lower(), self._kind(layer, path)]
        return any(isinstance(part, nn.Conv1d) for part in module.modules()) or any(
            mixing in word for word in words for mixing in (*_NO_HEADS, "mixer")
        )

    def _same(self, layer: int, path: str, holder: str) -> bool:
        """Tell whether a module puts out what a projection in it does, or a multiple of it."""
        out, whole = self._at(layer, path).output, self._at(layer, holder).output
        if out is None or whole is None or out.numel() != whole.numel():
            return False
        return _is_multiple(out.reshape(whole.shape), whole)

    def _norm_of(self, layer: int, path: str) -> str | None:
        """Return the norm of a layer that takes up what a projection puts out, None without one."""
        out = self._at(layer, path).output
        for name in self._module_names(layer):
            given = self._at(layer, name).input
            if (
                given is not None
                and out is not None
                and given.numel() == out.numel()
                and torch.equal(given.reshape(out.shape), out)
            ):
                return name
        return None

    def _module_names(self, layer: int) -> list[str]:
        root = f"{self._layers}.{layer}."
        names = [name for name in self._seen if name.startswith(root)]
        return [n.removeprefix(root) for n in names if is_norm(self._hf.get_submodule(n))]

    def _at(self, layer: int, path: str) -> Seen:
        return self._seen.get(f"{self._layers}.{layer}.{path}", Seen(None, None))

    def _module(self, layer: int, path: str) -> nn.Module:
        module: nn.Module = self._hf.get_submodule(f"{self._layers}.{layer}.{path}")
        return module


def _common(found: Mapping[int, tuple[str, str | None]]) -> tuple[str, str | None]:
    """Return what most layers have: the projection, and the norm on it where any has one."""
    paths = [path for path, _ in found.values()]
    norms = [norm for _, norm in found.values() if norm is not None]
    return max(dict.fromkeys(paths), key=paths.count), max(
        dict.fromkeys(norms), key=norms.count, default=None
    )
