"""The whole model under hooks: forwards, greedy generation. The one place that edits z by hooks.

The slow path that every model has, and the one that is right while others have hooks on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from emolib.engine.batch_sizes import columns_of, whole_batches
from emolib.engine.decoding import Continuations, Greedy, continuations, mean_log_probs
from emolib.engine.edits import RunEdits, apart, is_normed, path_of, stream_path, weight_of
from emolib.engine.forwards import Prefix, forward, next_token
from emolib.engine.slices import Measure, reduced
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Position
from emolib.inputs.targets import parts
from emolib.inputs.units import LayerUnits, Unit, UnitSet
from emolib.interventions import NO_HEADS, Activations, ByLayer, Intervention
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel
from emolib.tracing import OwnTraceDict


@contextmanager
def intervened(
    model: LanguageModel,
    interventions: Sequence[Intervention],
    batch: Batch,
    position: Position,
    draw: int = 0,
) -> Iterator[RunEdits]:
    """Edit z, or the stream, while the context is open, at every forward on `batch` and after.

    Interventions on the same head or unit apply in the order given. The hooks are gone when the
    context closes, whatever happened inside.

    Args:
        model: The model.
        interventions: What to do; none gives the clean model, without a hook.
        batch: The prompts that will run.
        position: Where in the prompt z is edited; generated tokens are edited under ``all``, and
            by interventions for every step.
        draw: Number of the draw.

    Yields:
        The stage: set its `generated` before running a generated token.

    Raises:
        InputError: When a head or unit is not one of the model's.
        RuntimeError: When an edit returns another shape than it got, or never ran.
    """
    stage = RunEdits(model, interventions, batch, position, draw)
    if not stage.plan:
        yield stage
        return

    def edit_output(output: Tensor, layer: str, inputs: tuple[Tensor, ...]) -> Tensor:
        z = by_prompt(inputs[0], batch)
        edited, seen = stage.edited(z, layer)
        if seen and is_normed(model, seen[0]):
            # A norm brings what is left to its size, and where an edit leaves nothing, that is
            # the rounding of the difference below. The last term is what another trace added.
            project: Callable[[Tensor], Tensor] = model.module(layer).forward
            return project(edited.view_as(inputs[0])) + (output - project(inputs[0]))
        # The projection is linear, so adding what the edit changes equals projecting the edited
        # z, costs less, and keeps what another trace on the same module did to the output.
        for part in apart(seen):
            columns = stage.columns(part, z)
            change = edited[..., columns] - z[..., columns]
            output = output + (change @ weight_of(model, part).to(change.device)).view_as(output)
        return output

    def edit_stream(output: Any, layer: str) -> Any:
        # The layers of some architectures put out a tuple, the stream first.
        first, *rest = output if isinstance(output, tuple) else (output,)
        if not isinstance(first, Tensor) or first.ndim != 3:
            raise InputError(
                f"{', '.join(map(str, interventions))}: {layer} of {model.name} puts out no plain "
                "residual stream, [batch, seq, d_model]; edit z of its heads instead"
            )
        edited, _ = stage.edited(by_prompt(first, batch), layer)
        edited = edited.view_as(first)
        return (edited, *rest) if isinstance(output, tuple) else edited

    streams = {stream_path(model, index) for index in range(model.n_layers)} & stage.plan.keys()
    edit = {path: edit_stream if path in streams else edit_output for path in stage.plan}
    with OwnTraceDict(model.hf, list(stage.plan), retain_output=False, edit_output=edit):
        yield stage
    if missed := sorted(stage.plan.keys() - stage.ran):
        raise RuntimeError(
            f"{', '.join(map(str, interventions))}: {', '.join(missed)} of {model.name} never "
            "ran, so nothing was edited there; check the architecture's row in "
            "emolib.models.architectures"
        )


def by_prompt(values: Tensor, batch: Batch) -> Tensor:
    """Return values as ``[batch, seq, d]``: OPT runs its MLP on all positions in one row."""
    return values.reshape(len(batch.rows), -1, values.shape[-1])


def split_heads(z: Tensor, n_heads: int) -> Tensor:
    """Return the input of an output projection cut into heads, ``[…, n_heads, d_head]``."""
    return z.reshape(*z.shape[:-1], n_heads, -1)


@torch.no_grad()
def last_logits(
    model: LanguageModel,
    prompts: Prompts,
    interventions: Sequence[Intervention] = (),
    *,
    position: Position = "last",
    batch_size: int | None = None,
    prefix: Prefix | None = None,
    share: bool = True,
    measure: Measure | None = None,
) -> Tensor:
    """Return the logits at the last prompt token, or what is kept of them.

    Args:
        model: The model.
        prompts: What to run.
        interventions: Applied together.
        position: Where in the prompt z is edited.
        batch_size: Prompts per forward.
        prefix: What comes before the last token, where `may_share` is true.
        share: Whether the draws may share one that is made for them.
        measure: What is kept of the logits; None for all of them.

    Returns:
        Shape ``[draws, n_prompts, vocab]``, in the model's type, or ``[draws, n_prompts, M]``;
        draws is 1 unless an intervention draws.
    """
    draws = max((intervention.draws for intervention in interventions), default=1)
    if prefix is None and share and draws > 1 and may_share(prompts, interventions, position):
        prefix = Prefix(model, prompts, batch_size)
    rows = []
    for batch in whole_batches(model, prompts, batch_size):
        runs = []
        for draw in range(draws):
            with intervened(model, interventions, batch, position, draw):
                out = prefix.last(batch) if prefix else forward(model, batch)
            logits = out.logits[:, -1]
            if measure is not None:
                logits = reduced(logits[:, None], batch.rows, measure)[:, 0]
            runs.append(logits)
        rows.append(torch.stack(runs))
    return torch.cat(rows, dim=1)


def may_share(prompts: Prompts, interventions: Sequence[Intervention], position: Position) -> bool:
    """Tell whether runs may share what comes before the last token: nothing there is edited."""
    alone = position == "last" and all(intervention.tokenwise for intervention in interventions)
    return (alone or not interventions) and min(map(len, prompts.ids)) > 1


@torch.no_grad()
def read(
    model: LanguageModel,
    prompts: Prompts,
    paths: Sequence[str],
    *,
    what: Literal["input", "output"] = "input",
    batch_size: int | None = None,
) -> Iterator[tuple[Batch, dict[str, Any]]]:
    """Yield batches of prompts with what goes into modules, or comes out, in a clean run.

    Args:
        model: The model.
        prompts: What to run.
        paths: The modules, the one that runs last at the end: the forward goes no further.
        what: ``input``: the tensor that goes in; ``output``: whatever comes out.
        batch_size: Prompts per forward.

    Yields:
        (The batch, by path what was read.)
    """
    outputs = what == "output"
    for batch in whole_batches(model, prompts, batch_size, kept=True):
        with OwnTraceDict(
            model.hf, paths, retain_output=outputs, retain_input=not outputs, stop=True
        ) as traced:
            forward(model, batch)
        yield (
            batch,
            {
                path: on_prompts_device(model, getattr(trace, what))
                for path, trace in traced.items()
            },
        )


def on_prompts_device(model: LanguageModel, value: Any) -> Any:
    """Return what a module took or gave on the device of the prompts, where it is on another."""
    if isinstance(value, Tensor):
        return value.to(model.device)
    if type(value) in (tuple, list):
        return type(value)(on_prompts_device(model, part) for part in value)
    return value


See = Callable[[Batch, int, slice, Tensor], None]
"""Is shown a batch, a layer, columns of its tokens, and how much each attends to every column up
to the last of them, ``[batch, H, columns, up to there]``; a row sums to 1."""


@torch.no_grad()
def attention(
    model: LanguageModel,
    prompts: Prompts,
    position: Position,
    see: See,
    *,
    batch_size: int | None = None,
) -> None:
    """Show where heads look, from the first column of each batch that a position points at.

    Rows of padding mean nothing. What is shown is let go of before the next.

    Raises:
        InputError: When the model's attention does not put out its pattern.
    """
    # Traced: asking transformers for output_attentions leaves its hooks on the model for good.
    paths = {model.arch.attn_path(layer): layer for layer in model.head_layers}
    for batch in whole_batches(model, prompts, batch_size):
        columns = slice(batch.width - columns_of(batch, (), position), batch.width)

        def edit_output(
            output: Any, layer: str, batch: Batch = batch, columns: slice = columns
        ) -> None:
            pattern = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if pattern is None or pattern.ndim != 4:
                raise InputError(
                    f"{model.name}: {layer} does not put out its attention pattern; delta_attn "
                    "and attention plots cannot be had of this architecture"
                )
            see(batch, paths[layer], columns, pattern[:, :, columns])

        with OwnTraceDict(
            model.hf, list(paths), retain_output=False, edit_output=edit_output, stop=True
        ):
            forward(model, batch)


@torch.no_grad()
def inputs_at_last(
    model: LanguageModel,
    prompts: Prompts,
    paths: Sequence[str],
    *,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Return what goes into modules at the last token, ``[n, d]`` each.

    The module that runs last is named last: the forward goes no further.
    """
    rows: dict[str, list[Tensor]] = {path: [] for path in paths}
    for batch in whole_batches(model, prompts, batch_size):

        def edit_output(
            output: Any, layer: str, inputs: tuple[Tensor, ...], batch: Batch = batch
        ) -> None:
            rows[layer].append(by_prompt(inputs[0], batch)[:, -1].clone())

        with OwnTraceDict(
            model.hf, list(paths), retain_output=False, edit_output=edit_output, stop=True
        ):
            forward(model, batch)
    return {path: torch.cat(parts) for path, parts in rows.items()}


