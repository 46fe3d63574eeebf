"""Layers as sums: the factors are measured, and where a layer is no sum that is said."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, tiny_model

from emolib.engine import direct_path as direct
from emolib.engine.direct_path import DirectPath, LayerSum, direct_path
from emolib.models.language_model import LanguageModel
from emolib.models.miniatures import miniature, tokenizer
from emolib.tracing import hook_count


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_layers_of_the_table_add_what_their_parts_put_out(kind):
    path = direct_path(tiny_model(kind))
    assert path.reason is None and path.deviation < 1e-6
    assert path.layers == (LayerSum(1.0, 1.0, 1.0),) * 2
    assert hook_count(tiny_model(kind).hf) == 0


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("granite", LayerSum(1.0, 0.22, 0.22)),
        ("falcon_h1", LayerSum(1.0, 0.7, 0.6, (("model.layers.0.mamba", 1.3),))),
        ("mixtral", LayerSum(1.0, 1.0, 0.0, (("model.layers.0.mlp", 1.0),))),
        ("lfm2", LayerSum(1.0, 0.0, 1.0, (("model.layers.0.conv", 1.0),))),
    ],
)
def test_multipliers_and_further_branches_are_measured(kind, layer):
    assert direct_path(miniature(kind)).layers[0] == layer


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gemma3n_text", "layer 0 adds more to the residual stream than its parts put out"),
        ("doge", "layer 0 adds more to the residual stream than its parts put out"),
        ("inkling_text", "layer 0 does not add what its attention puts out to the residual"),
    ],
)
def test_a_layer_that_is_no_sum_is_told(kind, reason):
    path = direct_path(miniature(kind))
    assert path.reason.startswith(reason) and not path.layers


def test_what_stands_early_goes_through_the_factors_of_all_later_layers():
    layers = (LayerSum(0.5, 1, 2), LayerSum(0.25, 3, 4), LayerSum(0.1, 5, 6))
    path = DirectPath(layers, 0.0, None)
    assert path.kept == pytest.approx((0.025, 0.1, 1))
    assert [path.attn(layer) for layer in range(3)] == pytest.approx([0.025, 0.3, 5])
    assert [path.mlp(layer) for layer in range(3)] == pytest.approx([0.05, 0.4, 6])
    assert path.embedding == pytest.approx(0.0125)


def test_a_stream_that_is_scaled_by_a_layer_is_measured():
    model = miniature("llama")
    layer = model.hf.model.layers[1]
    own = type(layer).forward
    layer.forward = lambda *args, **options: 0.5 * own(layer, *args, **options)
    changed = LanguageModel(model.hf, tokenizer(), "scaled")
    found = direct_path(changed).layers[1]
    assert (found.keep, found.attn, found.mlp) == pytest.approx((0.5, 0.5, 0.5), abs=1e-6)


def test_parts_that_put_out_nothing_are_measured_too():
    model = miniature("llama")
    with torch.no_grad():
        for layer in model.hf.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    assert direct_path(LanguageModel(model.hf, tokenizer(), "silent")).layers[0] == LayerSum(
        1, 1, 1
    )


def test_it_is_measured_once_and_of_the_model_as_it_was_loaded():
    model = miniature("llama")
    handle = model.hf.model.layers[0].register_forward_hook(lambda *of: 2 * of[2])
    first = direct_path(model)
    assert first.layers[0].keep == 1
    handle.remove()
    assert direct_path(model) is first


def test_of_a_model_that_was_changed_for_good_nothing_is_kept():
    model = miniature("llama")
    with torch.no_grad():
        model.hf.model.layers[0].self_attn.o_proj.weight.mul_(2)
    assert direct_path(model).reason is None
    assert model not in direct._KNOWN
