from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from tiny import (
    FAMILIES,
    HEADS,
    N_HEADS,
    N_LAYERS,
    crossed,
    profile,
    study_of,
    text,
    tiny_emotion,
    tiny_model,
    tokenizer,
)

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Pair
from emolib.methods import screening
from emolib.methods.frozen_norms import frozen_norm
from emolib.methods.screening import Screening
from emolib.methods.study import Study
from emolib.models.language_model import LanguageModel
from emolib.tracing import OwnTrace, OwnTraceDict, hook_count

families = pytest.mark.parametrize("model_type", FAMILIES)


def patterns_of(model, ids, **options):
    """Give the patterns of all heads as transformers puts them out, ``[batch, H, seq, seq]``.

    From a copy: transformers leaves hooks on a model that was asked for them.
    """
    hf = copy.deepcopy(model.hf)
    return torch.cat(hf(input_ids=ids, output_attentions=True, **options).attentions, dim=1)


@families
@pytest.mark.parametrize("position", ["last", "after_slot"])
def test_attention_is_summed_over_the_slot_and_averaged_over_the_queries(model_type, position):
    study = study_of(model_type, position=position)
    scores = screening.attention_scores(study)
    for side in ("emotion", "neutral"):
        prompts = study.prompts(side)
        for row, (start, end) in enumerate(prompts.slots):
            ids = torch.tensor([prompts.ids[row]])
            pattern = patterns_of(study.model, ids)[0]
            queries = slice(-1, None) if position == "last" else slice(end, None)
            expected = pattern[:, queries, start:end].sum(-1).mean(-1)
            found = scores[f"{side}_mean_attn"][row]
            assert found == pytest.approx(expected.numpy(), abs=1e-5)
    difference = scores["emotion_mean_attn"] - scores["neutral_mean_attn"]
    assert np.array_equal(scores["delta_attn"], difference)
    assert all(scores[f"{side}_mean_attn"].min() >= 0 for side in ("emotion", "neutral"))


def test_a_mean_over_all_keys_would_be_one_over_t_for_every_head():
    """The trap: a softmax row sums to 1. What the score sums over must not be all keys."""
    study = study_of("gpt2")
    (batch,) = study.prompts().batches(99, study.model.pad, "cpu")
    patterns = patterns_of(study.model, batch.input_ids, attention_mask=batch.attention_mask)
    wrong = patterns[:, :, -1].sum(-1) / batch.attention_mask.sum(1)[:, None]
    lengths = torch.tensor([len(ids) for ids in study.prompts().ids])
    torch.testing.assert_close(wrong, (1 / lengths)[:, None].double().expand_as(wrong))
    scores = screening.attention_scores(study)["emotion_mean_attn"]
    assert np.ptp(scores, axis=1).min() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_that_all_tie_are_an_error(dtype):
    hf = copy.deepcopy(tiny_model("gpt2", dtype).hf)
    with torch.no_grad():
        for block in hf.transformer.h:
            block.attn.c_attn.weight[:, :64] = 0
            block.attn.c_attn.bias[:64] = 0
    study = Study(LanguageModel(hf, tokenizer(), "uniform"), tiny_emotion(), profile())
    with pytest.raises(ValueError, match=r"^every head of uniform pays the slot the same attent"):
        screening.screen(study)


def test_attention_to_all_keys_ties_up_to_float_noise_and_is_an_error(monkeypatch):
    """With the slot stretched over the whole prompt every head's sum is 1."""
    study = Study(tiny_model("gpt2"), tiny_emotion(), profile())
    for side in ("emotion", "neutral"):
        prompts = study.prompts(side)
        whole = tuple((0, len(ids)) for ids in prompts.ids)
        wrong = dataclasses.replace(prompts, slots=whole)
        monkeypatch.setattr(study, "_pairs", dataclasses.replace(study.pairs, **{side: wrong}))
    with pytest.raises(ValueError, match=r"pays the slot the same attention \(1\)"):
        screening.attention_scores(study)