@torch.no_grad()
def streams_at_last(
    model: LanguageModel, prompts: Prompts, *, batch_size: int | None = None
) -> Tensor:
    """Return the residual stream after each layer at the last token, ``[n_layers, n, d_model]``.

    Raises:
        InputError: When the model's layers put out no plain residual stream.
    """
    paths = [stream_path(model, layer) for layer in range(model.n_layers)]
    rows: dict[str, list[Tensor]] = {path: [] for path in paths}
    for batch in whole_batches(model, prompts, batch_size):

        def edit_output(output: Any, layer: str) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if not isinstance(first, Tensor) or first.ndim != 3:
                raise InputError(f"{layer} of {model.name} puts out no plain residual stream")
            rows[layer].append(on_prompts_device(model, first[:, -1].clone()))

        with OwnTraceDict(model.hf, paths, retain_output=False, edit_output=edit_output):
            forward(model, batch)
    return torch.stack([torch.cat(rows[path]) for path in paths])


def activations(
    model: LanguageModel,
    prompts: Prompts,
    units: UnitSet | None = None,
    *,
    batch_size: int | None = None,
) -> Activations:
    """Return z of every head, or of some units, on some prompts, from a clean run."""
    whole = Batch(prompts, range(len(prompts)), model.pad, model.device)
    if units is not None:
        return Activations(prompts, whole, NO_HEADS, _read_units(model, prompts, units, batch_size))
    paths = {layer: model.attn_out(layer) for layer in model.head_layers}
    layers: dict[int, list[Tensor]] = {layer: [] for layer in paths}
    for _, found in read(model, prompts, list(paths.values()), batch_size=batch_size):
        for layer, path in paths.items():
            layers[layer].append(split_heads(found[path], model.n_heads))
    joined = {layer: torch.cat(parts_) for layer, parts_ in layers.items()}
    # Layers without heads keep their place.
    some = joined[model.head_layers[0]]
    none = some.new_zeros(*some.shape[:2], 0, 0)

    def last(layer: int, columns: int) -> Tensor:
        return joined.get(layer, none)[:, -columns:]

    z = ByLayer(model.n_layers, prompts.width, last)
    return Activations(prompts, whole, z)


