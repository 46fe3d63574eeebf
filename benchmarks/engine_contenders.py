"""The ways to run a sweep that are compared: emolib's, and what people use today.

Each is given the same model and prompts and has the same methods. A contender whose package is
not installed raises `Missing`, and is left out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emolib.engine.gradients import Objective
from emolib.engine.layerwise import Layerwise
from emolib.engine.support import support_of
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Side
from emolib.interventions import zero
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel


class Missing(Exception):
    """A contender cannot run here."""


@dataclass(frozen=True)
class World:
    """What all contenders run.

    Attributes:
        model: The model.
        folder: The same on disk.
        ids: The prompts, ``[n, seq]``, all of one length.
    """

    model: LanguageModel
    folder: Path
    ids: Tensor

    @property
    def prompts(self) -> Prompts:
        """The prompts as emolib takes them."""
        rows = tuple(map(tuple, self.ids.tolist()))
        return Prompts(tuple("" for _ in rows), rows)


class Emolib:
    """This library."""

    name = "emolib"

    def __init__(self, world: World) -> None:
        """Hold what to run."""
        self._world, self._prompts = world, world.prompts
        first = Batch(self._prompts, range(2), world.model.pad, world.model.device)
        self._apart = support_of(world.model, first).way == "own layers"

    def _layers(self, prompts: Callable[[Side], Prompts], new: int = 1) -> Layerwise:
        model, apart = self._world.model, self._apart
        return Layerwise(model, prompts, batch_size=None, max_new_tokens=new, apart=apart)

    def sweep(self, heads: Sequence[Head]) -> Iterator[tuple[Head, Tensor]]:
        """Yield each head with the last logits where its z is 0 at all positions."""
        runs = [(zero(head),) for head in heads]
        layers = self._layers(lambda side: self._prompts)
        for index, logits in layers.logits("emotion", runs, "all"):
            yield heads[index], logits[0]

    def generate(self, heads: Sequence[Head | None], new: int) -> list[list[list[int]]]:
        """Return per head, None for the clean run, the tokens that each prompt goes on with."""
        runs = [() if head is None else (zero(head),) for head in heads]
        layers = self._layers(lambda side: self._prompts, new)
        found = dict(layers.texts("emotion", runs, "all"))
        return [[list(row) for row in found[i].ids] for i in range(len(runs))]

    def attribution(self) -> None:
        """Take z of two clean runs and the gradient at one, for all heads at all positions."""
        up, down = self._world.ids[0, :2].tolist()
        half = len(self._prompts) // 2

        def prompts(side: Side) -> Prompts:
            rows = slice(half) if side == "emotion" else slice(half, None)
            return Prompts(self._prompts.texts[rows], self._prompts.ids[rows])

        layers = self._layers(prompts)
        for side in ("emotion", "neutral"):
            # It is read when it is asked for.
            assert all(z.ndim == 4 for z in layers.activations(side).z)
        targets = torch.tensor([up, down], device=self._world.ids.device)
        metric = Objective(targets, lambda logits: logits[..., 0] - logits[..., 1])
        difference = layers.gradients("emotion", "all", metric, lambda *_: [None])
        assert len(list(difference)) == 1


class Transformers:
    """transformers as it is, with a hook on the projection's input, head by head."""

    name = "transformers"

    def __init__(self, world: World) -> None:
        """Hold what to run."""
        self._world = world

    @contextmanager
    def _zeroed(self, head: Head | None) -> Iterator[None]:
        if head is None:
            yield
            return
        model = self._world.model

        def edit(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            z = inputs[0].clone()
            width = z.shape[-1] // model.n_heads
            z[..., head.index * width : (head.index + 1) * width] = 0
            return (z, *inputs[1:])

        handle = model.module(model.attn_out(head.layer)).register_forward_pre_hook(edit)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def sweep(self, heads: Sequence[Head]) -> Iterator[tuple[Head, Tensor]]:
        """Yield each head with the last logits where its z is 0 at all positions."""
        for head in heads:
            with self._zeroed(head):
                out = self._world.model.hf(input_ids=self._world.ids, logits_to_keep=1)
            yield head, out.logits[:, -1]

    @torch.no_grad()
    def generate(self, heads: Sequence[Head | None], new: int) -> list[list[list[int]]]:
        """Return per head, None for the clean run, the tokens that each prompt goes on with."""
        found = []
        for head in heads:
            with self._zeroed(head):
                made = self._world.model.hf.generate(
                    self._world.ids,
                    attention_mask=torch.ones_like(self._world.ids),
                    max_new_tokens=new,
                    min_new_tokens=new,
                    do_sample=False,
                )
            found.append(made[:, self._world.ids.shape[1] :].tolist())
        return found


class TransformerLens:
    """TransformerLens 4's bridge, raw, with a hook on ``attn.hook_z``, head by head."""

    name = "transformerlens"

    def __init__(self, world: World) -> None:
        """Load the model.

        Raises:
            Missing: When TransformerLens is not installed.
        """
        if find_spec("transformer_lens") is None:
            raise Missing("TransformerLens is not installed (extra witness)")
        bridges = import_module("transformer_lens.model_bridge")
        self._ids = world.ids
        self._bridge: Any = bridges.TransformerBridge.boot_transformers(
            str(world.folder), device=str(world.ids.device)
        )

    def _hook(self, head: Head | None) -> list[tuple[str, Any]]:
        if head is None:
            return []

        def edit(z: Tensor, hook: Any) -> Tensor:
            z[:, :, head.index] = 0
            return z

        return [(f"blocks.{head.layer}.attn.hook_z", edit)]

    @torch.no_grad()
    def sweep(self, heads: Sequence[Head]) -> Iterator[tuple[Head, Tensor]]:
        """Yield each head with the last logits where its z is 0 at all positions."""
        for head in heads:
            logits = self._bridge.run_with_hooks(self._ids, fwd_hooks=self._hook(head))
            yield head, logits[:, -1]

    @torch.no_grad()
    def generate(self, heads: Sequence[Head | None], new: int) -> list[list[list[int]]]:
        """Return per head, None for the clean run, the tokens that each prompt goes on with."""
        found = []
        for head in heads:
            with self._bridge.hooks(fwd_hooks=self._hook(head)):
                made = self._bridge.generate(
                    self._ids,
                    max_new_tokens=new,
                    do_sample=False,
                    stop_at_eos=False,
                    verbose=False,
                    return_type="tokens",
                )
            found.append(made[:, self._ids.shape[1] :].tolist())
        return found


class Nnsight:
    """nnsight on the transformers model, a trace for each head."""

    name = "nnsight"

    def __init__(self, world: World) -> None:
        """Wrap the model.

        Raises:
            Missing: When nnsight is not installed.
        """
        if find_spec("nnsight") is None:
            raise Missing("nnsight is not installed (extra bench)")
        self._world = world
        self._wrapped: Any = import_module("nnsight").NNsight(world.model.hf)

    @torch.no_grad()
    def sweep(self, heads: Sequence[Head]) -> Iterator[tuple[Head, Tensor]]:
        """Yield each head with the last logits where its z is 0 at all positions."""
        model, wrapped, ids = self._world.model, self._wrapped, self._world.ids
        width = model.w_o(heads[0]).shape[0]
        for head in heads:
            projection = wrapped
            for name in model.attn_out(head.layer).split("."):
                projection = projection[int(name)] if name.isdigit() else getattr(projection, name)
            columns = slice(head.index * width, (head.index + 1) * width)
            with wrapped.trace(ids, logits_to_keep=1):
                projection.input[..., columns] = 0
                logits = wrapped.output.logits.save()
            yield head, logits[:, -1]


CONTENDERS = (Emolib, Transformers, TransformerLens, Nnsight)


def clock(device: torch.device) -> float:
    """Return the time in seconds, once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def forward_seconds(world: World, *, all_logits: bool) -> float:
    """Return how long one clean forward of transformers takes, after one to warm up."""
    options = {} if all_logits else {"logits_to_keep": 1}
    with torch.no_grad():
        world.model.hf(input_ids=world.ids, **options)
        started = clock(world.ids.device)
        world.model.hf(input_ids=world.ids, **options)
        return clock(world.ids.device) - started


def tidy() -> None:
    """Give back what is not used."""
    gc.collect()
