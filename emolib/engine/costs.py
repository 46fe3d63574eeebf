"""What runs will cost, before any of them: rows, batches, FLOPs, seconds and bytes.

FLOPs are those of the matrix products, two for each multiplication and addition, of what is
computed and no more: from the layer that is edited, in the columns that are edited, in the last
layer and the unembedding for the last position alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from emolib.engine import kernels
from emolib.engine.batch_sizes import BATCH, CLEAN_LOGITS, KEPT, ROOM, columns_of, fit
from emolib.engine.shapes import Shape
from emolib.engine.slices import LOGITS, WIDE, rows_at_once
from emolib.inputs.profiles import Ablation, Profile
from emolib.inputs.prompts import Position, Side
from emolib.models.encoding import Batch, Prompts

_CALL = 1e-3
"""Seconds that calling one layer takes whatever is in it, on a CPU."""
_BESIDE = 1.15
"""What norms, softmax and copies add to the matrix products."""
_DECODED = 96
"""Rows that about decode together."""
_SUMS = 3
"""Sums of exponentials that reducing logits to metrics takes as long as."""
CLEAN = -1
"""In place of the first layer that a run edits, of one that edits none."""
_BACKWARD = 2
"""A backward pass through the activations alone costs what the forward does."""


@dataclass(frozen=True)
class Cost:
    """What some runs cost.

    Attributes:
        rows: Runs, a run under several draws counted so often.
        batches: Batches that they go into.
        calls: Calls of a layer.
        flops: Floating point operations.
        peak: Bytes at most, beside the weights and what is kept of clean runs.
        unembed: Those of the operations that make logits, a few rows at a time.
        logits: Logits that are reduced to metrics, in float64.
        stepwise: Those of the operations of layers that go token by token, on few rows at a time.
    """

    rows: int = 0
    batches: int = 0
    calls: int = 0
    flops: int = 0
    peak: int = 0
    unembed: int = 0
    logits: int = 0
    stepwise: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        return Cost(
            self.rows + other.rows,
            self.batches + other.batches,
            self.calls + other.calls,
            self.flops + other.flops,
            max(self.peak, other.peak),
            self.unembed + other.unembed,
            self.logits + other.logits,
            self.stepwise + other.stepwise,
        )

    def seconds(self, speed: Speed) -> float:
        """Return how long it takes at the speeds of a machine."""
        together = (self.flops - self.unembed - self.stepwise) / speed.products
        layers = _BESIDE * (together + self.stepwise / speed.stepwise)
        return (
            layers + self.calls * _CALL + self.unembed / speed.unembed + self.logits / speed.logits
        )


@dataclass(frozen=True)
class Speed:
    """How fast a machine is at what runs are made of.

    Attributes:
        products: FLOP/s of the matrix products of layers.
        unembed: FLOP/s of the product that makes logits, a few rows at a time.
        logits: Logits a second that are reduced to metrics.
        stepwise: FLOP/s of the products of layers on as many rows as decode together.
    """

    products: float
    unembed: float
    logits: float
    stepwise: float


@dataclass(frozen=True)
class Runs:
    """Runs of one kind on one side's prompts, to be computed together.

    Attributes:
        prompts: The prompts.
        position: Where they edit.
        firsts: Per run the first layer that it edits; −1 for a clean run.
        new: Tokens to generate under each; 0 for none.
        backward: Whether a gradient is taken.
        again: Whether they are clean runs that something else has made before: no cost where such
            runs are kept.
    """

    prompts: Prompts
    position: Position
    firsts: tuple[int, ...]
    new: int = 0
    backward: bool = False
    again: bool = False

    def cost(self, shape: Shape, *, size: int | None = None, gpu: bool = False) -> Cost:
        """Return what they cost.

        Args:
            shape: The model's sizes.
            size: Prompts per batch; None for as many as fit.
            gpu: Whether they run on a GPU.
        """
        if self.again and kept(shape, self.prompts):
            return Cost()
        batches = self.prompts.buckets(size or BATCH, 0, "cpu")
        total, left = Cost(rows=len(self.firsts)), sorted(self.firsts)
        while left:
            if left[0] < 0:
                count = left.count(-1)
            elif self.new:
                most = max(len(b.rows) * self._decoded(shape, b) for b in batches)
                count = max(1, min(ROOM // most, len(left)))
            else:
                tokens, peak = self._largest(shape, batches)
                count = fit(tokens, peak, left.count(left[0]), len(left), gpu=gpu)
            for batch in batches:
                total += self._batch(shape, batch, left[:count])
            del left[:count]
        return total + self._made_again(shape, batches)

    def _made_again(self, shape: Shape, batches: Sequence[Batch]) -> Cost:
        """Return the cost of the clean run that they resume from, where that is not kept."""
        if max(self.firsts, default=CLEAN) < 0:
            return Cost()
        if kept(shape, self.prompts, whole=self.position != "last"):
            return Cost()
        clean = replace(self, firsts=(CLEAN,), new=0, backward=False)
        made = [clean._batch(shape, batch, (CLEAN,)) for batch in batches]
        total = sum(made, Cost())
        # It ends before the logits.
        return replace(total, flops=total.flops - total.unembed, unembed=0, logits=0)

    def _decoded(self, shape: Shape, batch: Batch) -> int:
        """Return the bytes that a row takes that decodes."""
        tokens = columns_of(batch, (), self.position)
        return shape.decode_floats(tokens + self.new) * shape.size

    def _largest(self, shape: Shape, batches: Sequence[Batch]) -> tuple[int, int]:
        shapes = [(len(b.rows), columns_of(b, (), self.position), b.width) for b in batches]
        floats = [shape.layer_floats(tokens, width) for _, tokens, width in shapes]
        most = max(s[0] * held for s, held in zip(shapes, floats, strict=True))
        return max(rows * tokens for rows, tokens, _ in shapes), most * shape.size

    def _batch(self, shape: Shape, batch: Batch, firsts: Sequence[int]) -> Cost:
        rows, width, count = len(batch.rows), batch.width, len(firsts)
        clean = firsts[0] < 0
        tokens = width if clean else columns_of(batch, (), self.position)
        flops = count * shape.run_flops(rows, width, tokens, firsts[0])
        unembed = count * 2 * rows * shape.d_model * shape.vocab
        logits = 0 if self.new or self.backward else count * rows * shape.vocab
        calls = shape.n_layers - max(firsts[0], 0)
        peak = count * rows * shape.layer_floats(tokens, width) * shape.size
        stepwise = 0
        if self.backward:
            # Of logits those of the targets alone.
            flops, calls, unembed = _BACKWARD * (flops - unembed), _BACKWARD * calls, 0
            held = 2 * shape.n_layers * shape.layer_floats(tokens, width) * shape.size
            peak += min(count * rows * held, max(held, ROOM))
        if self.new:
            # Each token goes through all layers and looks at what is before it.
            step = shape.heads_flops(rows, rows, width + self.new // 2) + shape.mlp_flops(rows)
            more = self.new * unembed
            stepwise = count * self.new * shape.n_layers * step
            # Once to make a text and once to score it, all of its tokens together.
            flops += 2 * (stepwise + more)
            unembed += 2 * more
            calls += self.new * shape.n_layers
            peak = count * rows * self._decoded(shape, batch)
        peak += sliced(shape, rows * count, texts=bool(self.new))
        return Cost(0, 1, calls, flops, peak, unembed, logits, stepwise)


@dataclass(frozen=True)
class Planned:
    """What runs are planned for: one model on one emotion's prompts. Methods say what they cost.

    Attributes:
        prompts: The prompts of each side.
        profile: The settings.
        n_layers: Layers of the model.
        n_heads: Heads per layer.
        n_units: MLP units per layer.
        items: How many items of one function there are, that differ in what they edit.
        firsts: Of each set that they edit, the first layer; empty where they name none.
        positions: Where they edit; None for wherever the method does.
        draws: Draws of a run of theirs.
        ablation: The kind of ablation that they are for; None of none.
    """

    prompts: Mapping[Side, Prompts]
    profile: Profile
    n_layers: int
    n_heads: int
    n_units: int
    items: int = 0
    firsts: tuple[int, ...] = ()
    positions: tuple[Position, ...] | None = None
    draws: int = 1
    ablation: Ablation | None = None

    def runs(
        self, side: Side, firsts: Sequence[int], *, new: int = 0, backward: bool = False
    ) -> Runs:
        """Return runs on one side's prompts at the profile's position; see `Runs`."""
        position = self.profile.position
        return Runs(self.prompts[side], position, tuple(firsts), new, backward)

    def clean(self, *, again: bool = False) -> Iterator[Runs]:
        """Yield a clean run of each side, that something else has made before or not."""
        for side in self.prompts:
            yield replace(self.runs(side, (CLEAN,)), again=again)

    def spread(self, count: int) -> list[int]:
        """Return layers of heads or units that are not known yet: evenly over the model."""
        return [i * self.n_layers // count for i in range(count)]


def kept(shape: Shape, prompts: Prompts, *, whole: bool = False) -> int:
    """Return the bytes of a clean run that is kept: of all columns, or of keys and values.

    Args:
        shape: Of the model.
        prompts: What runs.
        whole: Whether only one of all columns will do.
    """
    for columns in (None,) if whole else (None, 1):
        floats = sum(shape.clean_floats(len(ids), columns or len(ids)) for ids in prompts.ids)
        if floats * shape.size <= KEPT:
            return floats * shape.size
    return 0


def sliced(shape: Shape, rows: int, *, texts: bool = False) -> int:
    """Return the bytes that the logits of so many rows take while they are made and reduced.

    Args:
        shape: Of the model.
        rows: How many.
        texts: Whether it is texts that are scored, by sums of exponentials of all of a slice.
    """
    made = min(LOGITS, rows * shape.vocab * shape.size)
    if texts:
        return 3 * made
    # The logits in float64, the clean run's beside them, their steps and a sum's.
    return made + 4 * min(WIDE, rows * shape.vocab * 8)


def clean_logits(shape: Shape, prompts: Prompts) -> int:
    """Return the bytes of the clean logits that are kept."""
    size = len(prompts) * shape.vocab * shape.size
    return size if size <= CLEAN_LOGITS else 0


def all_z(shape: Shape, prompts: Prompts) -> int:
    """Return the bytes of z at every token that are kept of both sides: of some layers at least."""
    of_layer = sum(map(len, prompts.ids)) * shape.z_floats // shape.n_layers * shape.size
    return 2 * min(max(KEPT // 2, of_layer), shape.n_layers * of_layer)


def held(shape: Shape, prompts: Mapping[Side, Prompts], *, everywhere: bool = True) -> int:
    """Return the bytes that are kept of the clean runs of both sides.

    Args:
        shape: Of the model.
        prompts: The prompts by side.
        everywhere: Whether runs edit other positions than the last, for which z of all tokens is
            read.
    """
    total = sum(kept(shape, side) for side in prompts.values())
    if not all(kept(shape, side, whole=everywhere) for side in prompts.values()):
        # Those of a few prompts at a time, halved until they have room.
        total += 3 * KEPT // 4
    total += max(clean_logits(shape, side) for side in prompts.values())
    return total + (all_z(shape, prompts["emotion"]) if everywhere else 0)


def forward_flops(shape: Shape, prompts: Prompts) -> int:
    """Return the FLOPs of one clean run, logits at the last position."""
    return Runs(prompts, "last", (-1,)).cost(shape).flops


def speed_of(shape: Shape, device: str = "cpu") -> Speed:
    """Return the speeds of this machine, measured in a second: of the MLP, logits and sums."""
    dtype = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[shape.size]

    def product(rows: int, width: int) -> float:
        values = torch.randn(rows, shape.d_model, device=device).to(dtype)
        weight = torch.randn(width, shape.d_model, device=device).to(dtype)
        seconds = _best(lambda: kernels.linear(values, weight, None)[-1, -1].item())
        return 2 * rows * shape.d_model * width / seconds

    some = min(shape.vocab, 32768)
    logits = torch.randn(8, some, device=device, dtype=torch.float64)
    return Speed(
        product(1024, shape.n_units),
        product(rows_at_once(shape.vocab, shape.size), some),
        logits.numel() / (_SUMS * _best(lambda: logits.logsumexp(-1).sum().item())),
        product(_DECODED, shape.n_units),
    )


def _best(work: Callable[[], Any]) -> float:
    """Return the least seconds of a few tries."""
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            started = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - started)
    return best
