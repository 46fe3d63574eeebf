"""Forwards and greedy generation, clean or under interventions. The one user of hooks on z."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emolib.encoding import Batch, Prompts
from emolib.errors import InputError
from emolib.forwards import DEFAULT_BATCH, Prefix, forward, next_token
from emolib.heads import Head
from emolib.interventions import Activations, Intervention, Site
from emolib.models import LanguageModel
from emolib.profiles import Position
from emolib.tracing import OwnTraceDict
from emolib.units import LayerUnits, Part, Unit, UnitSet, parts


@dataclass(frozen=True)
class Continuations:
    """Greedy continuations of some prompts.

    Attributes:
        ids: Per prompt the generated token ids, an end token included when one came.
        texts: The same as text, special tokens left out.
        margins: Per prompt the smallest gap, in logits, between the best and the second token
            over its steps: a text whose margin is below the float noise may flip.
    """

    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    margins: tuple[float, ...]


@contextmanager
def intervened(
    model: LanguageModel,
    interventions: Sequence[Intervention],
    batch: Batch,
    position: Position,
    draw: int = 0,
) -> Iterator[_Stage]:
    """Edit z of heads or units while the context is open, at every forward on `batch` and after.

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
    stage = _Stage(model, interventions, batch, position, draw)
    if not stage.plan:
        yield stage
        return

    def edit_output(output: Tensor, layer: str, inputs: tuple[Tensor, ...]) -> Tensor:
        z = by_prompt(inputs[0], batch)
        edited, seen = stage.edited(z, layer)
        if seen and _is_normed(model, seen[0]):
            # A norm brings what is left to its size, and where an edit leaves nothing, that is
            # the rounding of the difference below. The last term is what another trace added.
            project: Callable[[Tensor], Tensor] = model.module(layer).forward
            return project(edited.view_as(inputs[0])) + (output - project(inputs[0]))
        # The projection is linear, so adding what the edit changes equals projecting the edited
        # z, costs less, and keeps what another trace on the same module did to the output.
        for part in _apart(seen):
            columns = stage.columns(part, z)
            change = edited[..., columns] - z[..., columns]
            output = output + (change @ _weight(model, part)).view_as(output)
        return output

    with OwnTraceDict(model.hf, list(stage.plan), retain_output=False, edit_output=edit_output):
        yield stage
    missed = {stage.plan[path][0][0].layer for path in stage.plan.keys() - stage.ran}
    if missed:
        raise RuntimeError(
            f"{', '.join(map(str, interventions))}: layers {sorted(missed)} of {model.name} never "
            "ran, so nothing was edited there; check the architecture's row in "
            "emolib.architectures"
        )


def _path(model: LanguageModel, part: Part) -> str:
    """Return the path of the projection whose input a part is of."""
    return model.attn_out(part.layer) if isinstance(part, Head) else model.mlp_out(part.layer)


def _is_normed(model: LanguageModel, part: Part) -> bool:
    """Tell whether a norm stands between the projection of a part and the residual stream."""
    row = model.arch
    return bool(row.post_attn_norm if isinstance(part, Head) else row.post_mlp_norm)


def _weight(model: LanguageModel, part: Part) -> Tensor:
    """Return the rows of that projection that are the part's, ``[d, d_model]``."""
    if isinstance(part, Head):
        return model.w_o(part)
    return model.w_out(part.layer)[list(part.indices)]


