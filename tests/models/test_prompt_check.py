"""Prompts that do not fit a model are told by file and entry, mostly without its tokenizer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from tiny import profile

from emolib.errors import InputError
from emolib.files import data_root
from emolib.inputs.emotions import load_emotion
from emolib.inputs.profiles import load_profile
from emolib.inputs.prompts import Pair
from emolib.methods.study import study
from emolib.models import loading, prompt_check
from emolib.models.prompt_check import check_prompts
from emolib.models.sources import find

GRATITUDE = load_emotion(load_profile("demo"), "gratitude")


def emotion_of(*prompts):
    """Return gratitude with pairs of the prompts given."""
    pairs = tuple(Pair(f"p{i}", "t", f"{p} {{slot}}", "a", "b") for i, p in enumerate(prompts))
    return dataclasses.replace(GRATITUDE, pairs=pairs, files=(Path("mine.json"),))


def said(call, *args, **kwargs):
    with pytest.raises(InputError) as error:
        call(*args, **kwargs)
    return str(error.value)


@pytest.fixture
def unread(monkeypatch):
    """Let no tokenizer of transformers be read."""
    monkeypatch.setattr(loading, "describe", lambda source: pytest.fail("read"))


@pytest.fixture
def mine(tmp_path):
    """Give a function from a chat template to a model that has it."""

    def make(template):
        folder = tmp_path / "mine"
        shutil.copytree(data_root() / "models/tiny-neo", folder)
        (folder / "chat_template.jinja").write_text(template)
        return find(str(folder))

    return make


def long(words):
    return emotion_of("the", "the " * words)


@pytest.mark.usefixtures("unread")
def test_the_project_s_prompts_need_no_tokenizer_of_transformers():
    demo = load_profile("demo")
    emotions = [load_emotion(demo, name) for name in demo.emotions]
    check_prompts([find(name) for name in demo.models], emotions, demo)
    # 110 tokens in 450 bytes, of 128 with 4 to come: tokenizer.json tells.
    check_prompts([find("tiny-neo")], [long(108)], profile())


@pytest.mark.usefixtures("unread")
def test_short_prompts_need_no_tokenizer_at_all(monkeypatch):
    monkeypatch.setattr("tokenizers.Tokenizer.from_file", lambda path: pytest.fail("read"))
    check_prompts([find("tiny-neo")], [emotion_of("the " * 20)], profile())


@pytest.mark.parametrize("words", [112, 121])
def test_what_fits_by_a_token_is_let_through_and_one_more_is_not(words):
    """At every length the check says what encoding says."""
    source, emotion = find("tiny-neo"), long(words)
    _, tokenizer = loading.describe(source)
    count = len(tokenizer(emotion.written("emotion")[1])["input_ids"])
    room = 128 - count
    check_prompts([source], [emotion], profile(max_new_tokens=room))
    message = said(check_prompts, [source], [emotion], profile(max_new_tokens=room + 1))
    assert message == (
        "model 'tiny-neo': mine.json: pair 'p1': prompt 'the the the the the the the the the the ' "
        f"has {count} tokens, expected at most {count - 1} (the model's context less "
        "--max-new-tokens); shorten the prompt or the continuation"
    )


def test_a_study_says_the_same_before_weights_are_loaded(monkeypatch):
    monkeypatch.setattr("emolib.methods.study.load", lambda *args, **kwargs: pytest.fail("loaded"))
    message = said(study, "tiny-neo", long(200))
    assert message.startswith("model 'tiny-neo': mine.json: pair 'p1': prompt ")


def test_a_model_in_memory_says_it_too():
    model = loading.load(find("tiny-neo"))
    assert said(study, model, long(200)).startswith("mine.json: pair 'p1': prompt ")


def test_a_chat_is_encoded_whole_by_every_model(mine):
    source = mine("{{ messages[0].content }}" + " the" * 90)
    chat = profile(chat=True)
    check_prompts([source], [emotion_of("the")], chat)
    assert "has 133 tokens" in said(check_prompts, [source], [emotion_of("the " * 40)], chat)
    assert said(check_prompts, [source], [emotion_of("the")], profile(chat=True, system="x")) == (
        f"model '{source.id}': the chat template leaves out the user turn 'the a'; run without "
        "--chat"
    )


def test_a_broken_tokenizer_is_one_line(mine):
    source = mine("x")
    (source.folder / "tokenizer.json").write_text("{")
    message = said(check_prompts, [source], [long(200)], profile())
    assert message.startswith(f"model '{source.id}': its tokenizer cannot be read (")
    assert message.endswith("); download or save it again") and "\n" not in message


def test_a_context_that_is_not_said_is_asked_of_transformers(mine, monkeypatch):
    source = mine("x")
    path = source.folder / "config.json"
    config = json.loads(path.read_text())
    del config["max_position_embeddings"]
    path.write_text(json.dumps(config))
    assert find(source.id).context is None
    # Of GPT-Neo 2048 by default.
    check_prompts([find(source.id)], [long(600)], profile())
    assert "expected at most 2044" in said(
        check_prompts, [find(source.id)], [long(2100)], profile()
    )
    monkeypatch.setattr(prompt_check, "_encode", lambda *args: pytest.fail("read"))
    check_prompts([find(source.id)], [long(100)], profile())


def test_a_study_takes_chat_and_system_as_settings(mine):
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<end>{% endfor %}She felt"
    asked = study(mine(template).id, emotion_of("the"), chat=True, system="It was late.")
    model, prompts = asked.model, asked.prompts("neutral")
    assert prompts.texts == ("the b",)
    assert model.tokenizer.decode(prompts.ids[0]) == (
        "system: It was late.<end>user: the b<end>She felt"
    )
    assert asked.pairs.emotion.slots == asked.pairs.neutral.slots
    assert said(study, "tiny-neo", emotion_of("the"), system="x").startswith("system: expected ")
    assert said(study, "tiny-neo", emotion_of("the"), chat=True).startswith(
        "model 'tiny-neo': --chat needs a chat template"
    )
    assert said(study, loading.load(find("tiny-neo")), GRATITUDE, chat=True).startswith(
        "--chat needs a chat template, the tokenizer has none"
    )
