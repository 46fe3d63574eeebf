"""Proofs that a model's heads are where its row says, on the model itself and two short prompts.

Rows of the table are proven by the tests; a row that was found, or given by hand, is proven on the
loaded model before anything is computed. Each proof is a figure that has to stay below its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from emolib.engine import hooked
from emolib.engine.direct_path import direct_path
from emolib.engine.forwards import Prefix, forward, run_columns
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.interventions import edit, zero
from emolib.models.architectures import BY_HAND, is_given, is_proven
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel
from emolib.models.structure import describe, observed, probe_ids
from emolib.tracing import OwnTraceDict

# Relative to the largest logit, or to the largest output of the projection.
_LIMIT = {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}


@dataclass(frozen=True)
class Proof:
    """One thing that was shown, or not.

    Attributes:
        name: Its name.
        says: What holds where it holds.
        deviation: How far it is from holding exactly; None where it could not be tested.
        limit: What the deviation may be.
        needed: Whether heads cannot be worked on without it; other proofs tell what else there is.
        why: What is known beside the figure.
    """

    name: str
    says: str
    deviation: float | None
    limit: float
    needed: bool = True
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether it was shown."""
        return self.deviation is not None and self.deviation <= self.limit

    def __str__(self) -> str:
        """Return the name, the figure and the limit."""
        figure = "not shown" if self.deviation is None else f"{self.deviation:.2g}"
        return f"{self.name}: {figure} (limit {self.limit:g}){f', {self.why}' if self.why else ''}"


_KNOWN: WeakKeyDictionary[LanguageModel, tuple[Proof, ...]] = WeakKeyDictionary()


def check(model: LanguageModel) -> None:
    """Prove the structure of a model that is not of the table, once.

    Raises:
        InputError: When a proof does not hold: which one, by how much, what was found, and how to
            give the row by hand.
    """
    if is_proven(model.arch.model_type):
        return
    if model not in _KNOWN:
        with model.as_loaded.lifted("proving its structure"):
            _KNOWN[model] = prove(model)
    if failed := [proof for proof in _KNOWN[model] if proof.needed and not proof.holds]:
        raise InputError(
            f"model {model.name}: its heads are not proven to be where they were taken for, so "
            f"nothing is computed: {failed[0].says} ({'; '.join(map(str, failed))}); "
            f"{model.arch.model_type}: {describe(model.arch)}; {BY_HAND}"
        )


@torch.no_grad()
def prove(model: LanguageModel) -> tuple[Proof, ...]:
    """Return the proofs of a model's structure, those that hold and those that do not."""
    ids = probe_ids(model.hf)[0].tolist()
    sides = (tuple(ids), tuple(ids[1:4]))
    prompts = Prompts(tuple(" ".join(map(str, side)) for side in sides), sides)
    limit = _LIMIT[str(model.hf.dtype).removeprefix("torch.")]
    makers: list[tuple[str, str, float, Callable[[LanguageModel, Prompts], float | None]]] = [
        ("identity", "an edit that changes nothing changes no bit of the logits", 0.0, _identity),
        ("slice", "zeroing a head equals zeroing its slice of W_O", limit, _slice),
        ("bias", "with all heads of a layer zeroed the bias is left", limit, _bias),
        ("sum", "heads and bias add up to what the projection puts out", limit, _sum),
        ("apart", "what a head is made of reaches its slice of z and no other", 1e-6, _apart),
        ("causal", "a token does not change what comes before it", limit, _causal),
        ("padding", "batched with padding equals one by one", limit, _padding),
        ("cache", "the last token on a cache equals the whole run", limit, _cache),
    ]
    # A row by hand vouches for how z is laid out, which not every projection shows; that its
    # projections are the last ones of attention and MLP was seen where it was found.
    by_hand = is_given(model.arch.model_type)
    found = []
    for name, says, most, maker in makers:
        needed = name != "apart" or not by_hand
        try:
            found.append(Proof(name, says, maker(model, prompts), most, needed))
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            found.append(Proof(name, says, None, most, needed, why))
    path = direct_path(model)
    says = "a layer adds what attention and MLP put out to the residual stream"
    deviation = None if path.reason else path.deviation
    found.append(Proof("stream", says, deviation, 1e-4, needed=by_hand, why=path.reason or ""))
    return tuple(found)


