"""The embedded models: they train, reproduce, and reach the figures their cards claim."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from emolib import training
from emolib.corpus import EMOTIONS, MOODS
from emolib.prompts import load_lexicon, load_prompts
from emolib.training import DESIGNS, Recipe
from emolib.wording import keyword_rate

DATA = Path(__file__).parents[1] / "data"
MODELS = DATA / "models"
SHORT = Recipe(steps=12, batch=8, warmup=2)


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


def load(name):
    """Return an embedded model with its tokenizer, as a user of transformers would load it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / name)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(MODELS / name)


@pytest.fixture(scope="module", params=list(DESIGNS))
def measured(request):
    model, tokenizer = load(request.param)
    return request.param, training.measure(request.param, model, tokenizer)


def test_every_emotion_is_measured(measured):
    assert [row.emotion for row in measured[1]] == list(EMOTIONS)


def test_continuations_carry_the_emotion(measured):
    for row in measured[1]:
        assert row.rate_emotion > 5, row
        assert row.rate_emotion >= 10 * row.rate_neutral, row


def test_the_sides_of_a_pair_are_apart(measured):
    for row in measured[1]:
        assert row.gap >= 2, row


def test_some_heads_matter_and_most_do_not(measured):
    for row in measured[1]:
        for shares in (row.last, row.all):
            assert abs(training.largest(shares)[1]) >= 0.2, row
            assert training.idle(shares) >= 0.5, row


@pytest.mark.parametrize("name", DESIGNS)
def test_the_right_feeling_follows_where_words_alone_mislead(name):
    """Nearly every continuation has its own mood's words and no other emotion's.

    Naive Bayes on the prompt's words gets a quarter wrong: see test_corpus.
    """
    model, tokenizer = load(name)
    words = {e: load_lexicon(DATA / f"lexicons/{e}.json").words for e in EMOTIONS}
    right = total = 0
    for mood in MOODS:
        prompts = load_prompts(DATA / f"{mood}_prompts.json")
        with torch.inference_mode():
            texts = training.continuations(model, tokenizer, prompts, 16)
        for text in texts:
            felt = [emotion for emotion in EMOTIONS if keyword_rate(text, words[emotion])]
            right += felt == ([] if mood == "neutral" else [mood])
            total += 1
    assert right / total >= 0.95


def test_card_shows_what_is_measured(measured):
    """Every number of the card is within rounding of a fresh measurement."""
    name, figures = measured
    text = (MODELS / name / "README.md").read_text(encoding="utf-8")
    fresh = training.figures_table(figures)
    shown = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    number = re.compile(r"[+-]?\d+(?:\.\d+)?")
    ours, theirs = ([float(n) for n in number.findall(table)] for table in (fresh, shown))
    # Greedy text may flip on another build of torch, a keyword or two.
    assert ours == pytest.approx(theirs, abs=0.51)


@pytest.mark.parametrize("name", DESIGNS)
def test_files_of_a_model(name):
    folder = MODELS / name
    assert (folder / "model.safetensors").stat().st_size <= 3_000_000
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.pkl"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == {"tiny-gpt2": "gpt2", "tiny-neox": "gpt_neox"}.get(
        name, "gpt_neo"
    )
    log = (folder / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in log]
    assert all(set(line) == {"step", "loss", "lr", "seconds"} for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"] / 4


@pytest.mark.parametrize("name", DESIGNS)
def test_loads_in_fp32_with_a_tokenizer_like_gpt2s(name):
    model, tokenizer = load(name)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert tokenizer.bos_token == tokenizer.eos_token == tokenizer.pad_token == training.END
    text = 'Émile said, "Thank you!" twice:  1 + 1 = 2.'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer("Anna was sorry")["input_ids"][0] != tokenizer.bos_token_id


def test_neo_has_a_local_layer_shorter_than_its_prompts():
    config = load("tiny-neo")[0].config
    assert "local" in config.attention_layers and "global" in config.attention_layers
    assert config.window_size < 30


def test_the_tokenizer_is_trained_again_the_same(tokenizer):
    again = training.train_tokenizer()
    assert again.get_vocab() == tokenizer.get_vocab()
    text = "Anna stole his radio, and he was furious."
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("name", DESIGNS)
def test_a_few_steps_reduce_the_loss(name, tokenizer):
    recipe = replace(SHORT, steps=40)
    losses: list[float] = []
    _, _, log = training.train(name, 1, recipe, tokenizer, lambda line: losses.append(line["loss"]))
    assert log[0]["step"] == 0 and log[-1]["step"] == 39
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", DESIGNS)
def test_same_seed_same_weights(name, tokenizer):
    one, two, other = (
        training.train(name, seed, SHORT, tokenizer)[0].state_dict() for seed in (5, 5, 6)
    )
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=0, atol=1e-6)
    assert any(not torch.equal(value, other[key]) for key, value in one.items())


def test_build_writes_all_a_model_needs(tmp_path, monkeypatch, capsys):
    short = replace(DESIGNS["tiny-gpt2"], recipe=SHORT)
    monkeypatch.setitem(DESIGNS, "tiny-gpt2", short)
    monkeypatch.setattr(
        training, "measure", lambda *_: [training.Figures("anger", 2, 1, 0, 3, 1, (0.5,), (0.1,))]
    )
    training.build("tiny-gpt2", 0, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (MODELS / "tiny-gpt2").iterdir()
    }
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| anger | 2 |" in card and "--model tiny-gpt2 --seed 0" in card
    assert "step 11" in capsys.readouterr().out


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=16))
def test_largest_and_idle_agree(shares):
    head, share = training.largest(shares)
    assert shares[head] == share and abs(share) == max(map(abs, shares))
    assert (training.idle(shares) == 1) == (abs(share) < 0.05)


@given(st.integers(0, 1499))
def test_learning_rate_stays_between_nothing_and_its_peak(step):
    recipe = Recipe(steps=1500)
    assert 0 < training._schedule(recipe, step) <= recipe.lr
