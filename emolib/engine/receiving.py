"""What a head would read of a run: its z, were the stream before its layer the run's.

The first half of path patching (Wang et al. 2211.00593; Goldowsky-Dill et al. 2304.05969): in a
run that edits a sender and holds all other heads, receivers are read before they are held. Where
layers are taken apart a receiver reads by its queries, its keys or its values alone too, and by
the other two inputs what the clean run has there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emolib.engine.batch_sizes import BatchSize
from emolib.engine.clean_runs import CleanRun, CleanRuns
from emolib.engine.edits import Branch, branches
from emolib.engine.layers import Input
from emolib.engine.sweeps import carry
from emolib.inputs.heads import Head
from emolib.interventions import Activations, ByLayer, Intervention
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel

_Reads = dict[tuple[Head, Input], Tensor]


@dataclass(frozen=True)
class Received:
    """What a head would read of a run.

    Attributes:
        z: By the inputs that read it, its z, for `emolib.interventions.patch` of this head.
        lacking: Why it is not known of single inputs; empty where it is.
    """

    z: Mapping[Input, Activations]
    lacking: str = ""


@torch.no_grad()
def received(
    clean_runs: CleanRuns,
    prompts: Prompts,
    runs: Sequence[Sequence[Intervention]],
    heads: Sequence[Sequence[Head]],
) -> list[dict[Head, Received]]:
    """Return per run what some heads would read of it, each edited at all positions.

    Args:
        clean_runs: The clean runs of the prompts.
        prompts: The prompts.
        runs: Per run the interventions that apply together, one at least.
        heads: Per run the heads, of later layers than the first that it edits.

    Raises:
        InputError: When a head is not one of the model's, or not even one run of one prompt fits
            into memory.
    """
    model = clean_runs.model
    branched = branches(model.model, runs, all_draws=False)
    size = BatchSize(model.shape, "all", gpu=model.model.device.type == "cuda")
    resumed = clean_runs.of(branched, "all", more=False)
    made: list[_Reads] = [{} for _ in runs]

    def work(clean: CleanRun, chunk: Sequence[Branch]) -> list[_Reads]:
        return _reads(clean_runs, clean, chunk, heads)

    for _, chunk, parts in resumed.chunks(branched, size, size.of_runs, work):
        for place, branch in enumerate(chunk):
            for rows, seen in parts:
                for key, z in seen[place].items():
                    whole = z.new_zeros(len(prompts), prompts.width, z.shape[-1])
                    whole = made[branch.run].setdefault(key, whole)
                    whole[list(rows), -z.shape[1] :] = z
    return [by_head(model.model, prompts, reads) for reads in made]


def _reads(
    clean_runs: CleanRuns, clean: CleanRun, chunk: Sequence[Branch], heads: Sequence[Sequence[Head]]
) -> list[_Reads]:
    """Return what heads would read of the runs of a chunk, by head and input ``[B, S, d_head]``."""
    model, found = clean_runs.model, [_Reads() for _ in chunk]

    def see(index: int, resid: Tensor, columns: slice) -> None:
        wanted = [[h for h in heads[branch.run] if h.layer == index] for branch in chunk]
        if not any(wanted):
            return
        layer, inputs = model.layers[index], clean.inputs[index]
        shared = clean.shared(index, columns.start)
        ours, theirs = resid[:, :-1], resid[:, -1:]
        for name, z in layer.reads(ours, theirs, inputs, columns, shared).items():
            apart = z.unflatten(-1, (model.model.n_heads, -1))
            for place, some in enumerate(wanted):
                for head in some:
                    found[place][head, name] = apart[:, place, :, head.index].clone()

    # The clean run is a row beside them: what it has before a later layer need not be kept.
    beside = replace(chunk[0], run=-1, interventions=())
    carry(model, clean, [*chunk, beside], "all", see=see)
    return found


def by_head(
    model: LanguageModel, prompts: Prompts, reads: Mapping[tuple[Head, Input], Tensor]
) -> dict[Head, Received]:
    """Return what was read by head.

    Args:
        model: The model.
        prompts: The prompts.
        reads: By head and input z, ``[n, seq, d_head]``.
    """
    found: dict[Head, dict[Input, Activations]] = {}
    for (head, name), z in reads.items():
        found.setdefault(head, {})[name] = _of_head(model, prompts, head, z)
    why = f"{model.name} runs through its own modules, in which q, k and v are not apart"
    return {head: Received(z, "" if len(z) > 1 else why) for head, z in found.items()}


def _of_head(model: LanguageModel, prompts: Prompts, head: Head, z: Tensor) -> Activations:
    def read(layer: int, columns: int) -> Tensor:
        if layer != head.layer:
            raise IndexError(f"these activations are of {head} alone, not of layer {layer}")
        # A view: what stands in the place of other heads is not theirs, and is never read.
        return z[:, -columns:, None].expand(-1, -1, model.n_heads, -1)

    whole = Batch(prompts, range(len(prompts)), model.pad, model.device)
    return Activations(prompts, whole, ByLayer(model.n_layers, prompts.width, read))
