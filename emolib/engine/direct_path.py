"""The direct path of a model: how what a part writes goes down the residual stream to the logits.

A layer keeps the stream, some of them scaled, and adds what its attention and its MLP put out,
some of them scaled again; all of it is linear. The factors are measured on one short run, with
noise on what the parts put out, so that there is something of each to measure. Where a layer is
not such a sum, or something changes the stream on its way, that is the reason why there are no
direct effects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from emolib.errors import InputError
from emolib.models.language_model import LanguageModel
from emolib.models.structure import Seen, ends_alike, is_norm, observed, probe_ids, text_config

CLOSE = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 0.05, "float16": 0.01}
"""How far, relative to the sum, parts may be from adding up. Norms are in float32 anyway."""


@dataclass(frozen=True)
class LayerSum:
    """One layer as a sum: ``after = keep · before + Σ factor · what a module puts out``.

    Attributes:
        keep: Factor of the stream that comes in.
        attn: Factor of what the attention puts out, after the norm on it; 0 without one.
        mlp: Factor of what the MLP's down-projection puts out, after the norm on it; 0 without.
        others: The modules that add besides, by path from the model, with their factors.
    """

    keep: float
    attn: float
    mlp: float
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class DirectPath:
    """The layers of a model as sums.

    Attributes:
        layers: The layers; empty where one is no sum.
        deviation: How far the sums are from the stream, relative to what layers add.
        reason: Why there are no direct effects, None where the layers are sums.
        ends_in_norm: Whether what the last layer puts out goes into the final norm.
    """

    layers: tuple[LayerSum, ...]
    deviation: float
    reason: str | None
    ends_in_norm: bool = True

    @cached_property
    def kept(self) -> tuple[float, ...]:
        """By layer the factor that later layers put on what stands in the stream after it."""
        factors = [1.0]
        for layer in reversed(self.layers[1:]):
            factors.append(factors[-1] * layer.keep)
        return tuple(reversed(factors))

    def attn(self, layer: int) -> float:
        """Return the factor from what a layer's attention puts out to the final norm."""
        return self.layers[layer].attn * self.kept[layer]

    def mlp(self, layer: int) -> float:
        """Return the factor from what a layer's MLP puts out to the final norm."""
        return self.layers[layer].mlp * self.kept[layer]

    @property
    def embedding(self) -> float:
        """The factor from the stream before the first layer to the final norm."""
        return self.layers[0].keep * self.kept[0]


_KNOWN: WeakKeyDictionary[LanguageModel, DirectPath] = WeakKeyDictionary()


def direct_path(model: LanguageModel) -> DirectPath:
    """Return the direct path of a model as it was loaded, measured once."""
    if model not in _KNOWN:
        try:
            with model.as_loaded.lifted("its direct path"):
                _KNOWN[model] = _measured(model)
        except InputError:
            # Changed for good: what holds now is not to be kept.
            return _measured(model)
    return _KNOWN[model]


def writers(model: LanguageModel, layer: int) -> tuple[str | None, str | None]:
    """Return the modules whose output is what attention and MLP of a layer add, None without."""
    attn = mlp = None
    if layer in model.head_layers:
        attn = model.post_attn_norm(layer) or model.attn_out(layer)
    if layer in model.unit_layers:
        mlp = model.post_mlp_norm(layer) or model.mlp_out(layer)
    return attn, mlp


def _measured(model: LanguageModel) -> DirectPath:
    arch, hf = model.arch, model.hf
    paths = [
        name
        for name, module in hf.named_modules()
        if name.startswith(f"{arch.layers}.") and not isinstance(module, nn.ModuleList)
    ]
    size = float(hf.get_input_embeddings().weight.float().square().mean().sqrt()) or 1.0
    parts = [part for i in range(model.n_layers) for part in writers(model, i) if part]
    noise = dict.fromkeys(parts, size)
    with torch.no_grad(), observed(hf, [*paths, arch.final_norm], excited=noise) as seen:
        hf(input_ids=probe_ids(hf), use_cache=False)
    layers, worst, before = [], 0.0, None
    last = seen[f"{arch.layers}.{model.n_layers - 1}"].output
    into = seen[arch.final_norm].input
    ends = into is not None and last is not None and ends_alike(into, last)
    for layer in range(model.n_layers):
        here = seen.get(f"{arch.layers}.{layer}", Seen(None, None))
        if here.input is None or here.output is None or here.input.shape != here.output.shape:
            return DirectPath((), worst, f"layer {layer} puts out no residual stream", ends)
        if before is not None and not ends_alike(before, here.input):
            reason = f"something changes the residual stream before layer {layer}"
            return DirectPath((), worst, reason, ends)
        before = here.output
        found, deviation = _as_sum(model, layer, here.input, here.output, seen)
        worst = max(worst, deviation)
        if found is not None and (lost := _lost(model, layer, found)):
            reason = (
                f"layer {layer} does not add what {lost} puts out to the residual stream as it is"
            )
            return DirectPath((), worst, reason, ends)
        if found is None:
            reason = (
                f"layer {layer} adds more to the residual stream than its parts put out "
                f"({deviation:.1g} of it)"
            )
            return DirectPath((), worst, reason, ends)
        layers.append(found)
    if not ends:
        reason = "something changes the residual stream between the last layer and the final norm"
        return DirectPath((), worst, reason, ends)
    return DirectPath(tuple(layers), worst, None)


