"""One layer at a time: what goes through it is what goes through transformers' own."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, N_LAYERS, TEXTS, tiny_model

from emolib.engine import hooked
from emolib.engine.layers import Edits, LayerInputs, normed
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.models.architectures import ARCHITECTURES
from emolib.tracing import OwnTraceDict

every_row = pytest.mark.parametrize("kind", CONFIGS)


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def padded(kind):
    """Give a model taken apart, a padded batch and what the layers are given of it."""
    model = tiny_model(kind, torch.float64)
    (batch,) = model.encode(TEXTS).batches(99, model.pad, model.device)
    layerwise = LayerwiseModel(model)
    columns = batch.input_ids, batch.attention_mask, batch.position_ids
    return layerwise, batch, layerwise.stem(*columns)


def transformers_own(model, batch):
    """Give per layer z, the units and the stream after it, from a forward of the whole model."""
    roots = [f"{model.arch.layers}.{layer}" for layer in range(N_LAYERS)]
    outs = [(model.attn_out(layer), model.mlp_out(layer)) for layer in range(N_LAYERS)]
    paths = [path for pair in outs for path in pair]
    options = {"retain_input": dict.fromkeys(paths, True), "clone": True}
    with torch.no_grad(), OwnTraceDict(model.hf, [*paths, *roots], **options) as traces:
        hooked.forward(model, batch)

    def stream(root):
        output = traces[root].output
        return output[0] if isinstance(output, tuple) else output

    return [
        (*(hooked.by_prompt(traces[path].input, batch) for path in pair), stream(root))
        for pair, root in zip(outs, roots, strict=True)
    ]


def test_every_architecture_that_is_built_here_says_how_its_layers_are_put_together():
    assert all(ARCHITECTURES[kind].block is not None for kind in CONFIGS)


@every_row
def test_z_units_and_stream_of_each_layer_are_transformers_own(kind):
    layerwise, batch, stem = padded(kind)
    mask, columns, resid = batch.at("all"), slice(0, batch.width), stem.hidden
    own = transformers_own(layerwise.model, batch)
    for layer, inputs, (z, units, after) in zip(layerwise.layers, stem.inputs, own, strict=True):
        found, seen = layer.z(resid[:, None], inputs, columns), []
        close(found[:, 0][mask], z[mask])
        edits = Edits(units=lambda units, seen=seen: seen.append(units) or units)
        finished = layer.finish(resid[:, None], found, edits)
        close(seen[0][:, 0][mask], units[mask])
        close(finished[:, 0][mask], after[mask])
        # Each starts from what transformers gave it: an error would not stand for the next.
        resid = after


@every_row
def test_z_of_the_last_token_alone_is_the_last_of_all(kind):
    layerwise, batch, stem = padded(kind)
    columns, resid = slice(0, batch.width), stem.hidden[:, None].expand(-1, 2, -1, -1)
    for layer, inputs in zip(layerwise.layers, stem.inputs, strict=True):
        z = layer.z(resid, inputs, columns)
        last = layer.z(resid, inputs, columns, last=True)
        assert last.shape[:3] == (3, 2, 1)
        close(last, z[:, :, -1:])


@every_row
@pytest.mark.parametrize("before", [1, 6])
def test_columns_that_rows_share_and_their_own_are_one_prompt(kind, before):
    layerwise, batch, stem = padded(kind)
    resid, made = stem.hidden[:, None], []
    for layer, inputs in zip(layerwise.layers, stem.inputs, strict=True):
        z = layer.z(
            resid, inputs, slice(0, batch.width), keep=lambda *pair: made.append(pair) or pair
        )
        shared = tuple(part[:, 0, :, :before] for part in made[-1])
        tail = resid[:, :, before:].expand(-1, 2, -1, -1)
        found = layer.z(tail, inputs, slice(before, batch.width), shared)
        mask = batch.at("all")[:, before:]
        for row in range(2):
            close(found[:, row][mask], z[:, 0, before:][mask])


@every_row
def test_what_an_edit_of_units_changes_goes_through_the_down_projection_alone(kind):
    layerwise, _, stem = padded(kind)
    model, resid = layerwise.model, stem.hidden[:, None]
    z = torch.randn(
        *resid.shape[:-1], layerwise.shape.n_heads * layerwise.shape.d_head, dtype=torch.float64
    )
    for index, layer in enumerate(layerwise.layers):
        plain, seen = layer.finish(resid, z), []

        def clear(units, seen=seen):
            seen.append(units.clone())
            return 0 * units

        zeroed = layer.finish(resid, z, Edits(units=clear))
        down = model.module(model.mlp_out(index))
        post = model.arch.post_mlp_norm_path(index)
        norm = None if post is None else model.module(post)
        written, left = (normed(norm, down(units)) for units in (seen[0], 0 * seen[0]))
        close(plain - zeroed, written - left)
        assert (plain - zeroed).abs().max() > 1e-3


@every_row
def test_what_is_noted_and_what_is_given_stay_what_they_were(kind):
    layerwise, _, stem = padded(kind)
    resid, noted = stem.hidden[:, None].clone(), []
    z = torch.randn(
        *resid.shape[:-1], layerwise.shape.n_heads * layerwise.shape.d_head, dtype=torch.float64
    )
    before = resid.clone(), z.clone()
    layer = layerwise.layers[0]
    after = layer.finish(
        resid, z, Edits(note=lambda _, written: noted.append((written, written.clone())))
    )
    assert len(noted) == 2 and all(torch.equal(*pair) for pair in noted)
    assert torch.equal(layer.finish(resid, z), after)
    assert torch.equal(resid, before[0]) and torch.equal(z, before[1])


def test_inputs_of_some_prompts_and_some_tokens():
    bias = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    rotary = torch.arange(8.0).view(2, 4), torch.arange(4.0).view(1, 4)
    inputs = LayerInputs(bias, rotary)
    assert torch.equal(inputs.bias_of(slice(1, 3), 3), bias[:, :, 1:3, :3])
    assert all(map(torch.equal, inputs.rotary_of(slice(2, 4)), (part[:, 2:4] for part in rotary)))
    some = inputs.of([1, 1, 0])
    assert torch.equal(some.bias, bias[[1, 1, 0]])
    # What all prompts have in common stays one.
    assert all(map(torch.equal, some.rotary, (rotary[0][[1, 1, 0]], rotary[1])))
    empty = LayerInputs(None, None)
    assert empty.of([0]) == empty and empty.rotary_of(slice(0, 1)) is None
    assert empty.bias_of(slice(0, 1), 1) is None