class _Stage:
    """What the hooks of one run know."""

    def __init__(
        self,
        model: LanguageModel,
        interventions: Sequence[Intervention],
        batch: Batch,
        position: Position,
        draw: int,
    ) -> None:
        self.n_heads = model.n_heads
        self.batch, self.position, self.draw = batch, position, draw
        self.mask = batch.at(position)[..., None]
        self.generated = False
        self.ran: set[str] = set()
        self.plan: dict[str, list[tuple[Part, Intervention]]] = {}
        for intervention in interventions:
            _check_targets(model, intervention)
            for part in parts(intervention.targets):
                self.plan.setdefault(_path(model, part), []).append((part, intervention))

    def edited(self, z: Tensor, path: str) -> tuple[Tensor, list[Part]]:
        """Return z edited, shape ``[batch, seq, in]``, and which parts of it were.

        Args:
            z: What goes into the projection, by prompt.
            path: Path of the projection.
        """
        self.ran.add(path)
        edited, seen = z.clone(), []
        for part, intervention in self.plan[path]:
            if self.generated and self.position != "all" and not intervention.every_step:
                continue
            columns = self.columns(part, z)
            before = edited[..., columns]
            site = Site(part, self.batch, self.position, self.draw, self.generated)
            after: object = intervention.edit(before.clone(), site)
            if not isinstance(after, Tensor) or after.shape != before.shape:
                got = list(after.shape) if isinstance(after, Tensor) else repr(after)
                last = "d_head" if isinstance(part, Head) else "units"
                raise RuntimeError(
                    f"{intervention}: the edit of {part} must return z of the shape it got, "
                    f"{list(before.shape)} [batch, seq, {last}], got {got}"
                )
            after = after.to(before)
            mask = self.mask[:, -before.shape[1] :]
            edited[..., columns] = after if self.generated else torch.where(mask, after, before)
            seen.append(part)
        return edited, seen

    def columns(self, part: Part, z: Tensor) -> slice | list[int]:
        """Return which columns of z are a part's."""
        if isinstance(part, LayerUnits):
            return list(part.indices)
        d_head = z.shape[-1] // self.n_heads
        return slice(part.index * d_head, (part.index + 1) * d_head)


def _check_targets(model: LanguageModel, intervention: Intervention) -> None:
    units = isinstance(intervention.targets, UnitSet)
    count, what = (model.n_units, "MLP units") if units else (model.n_heads, "heads")
    for target in intervention.targets:
        if target.layer >= model.n_layers or target.index >= count:
            raise InputError(
                f"{intervention}: {target} does not exist, {model.name} has {model.n_layers} "
                f"layers of {count} {what}, counted from 0"
            )


def _apart(edited: Sequence[Part]) -> list[Part]:
    """Return the parts of one layer without overlap: head by head, units all at once."""
    # Sorted: floats add up differently in another order.
    heads = sorted({part for part in edited if isinstance(part, Head)})
    units = [part for part in edited if isinstance(part, LayerUnits)]
    if not units:
        return list(heads)
    indices = sorted({index for part in units for index in part.indices})
    return [*heads, LayerUnits(units[0].layer, tuple(indices))]


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
) -> Tensor:
    """Return the logits at the last prompt token.

    Args:
        model: The model.
        prompts: What to run.
        interventions: Applied together.
        position: Where in the prompt z is edited.
        batch_size: Prompts per forward.
        prefix: What comes before the last token, where `may_share` is true.

    Returns:
        Shape ``[draws, n_prompts, vocab]``, in the model's type; draws is 1 unless an
        intervention draws.
    """
    draws = max((intervention.draws for intervention in interventions), default=1)
    if prefix is None and draws > 1 and may_share(prompts, interventions, position):
        prefix = Prefix(model, prompts, batch_size)
    rows = []
    for batch in prompts.batches(batch_size or DEFAULT_BATCH, model.pad, model.device):
        runs = []
        for draw in range(draws):
            with intervened(model, interventions, batch, position, draw):
                out = prefix.last(batch) if prefix else forward(model, batch)
            runs.append(out.logits[:, -1])
        rows.append(torch.stack(runs))
    return torch.cat(rows, dim=1)


def may_share(prompts: Prompts, interventions: Sequence[Intervention], position: Position) -> bool:
    """Tell whether runs may share what comes before the last token: nothing there is edited."""
    alone = position == "last" and all(intervention.tokenwise for intervention in interventions)
    return (alone or not interventions) and min(map(len, prompts.ids)) > 1