@torch.no_grad()
def received(
    model: LanguageModel,
    prompts: Prompts,
    interventions: Sequence[Intervention],
    heads: Sequence[Head],
    *,
    batch_size: int | None = None,
) -> dict[Head, Tensor]:
    """Return z of some heads as a run makes it, before it edits them, ``[n, seq, d_head]`` each.

    The run edits at all positions.
    """
    rows: dict[Head, list[Tensor]] = {head: [] for head in heads}
    paths = {head: model.attn_out(head.layer) for head in heads}
    for batch in whole_batches(model, prompts, batch_size, kept=True):
        # What goes into a projection is not edited, but what it puts out.
        traces = OwnTraceDict(
            model.hf, sorted(set(paths.values())), retain_output=False, retain_input=True
        )
        with intervened(model, interventions, batch, "all"), traces as traced:
            forward(model, batch)
        for head, path in paths.items():
            z = by_prompt(on_prompts_device(model, traced[path].input), batch)
            rows[head].append(split_heads(z, model.n_heads)[:, :, head.index].clone())
    return {head: torch.cat(made) for head, made in rows.items()}


def _read_units(
    model: LanguageModel, prompts: Prompts, units: UnitSet, batch_size: int | None
) -> dict[Unit, Tensor]:
    wanted = {path_of(model, part): part for part in parts(units) if isinstance(part, LayerUnits)}
    rows: dict[Unit, list[Tensor]] = {unit: [] for unit in units}
    for batch, found in read(model, prompts, list(wanted), batch_size=batch_size):
        for path, part in wanted.items():
            z = by_prompt(found[path], batch)
            for unit in part:
                rows[unit].append(z[..., unit.index].clone())
    return {unit: torch.cat(parts_) for unit, parts_ in rows.items()}


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompts: Prompts,
    interventions: Sequence[Intervention] = (),
    *,
    max_new_tokens: int,
    position: Position = "last",
    batch_size: int | None = None,
    prefix: Prefix | None = None,
) -> Continuations:
    """Return greedy continuations, under the interventions' first draw.

    At ``last``, ``slot`` and ``after_slot`` z is edited while the prompt is read; at ``all``, and
    by interventions for every step, at every generated token too.
    """
    rows: list[tuple[tuple[int, ...], float]] = []
    for batch in whole_batches(model, prompts, batch_size):
        with intervened(model, interventions, batch, position) as stage:
            out = prefix.last(batch) if prefix else forward(model, batch, use_cache=True)
            rows += _decode(model, batch, stage, out, max_new_tokens)
    return continuations(model, [i for i, _ in rows], [gap for _, gap in rows], prompts.ends)


