"""Direct effects and self-repair: closed forms on planted models, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted_backup import BACKUP, backed, backup_model, logit_diff, written
from tiny import FAMILIES, HEADS, profile, study_of, tiny_emotion, tiny_model

from emolib.engine import hooked
from emolib.inputs.heads import HeadSet
from emolib.interventions import alone, edit, mean, patch, zero
from emolib.methods import repair
from emolib.methods.repair import self_repair
from emolib.methods.study import Study
from emolib.planted import EMOTION_WORDS, PLANTED, planted_emotion, planted_model

CLOSE = 1e-6
CLEAN = logit_diff(written() + backed(written()))
TOTAL = logit_diff(backed(0)) - CLEAN
DIRECT = logit_diff(backed(written())) - CLEAN


@pytest.fixture(scope="module", params=EMOTION_WORDS)
def study(request):
    return Study(backup_model(), planted_emotion(request.param), profile())


def test_a_head_with_a_backup_is_the_closed_form(study):
    assert study.run().logit_diff == pytest.approx(CLEAN, abs=CLOSE)
    assert study.run(zero(PLANTED)).logit_diff - CLEAN == pytest.approx(TOTAL, abs=CLOSE)
    found = self_repair(study, zero(PLANTED))
    assert found.direct == pytest.approx(DIRECT, abs=CLOSE)
    assert found.self_repair == pytest.approx(1 - TOTAL / DIRECT, abs=CLOSE)
    assert found.self_repair > 0.3 and not found.no_self_repair
    assert found.to_record().keys() == {"direct", "self_repair"}


def test_nothing_repairs_the_backup_itself_nor_a_set_of_both(study):
    h, b = written(), backed(written())
    for targets, left in ((BACKUP, h), (HeadSet((PLANTED, BACKUP)), 0)):
        found = self_repair(study, zero(targets))
        assert found.direct == pytest.approx(logit_diff(left) - CLEAN, abs=CLOSE)
        assert found.self_repair == pytest.approx(0, abs=CLOSE)
    # The planted head's mean over both sides is half of what it writes.
    found = self_repair(study, mean(PLANTED, study.reference))
    direct, whole = logit_diff(h / 2 + b) - CLEAN, logit_diff(h / 2 + backed(h / 2)) - CLEAN
    assert found.direct == pytest.approx(direct, abs=CLOSE)
    assert found.self_repair == pytest.approx(1 - whole / direct, abs=CLOSE)


def test_on_the_neutral_side_there_is_nothing_to_repair(study):
    found = self_repair(study, zero(PLANTED), on="neutral")
    assert found.direct == pytest.approx(0, abs=CLOSE) and found.self_repair is None
    assert "below 0.1" in found.to_record()["why_no_self_repair"]


def test_a_model_of_one_step_repairs_nothing():
    study = Study(planted_model(), planted_emotion(), profile())
    found = self_repair(study, zero(PLANTED))
    assert found.direct == pytest.approx(-5, abs=CLOSE)
    assert found.self_repair == pytest.approx(0, abs=CLOSE)


@pytest.mark.parametrize("kind", FAMILIES)
def test_at_the_slot_it_says_so_in_place_of_running(kind, monkeypatch):
    study = study_of(kind, position="slot")
    found = self_repair(study, zero(HEADS[1]))
    assert not found.direct.any() and len(found.direct) == len(study.prompts())
    assert "come" in found.no_self_repair and found.self_repair is None
    # What it says in place of running is what running says, to the last digits.
    run = study.run(alone(zero(HEADS[1]), study.activations("emotion")))
    assert run.logit_diff == pytest.approx(study.run().logit_diff, abs=1e-9)
    # Where something else may carry it on, it runs.
    monkeypatch.setattr(repair, "_heads_alone_move", lambda model: False)
    assert "logits, is below" in self_repair(study, zero(HEADS[1])).no_self_repair


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("position", ["last", "after_slot", "all"])
def test_direct_effects_are_those_of_the_whole_model_with_every_head_held(kind, position):
    """Against a run that patches all heads with z that the clean run had, and edits after that."""
    study = study_of(kind, position=position)
    clean = study.activations("emotion")
    for head in (HEADS[1], HEADS[6]):
        later = [other for other in HEADS if other.layer > head.layer]
        held = [patch(HeadSet(tuple(later)), clean)] if later else []
        run = [zero(head), *held]
        expected = hooked.last_logits(study.model, study.prompts(), run, position=position)
        before = study.run().logit_diff
        found = self_repair(study, zero(head))
        direct = study.logit_diff(expected)[0].numpy() - before
        assert found.direct == pytest.approx(direct, abs=1e-6)
        if found.self_repair is not None:
            total = (study.run(zero(head)).logit_diff - before).mean()
            assert found.self_repair == pytest.approx(1 - abs(total) / abs(direct.mean()), abs=1e-5)
    assert np.abs(direct).max() > 1e-3


def test_an_edit_of_ones_own_and_free_prompts():
    study = study_of("gpt2")
    by_hand = self_repair(study, edit(HEADS[1], torch.zeros_like))
    assert by_hand.direct == pytest.approx(self_repair(study, zero(HEADS[1])).direct, abs=1e-9)
    emotion = tiny_emotion()
    lists = tuple(tuple(pair.written(side) for pair in emotion.pairs)
                  for side in ("emotion", "neutral"))  # fmt: skip
    from dataclasses import replace

    free = Study(
        tiny_model("gpt2", torch.float64),
        replace(emotion, pairs=None, free=lists),
        profile(),
    )
    assert self_repair(free, zero(HEADS[1])).direct == pytest.approx(by_hand.direct, abs=1e-9)