@families
def test_direct_effects_of_all_parts_add_up_to_the_logit_difference(model_type):
    """Embedding, heads, biases and MLPs through the frozen norms: nothing else reaches LD."""
    study = study_of(model_type)
    model, row = study.model, study.model.arch
    modules = dict(model.hf.named_modules())
    layers = [f"{row.layers}.{layer}" for layer in range(N_LAYERS)]
    normed = [f"{layer}.post_feedforward_layernorm" for layer in layers]
    plain = [row.mlp_out_path(layer) for layer in range(N_LAYERS)]
    mlps = normed if normed[0] in modules else plain
    posts = [row.post_attn_norm_path(layer) for layer in range(N_LAYERS)]
    paths = [layers[0], row.final_norm, *mlps, *filter(None, posts)]
    (batch,) = study.prompts().batches(99, model.pad, "cpu")
    with torch.no_grad(), OwnTraceDict(model.hf, paths, retain_input=True, clone=True) as traces:
        hooked.forward(model, batch)

    final = traces[row.final_norm]
    through = frozen_norm(model, row.final_norm, final.input[:, -1])
    unembed = model.hf.get_output_embeddings().weight
    emotion, neutral = study.targets
    direction = unembed[emotion].mean(0) - unembed[neutral].mean(0)
    stream = traces[layers[0]].input
    stream = stream[0] if isinstance(stream, tuple) else stream
    parts = [stream[:, -1], *(traces[path].output[:, -1] for path in mlps)]
    for layer, post in enumerate(posts):
        bias = modules[model.attn_out(layer)].bias
        if bias is not None:
            bias = bias.expand(len(batch.rows), -1)
            if post:
                bias = frozen_norm(model, post, traces[post].input[:, -1])(bias)
            parts.append(bias)
    total = sum(through(part) @ direction for part in parts)
    final_bias = getattr(modules[row.final_norm], "bias", None)
    if final_bias is not None:
        total = total + final_bias @ direction
    dla = screening.output_scores(study)[0]["dla"]
    # Before a soft cap on the logits and a bias of the unembedding.
    expected = (final.output[:, -1] @ direction).numpy()
    assert total.numpy() + dla.sum(1) == pytest.approx(expected, abs=1e-4)
    assert np.abs(dla).max() > 0.05


@families
@pytest.mark.parametrize("position", ["last", "all"])
def test_delta_out_is_the_length_of_the_mean_difference(model_type, position):
    study = study_of(model_type, position=position)
    found = screening.output_scores(study)[1]
    sides = []
    for side in ("emotion", "neutral"):
        prompts = study.prompts(side)
        written = []
        for ids in prompts.ids:
            with OwnTrace(study.model.hf, study.model.attn_out(1), retain_input=True) as trace:
                study.model.hf(input_ids=torch.tensor([ids]))
            z = trace.input[0].unflatten(-1, (N_HEADS, -1))[:, 2]
            written.append(
                (z[-1:] if position == "last" else z).mean(0) @ study.model.w_o(Head(1, 2))
            )
        sides.append(torch.stack(written))
    change = sides[0] - sides[1]
    column = HEADS.index(Head(1, 2))
    assert found["delta_out"][column] == pytest.approx(float(change.mean(0).norm()), abs=1e-5)
    noise = float(change.var(0).sum()) / len(change)
    debiased = max(0.0, float(change.mean(0).square().sum()) - noise) ** 0.5
    assert found["delta_out_debiased"][column] == pytest.approx(debiased, abs=1e-4)


def test_delta_proj_is_on_the_direction_of_the_other_half_of_the_templates():
    emotion = tiny_emotion(8)

    def projected(pairs):
        study = Study(tiny_model("gpt2"), dataclasses.replace(emotion, pairs=pairs), profile())
        return screening.output_scores(study)[0]["delta_proj"][0]

    first, mate, *others = emotion.pairs
    assert first.template == mate.template != others[0].template
    expected = projected((first, mate, *others))
    other_mate = dataclasses.replace(mate, prompt=text(30, 31) + " {slot} w32")
    assert projected((first, other_mate, *others)) == pytest.approx(expected, abs=1e-5)
    changed = dataclasses.replace(others[0], prompt=text(30, 31) + " {slot} w32")
    assert np.abs(projected((first, mate, changed, *others[1:])) - expected).max() > 1e-2


