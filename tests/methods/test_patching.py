"""Patching both ways at every position, on the model whose answers are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import HEADS, profile, study_of, tiny_emotion, tiny_model

from emolib.inputs.heads import Head, all_heads
from emolib.interventions import Site, patch
from emolib.methods.patching import patched
from emolib.methods.study import Study
from emolib.planted import DECOY, PLANTED, planted_emotion, planted_model


@pytest.fixture(scope="module")
def planted_study():
    return Study(planted_model(), planted_emotion("anger"), profile(max_new_tokens=2))


@pytest.mark.parametrize("head", [PLANTED, DECOY, Head(1, 1)], ids=str)
def test_the_planted_head_carries_all_of_the_gap(planted_study, head):
    runs = list(patched(planted_study, head))
    for case in runs:
        # What the head writes at the slot stays there: no later layer reads it.
        share = float(head == PLANTED and case.position != "slot")
        share *= {"denoise": 1, "noise": -1}[case.direction]
        effect = case.run.logit_diff - case.clean.logit_diff
        assert effect == pytest.approx(np.full(len(effect), 5 * share), abs=1e-6)
        assert (case.recovery, case.no_recovery) == (pytest.approx(share, abs=1e-6), "")
    settings = [(case.direction, case.position) for case in runs]
    assert len(set(settings)) == 8 and settings[0] == ("denoise", "last")


def test_the_profile_s_position_comes_first():
    cases = patched(study_of("gpt2", position="slot"), HEADS[0])
    assert [case.position for case in cases] == ["slot", "last", "after_slot", "all"] * 2


def test_a_gap_that_is_no_denominator_gives_no_recovery_and_the_reason():
    """Where the two sets of targets are the same words there is nothing to recover."""
    study = study_of("gpt2")
    same = torch.tensor([40])
    study.targets = (same, same)
    for case in patched(study, HEADS[0]):
        assert case.recovery is None
        assert case.no_recovery == "the clean gap, 0 logits, is below 0.1"


def test_nothing_is_after_a_slot_that_ends_the_prompt():
    emotion = tiny_emotion()
    pairs = [dataclasses.replace(p, prompt=p.prompt.partition("}")[0] + "}") for p in emotion.pairs]
    study = Study(tiny_model("gpt2"), dataclasses.replace(emotion, pairs=tuple(pairs)), profile())
    assert {case.position for case in patched(study, HEADS[0])} == {"last", "slot", "all"}


def test_every_step_gives_generated_tokens_the_z_of_the_pair_s_last_token():
    study = study_of("gpt2")
    source, head = study.activations("emotion"), Head(1, 2)
    (batch,) = study.prompts("neutral").batches(99, study.model.pad, "cpu")
    token = source.of(head)[:, :1] * 0
    site = Site(head, batch, "last", 0, generated=True)
    assert (patch(head, source).edit(token, site) == token).all()
    placed = patch(head, source, every_step=True).edit(token, site)
    assert (placed == source.of(head)[:, -1:]).all() and placed.abs().max() > 0


def test_every_step_goes_on_while_generating():
    """A patch that repeats a token's z changes what is generated, from the second token on."""
    study = study_of("gpt2", max_new_tokens=6)
    everything = all_heads(study.model.n_layers, study.model.n_heads)
    edits = [patch(everything, study.activations("emotion"), every_step=e) for e in (False, True)]
    once, always = (study.run(edit, on="neutral").continuations.ids for edit in edits)
    assert [ids[0] for ids in once] == [ids[0] for ids in always]
    assert once != always
