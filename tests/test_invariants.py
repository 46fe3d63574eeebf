"""What holds of every model: random tiny ones of each architecture, random prompts and sets.

On models of fixed shapes test_architectures, test_hooked, test_unit_interventions and test_forwards
prove the same and more; here nothing may depend on a shape, a seed or a length.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, FAMILIES, edited
from transformers import masking_utils
from worlds import KINDS, Exact, pick, read, some, worlds

from emolib.engine import hooked
from emolib.engine.forwards import Prefix
from emolib.inputs.heads import Head
from emolib.inputs.units import Unit
from emolib.interventions import edit, patch, scale, zero
from emolib.tracing import OwnTrace, OwnTraceDict, StopForward, hook_count

# Derandomized: CI runs the same examples every time.
settings.register_profile("invariants", deadline=None, derandomize=True, print_blob=False)
INVARIANTS = settings.get_profile("invariants")
EXACT = {"rtol": 0, "atol": 1e-8}
DTYPES = [torch.float64, torch.float32, torch.bfloat16]

every_row = pytest.mark.parametrize(
    "model_type",
    [pytest.param(name, marks=() if name in FAMILIES else pytest.mark.slow)
     for name in sorted(CONFIGS)],
)  # fmt: skip


def examples(count):
    """Give the settings of a property that is tried on so many models of each architecture."""
    return settings(INVARIANTS, max_examples=count)


def one_batch(model, prompts):
    (batch,) = prompts.batches(99, model.pad, model.device)
    return batch


def logits_of(world, model, interventions=(), **options):
    options = {"position": world.position, "batch_size": world.batch_size} | options
    return hooked.last_logits(model, world.prompts, interventions, **options)


def made_by(world, model, interventions=(), **options):
    options = {"position": world.position, "max_new_tokens": 3} | options
    return hooked.generate(model, world.prompts, interventions, **options)


def traced(world, model, paths, interventions=()):
    """Give inputs and outputs of some modules on the world's prompts, by prompt."""
    batch = one_batch(model, world.prompts)
    with (
        torch.no_grad(),
        hooked.intervened(model, interventions, batch, world.position),
        # Copies: Falcon adds its attention to the MLP's output in place.
        OwnTraceDict(model.hf, paths, retain_input=True, clone=True) as traces,
    ):
        hooked.forward(model, batch)
    return {
        path: (hooked.by_prompt(trace.input, batch), hooked.by_prompt(trace.output, batch))
        for path, trace in traces.items()
    }


def bias_of(model, path):
    bias = getattr(model.module(path), "bias", None)
    return torch.zeros(model.hf.config.hidden_size).double() if bias is None else bias


def shares(world, interventions):
    return hooked.may_share(world.prompts, interventions, world.position)


@every_row
@examples(3)
@given(data=st.data())
def test_what_changes_nothing_changes_no_bit(model_type, data):
    world = data.draw(worlds(model_type))
    targets, dtype = data.draw(some(world.shape)), data.draw(pick(model_type, DTYPES))
    model = world.shape.model(dtype)
    itself = read(model, world.prompts, targets, world.batch_size)
    identity, once = edit(targets, lambda z: z), scale(targets, 1)
    neutral = [[identity], [once], [patch(targets, itself)], [identity, once]]
    clean, made = logits_of(world, model), made_by(world, model)
    assert clean.isfinite().all()
    for interventions in neutral:
        assert torch.equal(logits_of(world, model, interventions), clean), interventions
    assert made_by(world, model, [identity]) == made
    assert made_by(world, model, [once]) == made
    if shares(world, [once]):
        prefix = Prefix(model, world.prompts, world.batch_size)
        shared = logits_of(world, model, prefix=prefix)
        assert torch.equal(logits_of(world, model, [once], prefix=prefix), shared)


@every_row
@examples(3)
@given(data=st.data())
def test_without_heads_or_units_a_projection_puts_out_its_bias(model_type, data):
    world = data.draw(worlds(model_type))
    shape, model = world.shape, world.shape.model()
    layers = data.draw(st.sets(st.integers(0, shape.layers - 1), min_size=1))
    where = one_batch(model, world.prompts).at(world.position)
    kinds = [
        (Head, shape.heads, model.attn_out, model.arch.post_attn_norm_path),
        (Unit, shape.units, model.mlp_out, model.arch.post_mlp_norm_path),
    ]
    edits = [zero([of(at, i) for at in layers for i in range(n)]) for of, n, *_ in kinds]
    for layer in layers:
        for index, (*_, out, norm) in enumerate(kinds):
            path, after = out(layer), norm(layer)
            paths = [path, *([after] if after else [])]
            found = traced(world, model, paths, edits)
            bias = bias_of(model, path)
            left = found[path][1][where]
            torch.testing.assert_close(left, bias.expand_as(left), **EXACT)
            if after:
                normed = found[after][1][where]
                torch.testing.assert_close(normed, model.module(after)(bias).expand_as(normed))
            # Elsewhere nothing has changed yet where the first edit is.
            if layer == min(layers):
                clean = traced(world, model, paths)
                alone = traced(world, model, paths, [edits[index]])
                for name in paths:
                    assert torch.equal(alone[name][1][~where], clean[name][1][~where])