def _off(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def _worse(one: float, other: float) -> float:
    """Return the larger; what is no number is worse than any, and `max` would pass it over."""
    return float(np.maximum(one, other))


def _whole(model: LanguageModel, prompts: Prompts) -> Batch:
    return Batch(prompts, range(len(prompts)), model.pad, model.device)


def _some(model: LanguageModel) -> list[Head]:
    """Return heads of the first and the last layer that has any."""
    layers = dict.fromkeys((model.head_layers[0], model.head_layers[-1]))
    indices = dict.fromkeys((0, model.n_heads // 2, model.n_heads - 1))
    return [Head(layer, index) for layer in layers for index in indices]


def _identity(model: LanguageModel, prompts: Prompts) -> float:
    clean = hooked.last_logits(model, prompts)
    same = edit(model.heads, lambda z: z)
    edited = hooked.last_logits(model, prompts, [same], position="all")
    return float((edited.double() - clean.double()).abs().max())


def _slice(model: LanguageModel, prompts: Prompts) -> float:
    worst = 0.0
    for head in _some(model):
        zeroed = hooked.last_logits(model, prompts, [zero(head)], position="all")
        module: Any = model.module(model.attn_out(head.layer))
        weight = module.weight.detach().clone()
        inside = weight if type(module).__name__ == "Conv1D" else weight.T
        inside.view(*_cut(inside, model.n_heads))[head.index] = 0
        with _weight(module, weight):
            expected = hooked.last_logits(model, prompts)
        worst = _worse(worst, _off(zeroed, expected))
    return worst


def _cut(rows: Tensor, n_heads: int) -> tuple[int, int, int]:
    return n_heads, rows.shape[0] // n_heads, rows.shape[1]


@contextmanager
def _weight(module: nn.Module, weight: Tensor) -> Iterator[None]:
    """Give a module another weight while the context is open; its own is never edited."""
    own = module._parameters["weight"]
    module._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    try:
        yield
    finally:
        module._parameters["weight"] = own


def _bias(model: LanguageModel, prompts: Prompts) -> float:
    batch, worst = _whole(model, prompts), 0.0
    paths = [model.attn_out(layer) for layer in model.head_layers]
    with observed(model.hf, paths) as clean:
        forward(model, batch)
    every = [zero(model.heads)]
    with hooked.intervened(model, every, batch, "all"), observed(model.hf, paths) as seen:
        forward(model, batch)
    real = batch.attention_mask.bool().cpu()
    for path in paths:
        out, before = seen[path].output, clean[path].output
        assert out is not None and before is not None
        bias = getattr(model.module(path), "bias", None)
        left = hooked.by_prompt(out, batch)[real] - (0 if bias is None else bias.cpu())
        size = before.double().abs().max().clamp(min=1e-30)
        worst = _worse(worst, float(left.double().abs().max() / size))
    return worst


def _sum(model: LanguageModel, prompts: Prompts) -> float:
    batch, worst = _whole(model, prompts), 0.0
    paths = {layer: model.attn_out(layer) for layer in model.head_layers}
    with observed(model.hf, list(paths.values())) as seen:
        forward(model, batch)
    for layer, path in paths.items():
        given, out = seen[path].input, seen[path].output
        assert given is not None and out is not None
        z = hooked.split_heads(given, model.n_heads)
        heads = (z[..., i, :] @ model.w_o(Head(layer, i)).cpu() for i in range(model.n_heads))
        total = sum(heads, torch.zeros_like(out))
        bias = getattr(model.module(path), "bias", None)
        worst = _worse(worst, _off(total if bias is None else total + bias.cpu(), out))
    return worst


def _apart(model: LanguageModel, prompts: Prompts) -> float | None:
    """Return how much a head's making reaches other slices of z, by the best way to cut it.

    Noise is put on what a module of the attention puts out for one head: a projection of queries,
    or a norm on them, cut into as many blocks as there are heads.
    """
    layer = model.head_layers[0]
    out = model.attn_out(layer)
    root, ids = out.rpartition(".")[0], probe_ids(model.hf)
    # A gate works on slices of z whatever they hold.
    inside = [
        name
        for name, module in model.hf.named_modules()
        if name.startswith(f"{root}.")
        and name != out
        and not any(word in name for word in ("gate", "g_proj"))
        and not list(module.children())
    ]
    with observed(model.hf, [*inside, out]) as seen:
        model.hf(input_ids=ids, use_cache=False)
    z = seen[out].input
    assert z is not None
    before = list(seen)[: list(seen).index(out)]
    # Queries first: they belong to heads in every architecture, keys and values may be shared.
    before.sort(key=lambda name: not name.rpartition(".")[2].startswith(("q", "wq")))
    heads = list(dict.fromkeys((0, model.n_heads - 1, model.n_heads // 2, 1 % model.n_heads)))
    best: float | None = None
    for name in before:
        output = seen[name].output
        if output is None or seen[name].others:
            continue
        for cut in _cuts(output, model.n_heads, z.shape[-1]):
            worst: float | None = 0.0
            for head in heads:
                reached = _reached(model, ids, name, out, cut(head), z)
                worst = None if reached is None or worst is None else max(worst, reached)
                if worst is None or worst > 1e-6:
                    break
            if worst is not None:
                best = worst if best is None else min(best, worst)
            if best is not None and best <= 1e-6:
                return best
    return best


Cut = Callable[[int], tuple[Any, ...]]
"""From a head to the index of what is its own."""


def _cuts(output: Tensor, n_heads: int, width: int) -> Iterator[Cut]:
    """Yield the ways in which an output may be made of heads.

    Args:
        output: What a module puts out, ``[batch, seq, …]`` or with heads as a dim of their own.
        n_heads: Heads.
        width: Width of z.
    """
    for dim in range(1, output.ndim - 1):
        if output.shape[dim] == n_heads and output.ndim > 3:
            yield _by_index(dim)
    if output.ndim != 3:
        return
    if output.shape[-1] % n_heads == 0:
        yield _by_block(output.shape[-1] // n_heads)
    if output.shape[-1] > width:
        yield _by_block(width // n_heads)


def _by_index(dim: int) -> Cut:
    return lambda head: (*(slice(None),) * dim, head)


def _by_block(size: int) -> Cut:
    return lambda head: (..., slice(head * size, (head + 1) * size))


def _reached(
    model: LanguageModel, ids: Tensor, name: str, out: str, index: tuple[Any, ...], z: Tensor
) -> float | None:
    """Return how far noise there moves other heads' z, relative to that of its own head.

    Returns:
        None where it does not move its own.
    """

    def noisy(output: Tensor) -> Tensor:
        changed = output.clone()
        drawn = torch.Generator().manual_seed(0)
        part = changed[index]
        noise = torch.randn(part.shape, generator=drawn).to(part)
        changed[index] = part + noise * (part.float().std() + 1e-3)
        return changed

    traces = OwnTraceDict(
        model.hf, [name, out], retain_output=False, retain_input={out: True}, clone=True,
        edit_output={name: noisy}, stop=True,
    )  # fmt: skip
    with traces as traced:
        model.hf(input_ids=ids, use_cache=False)
    moved = hooked.split_heads((traced[out].input.cpu() - z).double().abs(), model.n_heads)
    by_head = moved.amax(-1).flatten(0, -2).amax(0)
    own = _head_of(index, by_head)
    others = by_head.clone()
    others[own] = 0
    return float(others.max() / by_head[own]) if by_head[own] > 0 else None


def _head_of(index: tuple[Any, ...], by_head: Tensor) -> int:
    last = index[-1]
    if isinstance(last, int):
        return last
    size = last.stop - last.start
    return int(last.start // size) % len(by_head)


def _causal(model: LanguageModel, prompts: Prompts) -> float:
    ids = probe_ids(model.hf)
    other = ids.clone()
    other[:, -1] = ids[:, 0]
    first, second = (model.hf(input_ids=one, use_cache=False).logits for one in (ids, other))
    if first.shape[1] < 2:
        raise ValueError("the model gives the logits of the last token alone")
    return _off(second[:, :-1], first[:, :-1])


def _padding(model: LanguageModel, prompts: Prompts) -> float:
    together, worst = hooked.last_logits(model, prompts)[0], 0.0
    for row, ids in enumerate(prompts.ids):
        one = torch.tensor([ids], device=model.device)
        places = torch.arange(len(ids), device=model.device)[None]
        alone = run_columns(model, one, torch.ones_like(one), places).logits[0, -1]
        worst = _worse(worst, _off(together[row], alone))
    return worst


def _cache(model: LanguageModel, prompts: Prompts) -> float:
    whole = hooked.last_logits(model, prompts)
    return _off(hooked.last_logits(model, prompts, prefix=Prefix(model, prompts)), whole)