@torch.no_grad()
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
        return Activations(prompts, whole, (), _read_units(model, prompts, units, batch_size))
    paths = [model.attn_out(layer) for layer in range(model.n_layers)]
    layers: list[list[Tensor]] = [[] for _ in paths]
    for batch in prompts.batches(batch_size or DEFAULT_BATCH, model.pad, model.device):
        with OwnTraceDict(
            model.hf, paths, retain_output=False, retain_input=True, stop=True
        ) as traced:
            forward(model, batch)
        for layer, path in enumerate(paths):
            layers[layer].append(split_heads(traced[path].input, model.n_heads))
    return Activations(prompts, whole, tuple(torch.cat(layer) for layer in layers))


def _read_units(
    model: LanguageModel, prompts: Prompts, units: UnitSet, batch_size: int | None
) -> dict[Unit, Tensor]:
    wanted = {_path(model, part): part for part in parts(units) if isinstance(part, LayerUnits)}
    read: dict[Unit, list[Tensor]] = {unit: [] for unit in units}
    for batch in prompts.batches(batch_size or DEFAULT_BATCH, model.pad, model.device):
        with OwnTraceDict(
            model.hf, list(wanted), retain_output=False, retain_input=True, stop=True
        ) as traced:
            forward(model, batch)
        for path, part in wanted.items():
            z = by_prompt(traced[path].input, batch)
            for unit in part:
                read[unit].append(z[..., unit.index].clone())
    return {unit: torch.cat(rows) for unit, rows in read.items()}


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
    ids: list[tuple[int, ...]] = []
    margins: list[float] = []
    for batch in prompts.batches(batch_size or DEFAULT_BATCH, model.pad, model.device):
        with intervened(model, interventions, batch, position) as stage:
            out = prefix.last(batch) if prefix else forward(model, batch, use_cache=True)
            rows, gaps = _decode(model, batch, stage, out, max_new_tokens)
        ids += rows
        margins += gaps
    texts = tuple(model.tokenizer.decode(list(row), skip_special_tokens=True) for row in ids)
    return Continuations(tuple(ids), texts, tuple(margins))


def _decode(
    model: LanguageModel, batch: Batch, stage: _Stage, out: Any, max_new_tokens: int
) -> tuple[list[tuple[int, ...]], list[float]]:
    ends = torch.tensor(sorted(_end_ids(model)), device=model.device)
    mask, places = batch.attention_mask, batch.position_ids[:, -1:]
    stage.generated = True
    done = torch.zeros(len(batch.rows), dtype=torch.bool, device=model.device)
    smallest = torch.full((len(batch.rows),), torch.inf, device=model.device)
    tokens = []
    for step in range(max_new_tokens):
        best = out.logits[:, -1].float().topk(2)
        gaps = best.values[:, 0] - best.values[:, 1]
        smallest = torch.where(done, smallest, smallest.minimum(gaps))
        token = best.indices[:, 0]
        # A row that has ended goes on with end tokens that are cut below.
        tokens.append(torch.where(done, -1, token))
        done |= torch.isin(token, ends)
        if bool(done.all()) or step == max_new_tokens - 1:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        places = places + 1
        out = next_token(model, token, mask, places, out.past_key_values)
    rows = torch.stack(tokens, dim=1).tolist()
    return [tuple(t for t in row if t >= 0) for row in rows], smallest.tolist()


def _end_ids(model: LanguageModel) -> set[int]:
    configured = model.hf.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {int(i) for i in [*ids, model.tokenizer.eos_token_id] if i is not None}


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
    for batch in joined.batches(batch_size or DEFAULT_BATCH, model.pad, model.device):
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
    for batch in prompts.batches(batch_size or DEFAULT_BATCH, model.pad, model.device):
        chosen = [continuations[row] for row in batch.rows]
        width = max(map(len, chosen))
        # Padded on the right, where no token before it looks.
        padded = [[*ids, *[model.pad] * (width - len(ids))] for ids in chosen]
        ids = torch.tensor(padded, device=model.device)
        inputs = torch.cat([batch.input_ids[:, -1:], ids[:, :-1]], dim=1)
        logits = prefix.after(batch, inputs, keep=width).logits[:, -width:].float()
        scores = torch.gather(logits, 2, ids[:, :, None])[..., 0] - logits.logsumexp(-1)
        means += [float(scores[i, : len(row)].mean()) for i, row in enumerate(chosen)]
    return means