def _decode(
    model: LanguageModel, batch: Batch, stage: RunEdits, out: Any, max_new_tokens: int
) -> list[tuple[tuple[int, ...], float]]:
    mask, position_ids = batch.attention_mask, batch.position_ids[:, -1:]
    stage.generated = True
    greedy = Greedy(model, len(batch.rows), batch.prompts.ends)
    for step in range(max_new_tokens):
        token = greedy.take([out.logits[:, -1]])
        if greedy.done or step == max_new_tokens - 1:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position_ids = position_ids + 1
        out = next_token(model, token, mask, position_ids, out.past_key_values)
    return greedy.rows


@torch.no_grad()
def log_probs(
    model: LanguageModel,
    prompts: Prompts,
    continuations: Sequence[Sequence[int]],
    *,
    batch_size: int | None = None,
    prefix: Prefix | None = None,
) -> list[float]:
    """Return the mean log-probability (nats per token) of continuations under the clean model.

    Raises:
        ValueError: When a continuation has no token.
    """
    if not all(continuations):
        raise ValueError("expected continuations of at least one token, got an empty one")
    if prefix is not None:
        return _log_probs_after(model, prompts, continuations, batch_size, prefix)
    keep = 1 + max(map(len, continuations))
    joined = Prompts(
        prompts.texts,
        tuple((*ids, *more) for ids, more in zip(prompts.ids, continuations, strict=True)),
    )
    means = []
    for batch in whole_batches(model, joined, batch_size, logits=keep):
        logits = forward(model, batch, keep=keep).logits[:, -keep:-1].float()
        chosen = torch.gather(logits, 2, batch.input_ids[:, 1 - keep :, None])[..., 0]
        scores = chosen - logits.logsumexp(-1)
        for index, row in enumerate(batch.rows):
            means.append(float(scores[index, -len(continuations[row]) :].mean()))
    return means


def _log_probs_after(
    model: LanguageModel,
    prompts: Prompts,
    continuations: Sequence[Sequence[int]],
    batch_size: int | None,
    prefix: Prefix,
) -> list[float]:
    means = []
    for batch in whole_batches(model, prompts, batch_size):
        chosen = [continuations[row] for row in batch.rows]
        width = max(map(len, chosen))
        # Padded on the right, where no token before it looks.
        padded = [[*ids, *[model.pad] * (width - len(ids))] for ids in chosen]
        ids = torch.tensor(padded, device=model.device)
        inputs = torch.cat([batch.input_ids[:, -1:], ids[:, :-1]], dim=1)
        logits = prefix.after(batch, inputs, keep=width).logits[:, -width:]
        means += mean_log_probs([logits.flatten(0, 1)], ids, list(map(len, chosen)))
    return means
