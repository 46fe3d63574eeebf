"""Relevance: where all is linear it is the gradient, and it loses nothing on the way back."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import _OWN_D_HEAD, CONFIGS, build, profile, study_of, tiny_emotion, tiny_model
from torch import nn

from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.relevance import HeldNorm, RelevanceModel, deviation, passed
from emolib.methods.study import Study
from emolib.models.encoding import Batch


def batch_of(model):
    prompts = Study(model, tiny_emotion(), profile()).prompts()
    return Batch(prompts, range(2), model.pad, model.device)


def back(one, batch, tokens):
    """Give (the stream before the first layer, logits of tokens, what comes back of their sum)."""
    stem = one.stem(batch.input_ids, batch.attention_mask, batch.position_ids)
    leaf = stem.hidden.detach().requires_grad_()
    resid = leaf[:, None]
    with torch.enable_grad():
        for layer, inputs in zip(one.layers, stem.inputs, strict=True):
            resid, _ = layer.step(resid, inputs, slice(0, batch.width))
        logits = one.logits(resid[:, 0, -1], tokens)
        return leaf.detach(), logits.detach(), torch.autograd.grad(logits.sum(), leaf)[0]


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_layers_put_out_is_the_same(kind):
    model = tiny_model(kind, torch.float64)
    relevance, plain = RelevanceModel(model), LayerwiseModel(model)
    # Some norms of transformers are computed in float32 whatever they are given.
    assert deviation(relevance, plain, batch_of(model)) < 1e-6
    tokens = torch.arange(3)
    _, expected, slope = back(plain, batch_of(model), tokens)
    _, found, other = back(relevance, batch_of(model), tokens)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert (other - slope).abs().max() > 1e-3 * slope.abs().max()


NO_BIAS = {
    "llama": _OWN_D_HEAD,
    "gemma2": CONFIGS["gemma2"],
    "qwen3": _OWN_D_HEAD,
    "olmo2": _OWN_D_HEAD,
    "phi3": CONFIGS["phi3"],
}


@pytest.mark.parametrize("kind", NO_BIAS)
def test_nothing_is_lost_or_made_where_no_bias_adds(kind):
    """The stream times what comes back to it adds up to the logits, over all tokens and dims."""
    model = build(kind, NO_BIAS[kind], torch.float64)
    assert not [name for name, _ in model.hf.named_parameters() if name.endswith("bias")]
    tokens = torch.arange(5)
    batch = batch_of(model)
    stream, logits, relevance = back(RelevanceModel(model), batch, tokens)
    torch.testing.assert_close((stream * relevance).sum((1, 2)), logits.sum(-1))
    stream, logits, gradient = back(LayerwiseModel(model), batch, tokens)
    lost = (stream * gradient).sum((1, 2)) - logits.sum(-1)
    assert (lost.abs() > 1e-2 * logits.sum(-1).abs()).all()


class Centred(nn.Module):
    """A norm that has no weight and no bias."""

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()


def norms():
    torch.manual_seed(0)
    layer, rms = nn.LayerNorm(8, eps=1e-2), nn.RMSNorm(8, eps=1e-2)
    for norm in (layer, rms):
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
    return {"layer": layer, "rms": rms, "centred": Centred(), "identity": nn.Identity()}


@pytest.mark.parametrize("name", norms())
@pytest.mark.parametrize("width", [7, 8])
def test_a_held_norm_is_linear_at_the_scale_it_has(name, width):
    if width == 7 and name in ("layer", "rms"):
        pytest.skip("its weights are of another width")
    norm = norms()[name].double()
    # Small ones too, on which eps decides.
    sizes = torch.tensor([1, 1, 9, 0.05, 0.01], dtype=torch.float64)[:, None]
    values = torch.randn(5, width, dtype=torch.float64) * sizes
    values.requires_grad_()
    out = HeldNorm(norm)(values)
    torch.testing.assert_close(out, norm(values), rtol=1e-5, atol=1e-7)
    weights = torch.randn(5, width, dtype=torch.float64)
    (found,) = torch.autograd.grad((out * weights).sum(), values)
    # Linear but for the bias: what comes back times the input is the output without it.
    without = norm(torch.zeros(1, width, dtype=torch.float64)).detach()
    torch.testing.assert_close(
        (found * values).sum(-1).detach(), ((out.detach() - without) * weights).sum(-1)
    )
    if name in ("layer", "centred"):
        assert found.sum(-1).abs().max() < 1e-9


def test_where_no_gradient_is_wanted_a_norm_is_as_it_is():
    norm = norms()["layer"]
    values = torch.randn(3, 8)
    assert torch.equal(HeldNorm(norm)(values), norm(values))


@pytest.mark.parametrize("f", [nn.functional.gelu, nn.functional.silu, torch.tanh, torch.relu])
def test_an_activation_passes_its_quotient(f):
    values = torch.tensor([-3.0, -0.2, 0.0, 1e-9, 0.4, 5.0], dtype=torch.float64)
    values.requires_grad_()
    out = passed(f, values)
    torch.testing.assert_close(out, f(values), atol=1e-9, rtol=1e-9)
    (found,) = torch.autograd.grad(out.sum(), values)
    plain = values.detach()
    far = plain.abs() > 1e-6
    torch.testing.assert_close(found[far], (f(plain) / plain)[far])
    # Where there is no quotient, the slope; of a kink the mean of both.
    slope = {torch.tanh: 1.0}.get(f, 0.5)
    assert found[~far].tolist() == pytest.approx([slope] * 2, abs=1e-3)


def test_layers_that_cannot_be_taken_apart_have_none(monkeypatch):
    model = tiny_model("gpt2")
    monkeypatch.setattr(model, "arch", dataclasses.replace(model.arch, block=None))
    with pytest.raises(ValueError, match="cannot be taken apart"):
        RelevanceModel(model)


def test_runs_under_hooks_have_none_and_say_so():
    study = study_of("gpt2")
    assert study.runner.why_no_relevance is None
    handle = study.model.hf.register_forward_hook(lambda *_: None)
    try:
        assert study.runner.why_no_relevance.startswith("no relevance: its runs go through the who")
        _, found = next(study.runner.unit_gradients("emotion", "last", study.objective))
        assert all(layer.relevance is None for layer in found)
    finally:
        handle.remove()
    _, found = next(study.runner.unit_gradients("emotion", "last", study.objective))
    assert all(layer.relevance.shape == layer.gradient.shape for layer in found)
