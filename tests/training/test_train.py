"""Training: it learns, reproduces, and writes all that a model needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from emolib.training import train
from emolib.training.embedded import DESIGNS, TrainingRecipe
from emolib.training.model_cards import Figures

MODELS = Path(__file__).parents[2] / "data/models"
FIRST, *OTHERS = DESIGNS
SHORT = TrainingRecipe(steps=6, batch=4, warmup=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in training: on models this small, threads that wait for each other cost more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(MODELS / "tiny-gpt2")


def test_the_tokenizer_is_trained_again_the_same(tokenizer):
    again = train.train_tokenizer()
    assert again.get_vocab() == tokenizer.get_vocab()
    text = "Anna stole his radio, and he was furious."
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize(
    "name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_few_steps_reduce_the_loss(name, tokenizer):
    recipe = TrainingRecipe(steps=40, batch=6, warmup=2)
    losses: list[float] = []
    _, _, log = train.train(name, 1, recipe, tokenizer, lambda line: losses.append(line["loss"]))
    assert log[0]["step"] == 0 and log[-1]["step"] == 39
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", DESIGNS)
def test_same_seed_same_weights(name, tokenizer):
    one, two, other = (
        train.train(name, seed, SHORT, tokenizer)[0].state_dict() for seed in (5, 5, 6)
    )
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=0, atol=1e-6)
    assert any(not torch.equal(value, other[key]) for key, value in one.items())


def test_the_loss_is_a_weighted_mean_of_the_next_token_s(tokenizer):
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    weights = torch.tensor([[0.1, 0.1, 6.0, 1.0], [0.1, 6.0, 0.0, 0.0]])
    model = DESIGNS["tiny-neox"].build(len(tokenizer)).eval()
    with torch.inference_mode():
        log_p = model(input_ids=ids).logits.log_softmax(-1)
        loss = train._loss(model, ids, weights)
    kept = [(row, at, float(weights[row, at])) for row in (0, 1) for at in (1, 2, 3)]
    total = sum(-w * log_p[row, at - 1, ids[row, at]] for row, at, w in kept)
    torch.testing.assert_close(loss, total / sum(w for *_, w in kept))


def test_scenes_are_weighted_by_prompt_feeling_and_ending(tokenizer):
    recipe = TrainingRecipe(batch=4)
    ids, weights = next(train._batches(tokenizer, recipe, 3))
    for row, kept in zip(ids, weights, strict=True):
        length = int((kept > 0).sum())
        values = kept[:length].tolist()
        prompt = values.index(recipe.feeling_weight)
        expected = [recipe.context_weight] * prompt + [recipe.feeling_weight] * 2
        assert values == pytest.approx(expected + [1.0] * (length - prompt - 2))
        assert row[length - 1] == tokenizer.eos_token_id and not row[length:].any()


@pytest.mark.parametrize("name", DESIGNS)
def test_head_norms_are_those_of_the_slices_of_the_projection(name):
    """Zeroing the slice of z that a head feeds in, and nothing else, zeroes its norm's part."""
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / name)
    norms = train._head_norms(model, DESIGNS[name])
    projection = model.get_submodule(DESIGNS[name].projection.format(2))
    z = torch.eye(96)[24:48]
    with torch.inference_mode():
        written = projection(z) - projection(torch.zeros(1, 96))
    torch.testing.assert_close(norms[2, 1], written.norm())


@given(st.integers(0, 1499))
def test_learning_rate_stays_between_nothing_and_its_peak(step):
    recipe = TrainingRecipe(steps=1500)
    assert 0 < train._schedule(recipe, step) <= recipe.lr


def test_build_writes_all_a_model_needs(tmp_path, monkeypatch, capsys):
    short = replace(DESIGNS["tiny-gpt2"], recipe=SHORT)
    monkeypatch.setitem(DESIGNS, "tiny-gpt2", short)
    monkeypatch.setattr(
        train, "measure", lambda *_: [Figures("anger", 2, 1, 0, 3, 1, (0.5,), (0.1,))]
    )
    train.build("tiny-gpt2", 0, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (MODELS / "tiny-gpt2").iterdir()
    }
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| anger | 2 |" in card and "--model tiny-gpt2 --seed 0" in card
    assert "step 5" in capsys.readouterr().out


@pytest.mark.parametrize("name", DESIGNS)
def test_log_of_a_committed_model(name):
    log = (MODELS / name / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in log]
    assert all(set(line) == {"step", "loss", "lr", "seconds"} for line in lines)
    assert lines[-1]["step"] == DESIGNS[name].recipe.steps - 1
    assert lines[-1]["loss"] < lines[0]["loss"] / 4