@every_row
@examples(3)
@given(data=st.data())
def test_heads_or_units_and_the_bias_add_up_to_the_projection_s_output(model_type, data):
    world = data.draw(worlds(model_type))
    shape, model = world.shape, world.shape.model()
    units = [Unit(layer, i) for layer in range(shape.layers) for i in range(shape.units)]
    z, a = (read(model, world.prompts, chosen) for chosen in ([Head(0, 0)], units))
    real = one_batch(model, world.prompts).at("all")
    for layer in range(shape.layers):
        paths = model.attn_out(layer), model.mlp_out(layer)
        found = traced(world, model, paths)
        heads = [Head(layer, index) for index in range(shape.heads)]
        written = [
            sum(z.of(head) @ model.w_o(head) for head in heads),
            sum(a.units[unit][..., None] * model.w_out(layer)[unit.index]
                for unit in units if unit.layer == layer),
        ]  # fmt: skip
        for path, parts in zip(paths, written, strict=True):
            total = parts + bias_of(model, path)
            torch.testing.assert_close(total[real], found[path][1][real], **EXACT)


@every_row
@examples(3)
@given(data=st.data())
def test_zeroing_a_set_is_zeroing_its_rows_of_the_weight(model_type, data):
    world = data.draw(worlds(model_type))
    targets, model = data.draw(some(world.shape)), world.shape.model()
    rows = [
        model.w_o(target) if isinstance(target, Head) else model.w_out(target.layer)[target.index]
        for target in targets
    ]
    with Exact():
        zeroed = logits_of(world, model, [zero(targets)], position="all")
        made = made_by(world, model, [zero(targets)], position="all")
        with edited(model, rows):
            for row in rows:
                row.zero_()
            expected, ours = logits_of(world, model), made_by(world, model)
    torch.testing.assert_close(zeroed, expected, **EXACT)
    assert made.ids == ours.ids
    assert made.margins == pytest.approx(ours.margins, abs=1e-8)


@every_row
@pytest.mark.parametrize("kind", ["zero", "mean", "resample", "patch"])
@examples(2)
@given(data=st.data())
def test_neither_a_second_time_nor_an_order_changes_a_bit(model_type, kind, data):
    world = data.draw(worlds(model_type))
    # A second set of the same sort may share members with the first.
    sort = data.draw(pick(model_type, [Head, Unit]))
    first, second = (data.draw(some(world.shape, sort)) for _ in range(2))
    both = sorted({*first, *second})
    model = world.shape.model()
    source = read(model, world.others, both)

    def logits(*sets):
        return logits_of(world, model, [KINDS[kind](chosen, source) for chosen in sets])

    once = logits(first)
    shuffled = data.draw(st.permutations(first))
    assert torch.equal(logits(shuffled), once)
    assert torch.equal(logits(first, shuffled), once)
    union = logits(both)
    # The mean of columns is rounded by how many there are: that of units apart in its last bit.
    is_rounded = kind == "mean" and isinstance(both[0], Unit)
    same = torch.allclose if is_rounded else torch.equal
    assert same(logits(first, second), union)
    assert same(logits(second, first, first), union)
    assert same(logits(*([target] for target in data.draw(st.permutations(both)))), union)
    # The two sets are edited apart, one in another way, in either order.
    rest = [target for target in second if target not in first]
    if rest:
        pair = [KINDS[kind](first, source), scale(rest, -2)]
        assert torch.equal(logits_of(world, model, pair), logits_of(world, model, pair[::-1]))


@every_row
@examples(3)
@given(data=st.data())
def test_together_is_one_by_one(model_type, data):
    world = data.draw(worlds(model_type))
    targets = data.draw(some(world.shape))
    kind = data.draw(pick(model_type, ["patch", "zero", "mean", "scale"]))

    def run(model, rows, reference=None):
        """Give logits and continuations of some prompts, run together."""
        prompts, others = world.of(rows), world.of(rows, other=True)
        source = reference or read(model, others, targets)
        edits = [KINDS[kind](targets, source)]
        options = {"position": world.position}
        logits = hooked.last_logits(model, prompts, edits, **options)
        return logits, hooked.generate(model, prompts, edits, max_new_tokens=3, **options)

    everything = range(len(world.ids))
    for dtype, atol in ((torch.float64, 1e-8), (torch.float32, 1e-4)):
        model = world.shape.model(dtype)
        with Exact() if dtype == torch.float64 else nothing():
            # The mean is that of the same prompts throughout.
            reference = read(model, world.others, targets) if kind == "mean" else None
            logits, made = run(model, everything, reference)
            alone = [run(model, [row], reference) for row in everything]
        each = torch.cat([own for own, _ in alone], dim=1)
        torch.testing.assert_close(logits, each, rtol=0, atol=atol)
        if dtype == torch.float64:
            assert made.ids == tuple(own.ids[0] for _, own in alone)
            assert made.texts == tuple(own.texts[0] for _, own in alone)
            expected = [own.margins[0] for _, own in alone]
            assert made.margins == pytest.approx(expected, abs=atol)


