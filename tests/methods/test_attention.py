"""Where heads look from the last token, against transformers' own patterns."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, HEADS, crossed, profile, study_of, tiny_emotion, tiny_model

from emolib.engine import batch_sizes, hooked
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.methods.attention import last_attention
from emolib.methods.study import Study
from emolib.planted import DECOY, PLANTED, planted_emotion, planted_model
from emolib.tracing import hook_count

PLACES = ("slot", "start", "previous", "self")


@pytest.mark.parametrize("model_type", CONFIGS)
def test_attention_is_that_of_a_prompt_alone(model_type):
    """Padded on the left in a batch of several lengths, as one by one without padding."""
    study = study_of(model_type)
    found = last_attention(study)
    # transformers leaves hooks on a model that was asked for its attention.
    hf = copy.deepcopy(study.model.hf)
    for side in ("emotion", "neutral"):
        prompts = study.prompts(side)
        assert len(set(map(len, prompts.ids))) > 1
        for row, ids in enumerate(prompts.ids):
            out = hf(input_ids=torch.tensor([ids]), output_attentions=True)
            alone = torch.cat([layer[0, :, -1] for layer in out.attentions])
            weights = found.weights[side][row]
            assert weights == pytest.approx(alone.numpy(), abs=1e-5)
            assert weights.sum(1) == pytest.approx(np.ones(len(HEADS)), abs=1e-5)
            assert found.tokens[side][row] == prompts.texts[row].split()


def test_values_are_those_of_the_places():
    study = study_of("gpt_neo")
    found = last_attention(study)
    for column, head in enumerate(HEADS):
        row = found.of(head)
        for side in ("emotion", "neutral"):
            for i, (start, end) in enumerate(study.pairs.emotion.slots):
                weights = found.weights[side][i][column]
                expected = (weights[start:end].sum(), weights[0], weights[-2], weights[-1])
                assert [row[f"{side}_{place}"][i] for place in PLACES] == pytest.approx(expected)
                assert row[f"{side}_attention"][i] == pytest.approx(weights, abs=1e-5)
                assert row["slot"][i] == [start, end]
        assert row["delta_slot"] == pytest.approx(row["emotion_slot"] - row["neutral_slot"])


def test_a_local_layer_sees_its_window_alone():
    """gpt_neo's second layer looks back 4 tokens."""
    found = last_attention(study_of("gpt_neo"))
    local = [weights[HEADS.index(Head(1, 0))] for weights in found.weights["emotion"]]
    assert all((weights[:-4] == 0).all() and (weights[-4:] > 0).all() for weights in local)


def test_the_planted_head_and_its_decoy_look_at_the_emotion_word():
    found = last_attention(Study(planted_model(), planted_emotion("anger"), profile()))
    for head, slot in ((PLANTED, 0.75), (DECOY, 0.75), (Head(1, 0), 0.1)):
        row = found.of(head)
        assert row["emotion_slot"] == pytest.approx(np.full(len(row["slot"]), slot), abs=1e-6)
        assert row["neutral_slot"] == pytest.approx(np.full(len(row["slot"]), 0.1), abs=1e-6)
        assert row["emotion_self"] == pytest.approx((1 - row["emotion_slot"]) / 9, abs=1e-6)


@settings(max_examples=5)
@given(st.integers(1, 7))
def test_the_batch_size_changes_nothing(size):
    study = Study(tiny_model("llama"), tiny_emotion(), profile(batch_size=size))
    one = last_attention(study).weights["emotion"]
    whole = last_attention(Study(tiny_model("llama"), tiny_emotion(), profile()))
    for a, b in zip(one, whole.weights["emotion"], strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_patterns_leave_no_hook_and_are_causal():
    study = study_of("gpt2")
    shown = []

    def see(batch, layer, columns, pattern):
        assert pattern.shape == (len(batch.rows), 4, len(range(*columns.indices(99))), columns.stop)
        tokens = pattern * batch.attention_mask[:, None, columns, None]
        assert tokens.triu(1 + columns.start).abs().max() == 0
        shown.append((layer, len(batch.rows)))

    study.runner.attention("emotion", "all", see)
    assert sum(rows for layer, rows in shown if layer == 1) == len(study.pairs)
    assert hook_count(study.model.hf) == 0


@crossed(kind=CONFIGS, position=["last", "all"])
def test_every_path_shows_the_same_patterns(kind, position, monkeypatch):
    study = study_of(kind)
    prompts = study.prompts("emotion")

    def of(show):
        """Give by layer, prompt and place from the end what a token attends to, padding cut."""
        found = {}

        def see(batch, layer, columns, pattern):
            for row, heads in zip(batch.rows, pattern.numpy(), strict=True):
                for place, column in enumerate(range(columns.start, columns.stop)):
                    pads = batch.width - len(prompts.ids[row])
                    if column >= pads:
                        attended = heads[:, place, pads : column + 1]
                        found[layer, row, batch.width - column] = attended

        show(see)
        return found

    theirs = of(lambda see: hooked.attention(study.model, prompts, position, see))
    # Few columns at a time.
    monkeypatch.setattr(batch_sizes, "ROOM", 20_000)
    ours = of(lambda see: study.runner.attention("emotion", position, see))
    assert ours.keys() >= {(layer, row, 1) for layer in (0, 1) for row in range(len(prompts))}
    assert position == "last" or ours.keys() == theirs.keys()
    for key, attended in ours.items():
        assert attended == pytest.approx(theirs[key], abs=1e-6)
        assert attended.sum(-1) == pytest.approx(1)


def test_attention_needs_pairs():
    free = tiny_emotion()
    study = Study(
        tiny_model("gpt2"),
        type(free)(free.name, free.lexicon, free.neutral, None, (("w1 w2",), ("w3",)), ""),
        profile(),
    )
    with pytest.raises(InputError, match="needs aligned pairs"):
        last_attention(study)
