"""What runs will cost: the products that are then computed, no more and no less."""

from __future__ import annotations

import pytest
import torch
from tiny import HEADS, clean_runs, profile, tiny_emotion, tiny_model
from transformers import GPT2Config

from emolib.engine import costs, kernels, layers, sweeps
from emolib.engine.costs import (
    CLEAN,
    Cost,
    Runs,
    Speed,
    all_z,
    forward_flops,
    held,
    kept,
    speed_of,
)
from emolib.engine.shapes import shape_of
from emolib.interventions import zero
from emolib.methods.study import Study


def counted(monkeypatch):
    """Note the FLOPs of every matrix product with weights."""
    seen = []
    linear = kernels.linear

    def spy(values, weight, bias, activation=kernels.PLAIN):
        seen.append(2 * values.numel() * weight.shape[0])
        return linear(values, weight, bias, activation)

    monkeypatch.setattr(layers.kernels, "linear", spy)
    return seen


@pytest.mark.parametrize("kind", ["gpt2", "llama", "falcon", "phi3"])
@pytest.mark.parametrize("position", ["last", "all"])
@pytest.mark.parametrize("head", [HEADS[1], HEADS[6]], ids=str)
def test_a_run_costs_the_products_that_it_computes(monkeypatch, kind, position, head):
    model = tiny_model(kind)
    study = Study(model, tiny_emotion(), profile())
    prompts = study.prompts()
    resumed = clean_runs(model, prompts)
    list(sweeps.sweep(resumed, [()]))
    seen = counted(monkeypatch)
    list(sweeps.sweep(resumed, [(zero(head),)], position=position))
    shape = shape_of(model.hf.config, model.n_units, "float32")
    cost = Runs(prompts, position, (head.layer,)).cost(shape)
    batches = prompts.buckets(128, 0, "cpu")
    looked = 0
    if head.layer == 0:
        # The last layer's last tokens look at every column: products without weights.
        looked = sum(4 * 4 * shape.d_head * len(b.rows) * b.width for b in batches)
    extra = 0
    if kind == "falcon" and position == "all" and head.layer == 0:
        # Its queries lie between keys and values: those of all tokens are made with them.
        extra = sum(2 * len(b.rows) * (b.width - 1) * 32 * 32 for b in batches)
    assert (cost.rows, cost.batches) == (1, len(batches))
    assert cost.flops == sum(seen) + looked - extra


def test_generation_costs_more_with_every_token():
    prompts = Study(tiny_model("gpt2"), tiny_emotion(), profile()).prompts()
    shape = shape_of(tiny_model("gpt2").hf.config, 40, "float32")
    flops = [Runs(prompts, "last", (0, 1), new).cost(shape).flops for new in (0, 1, 5)]
    assert flops[0] < flops[1] < flops[2]
    made = Runs(prompts, "last", (0, 1), 5).cost(shape)
    # A text is made token by token and scored all at once.
    assert 0 < 2 * made.stepwise < made.flops - flops[0] < 2 * made.stepwise + made.unembed
    backward = Runs(prompts, "last", (0, 1), backward=True).cost(shape)
    # Of logits those of the targets alone, forward and backward.
    assert backward.flops == 2 * (flops[0] - 2 * 6 * 2 * 32 * 48)
    assert (backward.unembed, backward.logits) == (0, 0)
    # The stream and z, keys and values: each of d_model here, in two layers.
    assert kept(shape, prompts) == sum(map(len, prompts.ids)) * 4 * 32 * 2 * 4
    assert forward_flops(shape, prompts) > flops[0] / 2


def test_costs_add_up():
    total = Cost(1, 2, 3, 4, 5) + Cost(10, 20, 30, 40, 2)
    assert total == Cost(11, 22, 33, 44, 5)
    assert total.seconds(Speed(44.0, 1.0, 1.0, 1.0)) == pytest.approx(1.15 + 33e-3)
    made = Cost(flops=50, unembed=6, logits=8)
    assert made.seconds(Speed(44.0, 3.0, 4.0, 1.0)) == pytest.approx(1.15 + 2 + 2)
    texts = Cost(flops=50, unembed=6, stepwise=22)
    assert texts.seconds(Speed(44.0, 3.0, 4.0, 11.0)) == pytest.approx(1.15 * (0.5 + 2) + 2)
    speed = speed_of(shape_of(GPT2Config(), 3072, "float32"))
    assert min(speed.products, speed.unembed, speed.stepwise) > 1e8 and speed.logits > 1e5
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("position", ["last", "all"])
def test_a_clean_run_that_is_not_kept_is_made_again(monkeypatch, position):
    """Of runs that edit every token one of all columns is kept, or none."""
    prompts = Study(tiny_model("gpt2"), tiny_emotion(), profile()).prompts()
    shape = shape_of(tiny_model("gpt2").hf.config, 40, "float32")
    runs, clean = Runs(prompts, position, (0, 1)), Runs(prompts, "last", (CLEAN,))
    before, more = runs.cost(shape), clean.cost(shape)
    sizes = {p: kept(shape, prompts, whole=p == "all") for p in ("last", "all")}
    monkeypatch.setattr(costs, "KEPT", sizes["all"] - 1)
    again = kept(shape, prompts, whole=position == "all")
    assert bool(again) == (position == "last")
    found = runs.cost(shape)
    extra = 0 if again else more.flops - more.unembed
    assert found.flops - before.flops == extra and found.rows == before.rows
    sides = {"emotion": prompts, "neutral": prompts}
    whole = held(shape, sides, everywhere=True) - all_z(shape, prompts)
    assert whole > held(shape, sides, everywhere=False)