def _lost(model: LanguageModel, layer: int, found: LayerSum) -> str | None:
    """Return the part of a layer that does not stand in its sum, None where all do."""
    if not found.keep or (layer in model.head_layers and not found.attn):
        return "its attention"
    return "its MLP" if layer in model.unit_layers and not found.mlp else None


def _as_sum(
    model: LanguageModel, layer: int, before: Tensor, after: Tensor, seen: dict[str, Seen]
) -> tuple[LayerSum | None, float]:
    """Return a layer as the sum that it is, None where it is none, and how far it is from it."""
    wide = torch.float64
    named: dict[str, Tensor] = {}
    for path in writers(model, layer):
        output = None if path is None or path not in seen else seen[path].output
        if path is not None and output is not None and output.numel() == after.numel():
            named[path] = output.reshape(after.shape).to(wide)
    attn, mlp = writers(model, layer)
    before, after = before.to(wide), after.to(wide)
    eps = torch.finfo(model.hf.dtype).eps if model.hf.dtype != wide else 1e-7
    limit = 1e-4 + 8 * eps * float(after.abs().max() / (after - before).abs().max())
    numbers = [1.0, *_numbers(text_config(model.hf.config))]
    best = float("inf")
    for others in _others(model, layer, named, seen, after):
        columns = {**named, **others}
        for keep in (True, False):
            factors, deviation = _fitted(before, after, list(columns.values()), keep, numbers)
            best = min(best, deviation) if isfinite(deviation) else best
            if deviation <= limit:
                first, *rest = factors
                by_path = dict(zip(columns, rest, strict=True))
                more = tuple((path, by_path[path]) for path in others if by_path[path])
                found = LayerSum(
                    first, by_path.get(attn or "", 0.0), by_path.get(mlp or "", 0.0), more
                )
                return found, deviation
    return None, best


def _others(
    model: LanguageModel,
    layer: int,
    named: dict[str, Tensor],
    seen: dict[str, Seen],
    after: Tensor,
) -> Iterator[dict[str, Tensor]]:
    """Yield the other modules whose output a layer may add: none, then its further branches.

    Those are the modules right below the layer, without the norms before them and those that
    hold attention or MLP; where a norm takes one of them up, the norm.
    """
    yield {}
    root = f"{model.arch.layers}.{layer}."
    children = [f"{root}{name}" for name, _ in model.module(root[:-1]).named_children()]
    norms = [path for path in children if is_norm(model.module(path))]
    found: dict[str, Tensor] = {}
    for path in children:
        output = seen.get(path, Seen(None, None)).output
        holds = any(one == path or one.startswith(f"{path}.") for one in named)
        if path in norms or holds or output is None or output.numel() != after.numel():
            continue
        taken = [n for n in norms if n in seen and _takes(seen[n], output)]
        chosen = seen[taken[0]].output if taken else output
        assert chosen is not None
        if taken and taken[0] in named:
            continue
        if chosen.numel() == after.numel():
            found[taken[0] if taken else path] = chosen.reshape(after.shape).double()
    if found:
        yield found


def _takes(norm: Seen, output: Tensor) -> bool:
    given = norm.input
    return (
        given is not None
        and given.numel() == output.numel()
        and torch.equal(given.reshape(output.shape), output)
    )


def _numbers(config: object) -> list[float]:
    """Return the numbers of a config, among which the factors are."""
    values: list[float] = []
    for value in vars(config).values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, float) and one and isfinite(one):
                values.append(one)
    return values


def _fitted(
    before: Tensor,
    after: Tensor,
    columns: Sequence[Tensor],
    keep: bool,
    numbers: Sequence[float],
) -> tuple[list[float], float]:
    """Return the factors of a sum that fit best, the stream's first, and how far it is off.

    Args:
        before: The stream before, ``[…, d_model]``.
        after: The stream after.
        columns: What parts put out.
        keep: Whether the stream is kept as it is.
        numbers: Values that a factor takes where it is as near to one as float noise.
    """
    target = after - before if keep else after
    parts = [*columns] if keep else [before, *columns]
    if not parts:
        return [1.0], float(target.abs().max() / after.abs().max())
    made = torch.stack([part.flatten() for part in parts], dim=1).cpu()
    wanted = target.flatten()[:, None].cpu()
    sizes = made.norm(dim=0).clamp(min=1e-30)
    solved = torch.linalg.lstsq(made / sizes, wanted, driver="gelsd").solution[:, 0] / sizes
    near = 1e-5
    factors = [
        next((n for n in numbers if abs(value - n) <= near * abs(n)), value)
        if abs(value) > 1e-6
        else 0.0
        for value in solved.tolist()
    ]
    added = float((after - before).abs().max())
    off = wanted[:, 0] - made @ torch.tensor(factors, dtype=made.dtype)
    return ([1.0, *factors] if keep else factors), float(off.abs().max()) / max(added, 1e-30)