@pytest.mark.parametrize(
    ("reliability", "why"),
    [
        (None, "no reliability: too few pairs"),
        (0.79, "reliability 0.79 < 0.8"),
        (0.8, None),
        (0.95, None),
    ],
)
def test_an_unreliable_ranking_shows_no_rank_and_says_why(reliability, why):
    names = (
        "emotion_mean_attn", "neutral_mean_attn", "delta_attn", "delta_proj", "dla",
        "atp_denoise", "atp_noise", "atp_ig",
    )  # fmt: skip
    table = np.array([[0.1, -3.0, 2.0], [0.1, -1.0, 0.5]])
    heads = (Head(0, 0), Head(0, 1), Head(0, 2))
    norms = {"delta_out": np.arange(3.0)}
    scores = Screening(heads, dict.fromkeys(names, table), norms, {}, reliability)
    assert scores.ranking == [Head(0, 1), Head(0, 2), Head(0, 0)]
    ranks = [scores.of(head)["rank"] for head in heads]
    assert ranks == ([None] * 3 if why else [3, 1, 2])
    assert scores.of(heads[0]).get("ranking") == why
    row = scores.of(Head(0, 1))
    assert row["atp_ig"].tolist() == [-3, -1]
    assert row["delta_out"] == 1
    assert row["reliability"] == reliability


def test_a_notebook_shows_the_strongest_heads_and_the_map_of_any_score():
    heads = (Head(0, 0), Head(0, 1), Head(1, 0))
    pairs = {"atp_ig": np.array([[0.0, -3, 2], [0.0, -1, 2]]), "dla": np.full((2, 3), 0.5)}
    scores = Screening(
        heads,
        pairs,
        {"delta_out": np.array([7.0, 8, 9])},
        {Head(0, 1): (-1.75, 0.25)},
        0.95,
        {"delta_proj": "no stream"},
    )
    assert repr(scores) == (
        "the strongest of 3 heads by |atp_ig|; reliability 0.95\n"
        "head  atp_ig  patch_denoise  dla\n"
        "L0H1  -2      -1.75          0.5\n"
        "L1H0  2       –              0.5\n"
        "L0H0  0       –              0.5"
    )
    shown = scores._repr_html_()
    assert "|atp_ig|" in shown and 'title="L0H1: -2.00"' in shown
    assert repr(scores.head_map("delta_out")).split()[-4:] == ["8.00", "L1", "9.00", "–"]
    with pytest.raises(InputError, match=r"atp_ig, dla, delta_out, got 'delta_proj' \(no st"):
        scores.head_map("delta_proj")


@crossed(model_type=FAMILIES, size=[1, 4])
def test_the_batch_size_changes_no_score(model_type, size):
    whole = screening.screen(Study(tiny_model(model_type), tiny_emotion(), profile()))
    parts = screening.screen(
        Study(tiny_model(model_type), tiny_emotion(), profile(batch_size=size))
    )
    for name, table in (whole.pairs | whole.norms).items():
        other = (parts.pairs | parts.norms)[name]
        assert other == pytest.approx(table, abs=1e-3, rel=1e-4), name
    assert parts.verified.keys() == whole.verified.keys()


def test_screening_leaves_no_hook_and_no_gradient():
    study = study_of("gemma2")
    screening.screen(study)
    assert hook_count(study.model.hf) == 0
    assert all(parameter.grad is None for parameter in study.model.hf.parameters())
    pairs = (*study.emotion.pairs, Pair("end", "t", "w1 {slot}", "w2", "w3"))
    ends = Study(study.model, dataclasses.replace(study.emotion, pairs=pairs), profile())
    assert screening.screen(ends).pairs["dla"].shape == (7, len(HEADS))
    assert hook_count(study.model.hf) == 0


def test_screening_needs_pairs():
    emotion = dataclasses.replace(tiny_emotion(), pairs=None, free=(("w1 w2",), ("w3 w4",)))
    with pytest.raises(ValueError, match="needs aligned pairs"):
        screening.screen(Study(tiny_model("gpt2"), emotion, profile()))


def test_the_embedded_models_have_heads_that_matter_and_heads_that_do_not(embedded, gratitude):
    scores = screening.screen(Study(embedded, gratitude, profile()))
    strength = np.abs(scores.pairs["atp_ig"].mean(0))
    assert strength.max() > 5 * np.median(strength)
    assert len(scores.heads) == 16
