"""Data files of one's own in a working directory: a profile ``mine`` and what it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emolib.errors import InputError
from emolib.inputs.profiles import load_profile

BASE = 'models = ["tiny-gpt2"]\nemotions = ["joy"]\n'


def write_folder(folder):
    """Write the data of one emotion into a folder."""
    for name in ("data/profiles", "data/pairs", "data/lexicons"):
        (folder / name).mkdir(parents=True)
    pair = {"id": "p", "template": "t", "prompt": "A {slot} b", "emotion": "x", "neutral": "y"}
    write("data/pairs/joy.json", {"emotion": "joy", "version": 1, "pairs": [pair]})
    write("data/lexicons/joy.json", lexicon("joy", "glad"))
    write("data/joy_prompts.json", {"prompts": ["one", "two"]})


def lexicon(name, *words):
    return {"name": name, "version": 1, "words": words, "targets": words}


def write(path, content):
    Path(path).write_text(json.dumps(content), encoding="utf-8")


def mine(text="", base=BASE):
    Path("data/profiles/mine.toml").write_text(base + text, encoding="utf-8")
    return load_profile("mine")


def said(call, *args, **kwargs):
    with pytest.raises(InputError) as error:
        call(*args, **kwargs)
    return str(error.value)
