"""Greedy continuations: of many runs in one decode, and what is read of the tokens."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from runs import NEAR, POSITIONS, every_kind, study_in
from tiny import CONFIGS, HEADS, clean_runs, crossed, study_of, text, tiny_model

from emolib.engine import batch_sizes, decoding, hooked
from emolib.engine.decoding import Greedy, continuations, mean_log_probs
from emolib.interventions import zero


@crossed(kind=CONFIGS, position=POSITIONS)
def test_one_decode_of_all_gives_the_texts_of_each(kind, position):
    study = study_in(torch.float32, kind)
    runs, model, prompts = every_kind(study, position), study.model, study.prompts()
    settings = {"max_new_tokens": 6, "position": position}
    for index, found in decoding.generate(clean_runs(model, prompts, more=5), runs, **settings):
        expected = hooked.generate(model, prompts, runs[index], **settings)
        assert found.margins == pytest.approx(expected.margins, abs=NEAR)
        near = [margin < NEAR for margin in expected.margins]
        same = [a == b for a, b in zip(found.ids, expected.ids, strict=True)]
        assert all(alike or tie for alike, tie in zip(same, near, strict=True))


def test_a_row_ends_at_its_end_token_and_the_others_go_on():
    model = tiny_model("gpt_neo")
    prompts = model.encode([text(i, i + 1) for i in range(1, 40)])
    free = hooked.generate(model, prompts, max_new_tokens=3)
    # Make a token that some rows begin with, and others do not, the end.
    end = free.ids[0][0]
    kept = model.hf.generation_config.eos_token_id
    try:
        model.hf.generation_config.eos_token_id = [end]
        ended = hooked.generate(model, prompts, max_new_tokens=3)
    finally:
        model.hf.generation_config.eos_token_id = kept
    assert ended.ids[0] == (end,)
    assert {len(ids) for ids in ended.ids} >= {1, 3}
    for before, after in zip(free.ids, ended.ids, strict=True):
        cut = before.index(end) + 1 if end in before else 3
        assert after == before[:cut]


@pytest.mark.parametrize("generate", ["hooked", "many"])
def test_prompts_bring_ends_of_their_own_which_no_text_shows(generate):
    model = tiny_model("gpt_neo")
    plain = model.encode([text(i, i + 1) for i in range(1, 40)])
    free = hooked.generate(model, plain, max_new_tokens=3)
    end = free.ids[0][1]
    prompts = dataclasses.replace(plain, ends=frozenset({end}))
    if generate == "hooked":
        ended = hooked.generate(model, prompts, max_new_tokens=3)
    else:
        runs = clean_runs(model, prompts, more=2)
        ((_, ended),) = decoding.generate(runs, [()], max_new_tokens=3)
    for before, after, shown in zip(free.ids, ended.ids, ended.texts, strict=True):
        cut = before.index(end) + 1 if end in before else 3
        assert after == before[:cut]
        assert f"w{end}" not in shown.split()
    assert len(ended.ids[0]) <= 2


def test_a_margin_counts_no_step_after_the_end():
    model = tiny_model("gpt_neo")
    prompts = model.encode([text(1, 2), text(3, 4)])
    end = hooked.generate(model, prompts, max_new_tokens=1).ids[0][0]
    model.hf.generation_config.eos_token_id, kept = end, model.hf.generation_config.eos_token_id
    try:
        longer = hooked.generate(model, prompts, max_new_tokens=6)
        first = hooked.generate(model, prompts, max_new_tokens=1)
    finally:
        model.hf.generation_config.eos_token_id = kept
    assert longer.margins[0] == pytest.approx(first.margins[0])
    assert longer.margins[1] <= first.margins[1]


def test_greedy_takes_the_best_until_each_row_has_ended():
    """By hand: token 0 ends a row; what comes after is neither kept nor counted."""
    greedy = Greedy(tiny_model("gpt2"), 2)
    assert greedy.take([torch.tensor([[0.0, 2, 1]]), torch.tensor([[3.0, 1, 0]])]).tolist() == [
        1,
        0,
    ]
    assert not greedy.done
    greedy.take([torch.tensor([[0.0, 1, 1.5], [0, 8.5, 9]])])
    assert not greedy.done
    greedy.take([torch.tensor([[5.0, 1, 1], [0, 0, 7]])])
    assert greedy.done
    assert greedy.rows == [((1, 2, 0), 0.5), ((0,), 2.0)]


def test_texts_are_what_the_tokens_say_without_special_ones():
    made = continuations(tiny_model("gpt2"), [[5, 7, 0], [3]], [0.5, 2.0])
    assert made.ids == ((5, 7, 0), (3,)) and made.margins == (0.5, 2.0)
    assert made.texts == ("w5 w7", "w3")


def test_a_continuation_is_of_at_most_so_many_tokens():
    study = study_of("gpt2")
    for count in (1, 3):
        resumed = clean_runs(study.model, study.prompts(), more=count - 1)
        [(_, made)] = decoding.generate(resumed, [()], max_new_tokens=count)
        assert {len(ids) for ids in made.ids} == {count}


@pytest.mark.parametrize("kind", CONFIGS)
def test_fluency_is_that_of_the_whole_model(kind):
    study = study_in(torch.float32, kind)
    ids = study.run(zero(HEADS[0])).continuations.ids
    expected = hooked.log_probs(study.model, study.prompts(), ids)
    assert study.runner.log_probs("emotion", ids) == pytest.approx(expected, abs=NEAR)


def test_an_empty_continuation_has_no_fluency():
    study = study_of("gpt2")
    with pytest.raises(ValueError, match="at least one token"):
        study.runner.log_probs("emotion", [()] * len(study.prompts()))


@pytest.mark.parametrize("room", [1, 2**29])
def test_texts_without_room_for_all_logits_are_scored_in_parts(monkeypatch, room):
    study = study_of("llama")
    (clean,) = clean_runs(study.model, study.prompts(), more=3).of((), "all", more=True)
    rows, chosen = [3, 0, 3, 5], [(5, 6), (7,), (8, 9, 3), (1, 2)]
    expected = []
    for row, ids in zip(rows, chosen, strict=True):
        alone = study.model.encode([study.prompts().texts[clean.batch.rows[row]]])
        expected += hooked.log_probs(study.model, alone, [ids])
    monkeypatch.setattr(batch_sizes, "ROOM", room)
    found = decoding.log_probs(clean_model(study), clean, rows, chosen)
    assert found == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="at least one token"):
        decoding.log_probs(clean_model(study), clean, [0, 1], [(5,), ()])


def clean_model(study):
    return clean_runs(study.model, study.prompts()).model


def test_the_mean_log_probability_is_over_a_row_s_own_tokens():
    """By hand: even logits give −log of the vocabulary, and padding does not count."""
    logits = torch.zeros(2, 3, 4)
    logits[0, 1, 2] = torch.log(torch.tensor(3.0))
    logits[1, 1:, 0] = 99
    ids = torch.tensor([[1, 2, 3], [3, 0, 1]])
    half, quarter = torch.tensor([0.5, 0.25]).log().tolist()
    found = mean_log_probs(logits, ids, [3, 1])
    assert found == pytest.approx([(quarter + half + quarter) / 3, quarter], abs=1e-6)
