"""Runs through transformers' own layer modules: those of hooks on the whole model."""

from __future__ import annotations

import pytest
import torch
from runs import every_kind, whole
from tiny import CONFIGS, HEADS, TEXTS, profile, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.engine.layerwise import Layerwise
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.module_layers import ModuleInputs, NotPlaced
from emolib.engine.support import disagreement, support_of
from emolib.engine.whole import Whole
from emolib.interventions import scale, zero
from emolib.methods.attribution import attribution_scores
from emolib.methods.study import Study
from emolib.models.miniatures import miniature
from emolib.tracing import hook_count

# One of each way in which transformers' layers are called.
KINDS = ("gpt2", "gpt_neo", "falcon", "opt", "gemma2", "olmo2")
# Their softmax is in float32 whatever the model's type, and what it rounds to depends on how many
# tokens are beside, and on the machine.
IN_FLOAT32 = ("opt", "gemma2", "olmo2")
# Without a row of layers: experts, keys of another width than values, logits scaled, no rotary.
OTHERS = ("mixtral", "deepseek_v3", "cohere2", "granite", "gpt_oss", "codegen")


def through_modules(model, **fields):
    """Give a study whose runs go through the model's own layer modules."""
    study = Study(model, tiny_emotion(), profile(**fields))
    study.runner._way = "own modules"
    return study


@pytest.mark.parametrize("kind", sorted(CONFIGS.keys() - {"bloom"}))
def test_the_modules_one_by_one_are_the_model(kind):
    model = tiny_model(kind, torch.float64)
    for texts in (TEXTS, TEXTS[:1]):
        (batch,) = model.encode(texts).batches(99, model.pad, model.device)
        columns = batch.input_ids, batch.attention_mask, batch.position_ids
        assert disagreement(model, *columns, apart=False) < 1e-6
    assert hook_count(model.hf) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", ["last", "slot", "all"])
def test_every_run_is_that_of_hooks(kind, position):
    study = through_modules(tiny_model(kind, torch.float64), position=position)
    runs = every_kind(study, position)
    path = study.runner._kept()
    assert isinstance(path, Layerwise) and not path._model.apart
    near = 1e-5 if kind in IN_FLOAT32 else 1e-8
    for index, logits in path.logits("emotion", runs, position):
        torch.testing.assert_close(logits, whole(study, runs[index], position), rtol=0, atol=near)


@pytest.mark.parametrize("kind", KINDS)
def test_so_are_texts_and_gradients(kind):
    study = through_modules(tiny_model(kind, torch.float64))
    runs = [(), (zero(HEADS[1]),), (scale(HEADS[6], 3.0),)]
    for index, texts in study.runner._kept().texts("emotion", runs, "last"):
        expected = hooked.generate(study.model, study.prompts(), runs[index], max_new_tokens=4)
        assert texts.ids == expected.ids
    other = Study(study.model, tiny_emotion(), profile())
    other.runner._paths[False] = Whole(
        study.model, other.prompts, batch_size=None, max_new_tokens=4, share=False
    )
    expected = attribution_scores(other)
    for name, scores in attribution_scores(study).items():
        assert scores == pytest.approx(expected[name], abs=1e-6)
    assert hook_count(study.model.hf) == 0


@pytest.mark.parametrize("kind", OTHERS)
def test_types_without_a_row_of_layers_run_through_them(kind):
    model = miniature(kind)
    study = Study(model, tiny_emotion(), profile())
    path = study.runner._kept()
    assert isinstance(path, Layerwise) and not path._model.apart
    neutral = study.prompts("neutral")
    clean = hooked.last_logits(model, neutral)
    runs = [(zero(model.heads[0]),), (zero(model.heads[-1]),)]
    for position in ("last", "all"):
        for index, logits in path.logits("neutral", runs, position):
            theirs = hooked.last_logits(model, neutral, runs[index], position=position)
            torch.testing.assert_close(logits, theirs, rtol=0, atol=1e-5 * float(clean.abs().max()))
            assert (theirs - clean).abs().max() > 1e-3 * clean.abs().max()


def test_what_a_layer_is_given_is_cut_and_repeated():
    mask, places = torch.rand(2, 1, 5, 5), torch.arange(10).view(2, 5)
    turned = (torch.rand(1, 5, 4), torch.rand(2, 5, 4))
    given = {"attention_mask": mask, "position_ids": places, "position_embeddings": turned,
             "cache_position": torch.arange(5), "use_cache": False}  # fmt: skip
    made = ModuleInputs(given, 2, 5).at(slice(3, 4), 3)
    assert torch.equal(made["attention_mask"], mask[:, :, 3:4, :4].repeat_interleave(3, 0))
    assert torch.equal(made["position_ids"], places[:, 3:4].repeat_interleave(3, 0))
    assert torch.equal(made["position_embeddings"][0], turned[0][:, 3:4])
    assert torch.equal(made["position_embeddings"][1], turned[1][:, 3:4].repeat_interleave(3, 0))
    assert made["cache_position"].tolist() == [3] and made["use_cache"] is False
    some = ModuleInputs(given, 2, 5).of([1])
    assert some.rows == 1 and torch.equal(some.given["attention_mask"], mask[1:])


def test_what_is_not_known_is_not_guessed():
    with pytest.raises(NotPlaced, match=r"bias of shape \[4, 1, 64\] is given to its layers"):
        ModuleInputs({"bias": torch.rand(4, 1, 64)}, 2, 5).at(slice(4, 5), 1)
    model = miniature("mpt")
    (batch,) = model.encode(TEXTS).batches(99, model.pad, model.device)
    found = support_of(model, batch)
    assert found.way == "hooks" and "position_bias of shape" in found.reasons[-1]


def test_the_layers_are_transformers_modules():
    model = tiny_model("gpt2")
    layers = LayerwiseModel(model, apart=False).layers
    assert [layer.root for layer in layers] == list(model.hf.transformer.h)
