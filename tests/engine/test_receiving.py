"""What heads would read of a run: the ways agree, and single inputs are those of the model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, FAMILIES, HEADS, study_of
from worlds import Exact, read, some, worlds

from emolib.engine import forwards, hooked
from emolib.engine.layerwise import Layerwise
from emolib.engine.whole import Whole
from emolib.inputs.heads import Head, all_heads
from emolib.interventions import alone, patch
from emolib.models.encoding import Batch
from emolib.tracing import OwnTraceDict

SENDERS, RECEIVERS = HEADS[:2], HEADS[4:]
OPTIONS = {"batch_size": None, "max_new_tokens": 1}
# transformers computes softmax and norms in float32 whatever the type is.
NEAR = 1e-5


def runs_of(study):
    source, clean = study.activations("emotion"), study.activations("neutral")
    return [(alone(patch(head, source), clean),) for head in SENDERS]


def mask(prompts):
    """Give where tokens are, ``[n, seq]``: what stands at padding is no matter."""
    return torch.tensor([[column >= prompts.width - len(ids) for column in range(prompts.width)]
                         for ids in prompts.ids])  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_way_reads_the_same(kind):
    study = study_of(kind)
    runs, prompts = runs_of(study), study.prompts("neutral")
    heads = [RECEIVERS] * len(runs)
    ways = [
        Layerwise(study.model, study.prompts, **OPTIONS),
        Whole(study.model, study.prompts, **OPTIONS, share=False),
    ]
    if kind != "bloom":
        # What its layers are given of positions is not cut to the rows of a batch.
        ways.append(Layerwise(study.model, study.prompts, **OPTIONS, apart=False))
    apart, *others = [way.received("neutral", runs, heads) for way in ways]
    clean = study.activations("neutral")
    there = mask(prompts)
    for by_head, *same in zip(apart, *others, strict=True):
        for head, found in by_head.items():
            assert list(found.z) == ["all", "q", "k", "v"] and not found.lacking
            z = found.z["all"].of(head)[there]
            for other in same:
                assert list(other[head].z) == ["all"]
                assert "q, k and v are not apart" in other[head].lacking
                assert (other[head].z["all"].of(head)[there] - z).abs().max() < NEAR
            # It is another than the clean one, or there would be nothing to compare.
            assert (z - clean.of(head)[there]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", sorted(CONFIGS))
@settings(deadline=None, derandomize=True, max_examples=2, print_blob=False)
@given(data=st.data())
def test_in_random_models_heads_read_what_the_whole_model_gives_them(kind, data):
    """Of any shape, prompts of any lengths, any set of senders."""
    world = data.draw(worlds(kind))
    model, shape = world.shape.model(), world.shape
    senders = data.draw(some(shape, Head))
    first = min(head.layer for head in senders)
    heads = [head for head in all_heads(shape.layers, shape.heads) if head.layer > first]
    source, clean = (read(model, prompts, senders) for prompts in (world.others, world.prompts))
    run, there = (alone(patch(senders, source), clean),), mask(world.prompts)
    with Exact():
        way = Layerwise(model, lambda side: world.prompts, batch_size=world.batch_size,
                        max_new_tokens=1)  # fmt: skip
        [found] = way.received("neutral", [run], [heads])
        expected = hooked.received(model, world.prompts, run, heads) if heads else {}
    assert found.keys() == expected.keys()
    for head, z in expected.items():
        read_there = found[head].z["all"].of(head)[there]
        assert torch.allclose(read_there, z[there], rtol=0, atol=1e-8), head


@pytest.mark.parametrize("kind", FAMILIES)
def test_of_a_run_that_changes_nothing_heads_read_what_they_do(kind):
    study = study_of(kind)
    clean, there = study.activations("neutral"), mask(study.prompts("neutral"))
    run = (alone(patch(HEADS[0], clean), clean),)
    [found] = study.runner.received("neutral", [run], [RECEIVERS])
    for head, one in found.items():
        for z in one.z.values():
            assert (z.of(head)[there] - clean.of(head)[there]).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "gpt_neo", "opt"])
def test_single_inputs_are_the_projections_of_the_run(kind):
    """In the clean run one projection puts out what it does in the run, to all heads: z is that."""
    study = study_of(kind)
    model, prompts = study.model, study.prompts("neutral")
    source, clean = study.activations("emotion"), study.activations("neutral")
    run = (alone(patch(HEADS[0], source), clean),)
    [found] = study.runner.received("neutral", [run], [RECEIVERS])
    batch = Batch(prompts, range(len(prompts)), model.pad, model.device)
    paths = {n: f"{model.arch.attn_path(1)}.{n}_proj" for n in "qkv"}
    with torch.no_grad():
        with (
            hooked.intervened(model, run, batch, "all"),
            OwnTraceDict(model.hf, list(paths.values())) as ran,
        ):
            forwards.forward(model, batch)
        for name, path in paths.items():
            put = ran[path].output
            with (
                OwnTraceDict(model.hf, [path], edit_output=lambda _, put=put: put),
                OwnTraceDict(model.hf, [model.attn_out(1)], retain_input=True) as read,
            ):
                forwards.forward(model, batch)
            z = hooked.split_heads(read[model.attn_out(1)].input, model.n_heads)
            for head in RECEIVERS:
                expected = z[:, :, head.index][mask(prompts)]
                assert (found[head].z[name].of(head)[mask(prompts)] - expected).abs().max() < NEAR


def test_a_few_prompts_at_a_time_say_the_same(monkeypatch):
    study = study_of("llama")
    runs, there = runs_of(study), mask(study.prompts("neutral"))
    heads = [RECEIVERS] * len(runs)
    whole = Layerwise(study.model, study.prompts, **OPTIONS).received("neutral", runs, heads)
    monkeypatch.setattr("emolib.engine.batch_sizes.ROOM", 1)
    monkeypatch.setattr("emolib.engine.clean_runs.KEPT", 1)
    monkeypatch.setattr("emolib.engine.layerwise.KEPT", 1)
    few = Layerwise(study.model, study.prompts, batch_size=2, max_new_tokens=1)
    for one, other in zip(whole, few.received("neutral", runs, heads), strict=True):
        for head, found in one.items():
            for name, z in found.z.items():
                apart = other[head].z[name].of(head)[there] - z.of(head)[there]
                assert apart.abs().max() < 1e-9


def test_what_was_read_is_of_its_head_alone():
    study = study_of("gpt2")
    [found, _] = study.runner.received("neutral", runs_of(study), [RECEIVERS[:1], []])
    with pytest.raises(IndexError, match="of L1H0 alone, not of layer 0"):
        found[RECEIVERS[0]].z["all"].of(HEADS[0])