@every_row
@examples(3)
@given(data=st.data())
def test_neither_batch_sizes_nor_prefixes_change_a_number(model_type, data):
    world = data.draw(worlds(model_type))
    targets, kind = data.draw(some(world.shape)), data.draw(pick(model_type, sorted(KINDS)))
    model = world.shape.model()
    with Exact():
        edits = [KINDS[kind](targets, read(model, world.others, targets))]
        in_parts = [KINDS[kind](targets, read(model, world.others, targets, world.batch_size))]
        whole, made = (run(world, model, edits, batch_size=None) for run in (logits_of, made_by))
        ways = [(in_parts, {"batch_size": world.batch_size})]
        if shares(world, edits):
            for size in (None, world.batch_size):
                prefix = Prefix(model, world.prompts, size)
                ways.append((edits, {"batch_size": size, "prefix": prefix}))
        for same, options in ways:
            torch.testing.assert_close(logits_of(world, model, same, **options), whole, **EXACT)
            again = made_by(world, model, same, **options)
            assert again.ids == made.ids
            assert again.margins == pytest.approx(made.margins, abs=1e-8)
        # Draw by draw from the start: draws share a prefix where they may.
        if edits[0].draws > 1:
            batch = one_batch(model, world.prompts)
            for draw in range(edits[0].draws):
                with torch.no_grad(), hooked.intervened(model, edits, batch, world.position, draw):
                    serial = hooked.forward(model, batch).logits[:, -1]
                torch.testing.assert_close(whole[draw], serial, **EXACT)


@contextmanager
def nothing():
    yield


class Breaks:
    """An edit that raises at one of its calls; with no call given it counts them."""

    def __init__(self, error=None, at=None):
        self.error, self.at, self.calls = error, at, 0

    def __call__(self, z):
        self.calls += 1
        if self.calls - 1 == self.at:
            raise self.error
        return 0.5 * z


def state_of(model):
    """Give all that a run must leave as it was, comparable by equality but for the tensors."""
    named = {**dict(model.hf.named_parameters()), **dict(model.hf.named_buffers())}
    rest = (
        hook_count(model.hf),
        {name: (id(tensor), tensor.requires_grad) for name, tensor in named.items()},
        [(id(module), module.training) for module in model.hf.modules()],
        dict(masking_utils.ALL_MASK_ATTENTION_FUNCTIONS),
        torch.is_grad_enabled(),
    )
    return rest, {name: tensor.clone() for name, tensor in named.items()}


def assert_state(model, before):
    rest, tensors = before
    now, values = state_of(model)
    assert now == rest
    assert all(torch.equal(values[name], tensor) for name, tensor in tensors.items())


@every_row
@examples(3)
@given(data=st.data())
def test_an_error_in_an_edit_leaves_the_model_as_it_was(model_type, data):
    world = data.draw(worlds(model_type))
    targets, also = data.draw(some(world.shape)), data.draw(some(world.shape))
    model = world.shape.model(data.draw(pick(model_type, DTYPES[:2])))
    error = data.draw(pick(model_type, [ValueError(), KeyboardInterrupt(), StopForward()]))
    run = data.draw(pick(model_type, [made_by, logits_of]))
    prefix = Prefix(model, world.prompts, world.batch_size) if shares(world, []) else None
    clean = logits_of(world, model), made_by(world, model)
    shared = prefix and logits_of(world, model, prefix=prefix)

    def edited(function):
        # Whole prompts at a time or, where they are there, after what runs share.
        options = {"batch_size": world.batch_size}
        if prefix and world.position == "last":
            options["prefix"] = prefix
        return run(world, model, [edit(targets, function), scale(also, 3)], **options)

    counted = Breaks()
    edited(counted)
    at = data.draw(pick(model_type, range(counted.calls)))
    # A trace of the user's own is there before and stays.
    with OwnTrace(model.hf, model.attn_out(0), retain_output=False):
        before = state_of(model)
        with pytest.raises(type(error)):
            edited(Breaks(error, at))
        assert_state(model, before)
    assert hook_count(model.hf) == 0
    assert torch.equal(logits_of(world, model), clean[0])
    assert made_by(world, model) == clean[1]
    if prefix:
        assert torch.equal(logits_of(world, model, prefix=prefix), shared)
