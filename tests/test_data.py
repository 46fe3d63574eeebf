"""The data files: valid, aligned under every tokenizer they are meant for, held out."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from emolib.inputs.prompts import load_lexicon, load_pairs, load_prompts
from emolib.training import corpus
from emolib.training.corpus import EMOTIONS, MOODS

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
MODELS = ("tiny-gpt2", "tiny-neox", "tiny-neo")
PRONOUNS = re.compile(r"\b(her|his|my|him|she|he)\b", re.IGNORECASE)


def _gpt2() -> Tokenizer:
    """Build GPT-2's tokenizer from its published merge list."""
    given = os.environ.get("EMOLIB_GPT2_MERGES")
    path = Path(given) if given else ROOT.parent / "shared/data/gpt2_merges.txt"
    if not path.is_file():
        pytest.skip(f"no GPT-2 merge list at {path}; name one in EMOLIB_GPT2_MERGES")
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = [*map(chr, printable), *(chr(256 + i) for i in range(len(others)))]
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    merges = [(left, right) for left, right in pairs]
    vocab = {symbol: i for i, symbol in enumerate([*symbols, *("".join(m) for m in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.fixture(scope="module", params=[*MODELS, "gpt2"])
def encode(request):
    """Give the function from text to token ids of each tokenizer."""
    if request.param == "gpt2":
        tokenizer = _gpt2()
        assert tokenizer.encode("Hello world").ids == [15496, 995]
        return lambda text: tokenizer.encode(text).ids
    fast = transformers.AutoTokenizer.from_pretrained(DATA / "models" / request.param)
    return lambda text: fast(text)["input_ids"]


def test_generated_files_are_as_the_generator_writes_them():
    for name, content in corpus.files().items():
        assert json.loads((DATA / name).read_text(encoding="utf-8")) == content, name


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_pairs_are_many_and_varied(emotion):
    pairs = load_pairs(DATA / f"pairs/{emotion}.json", emotion)
    sizes = Counter(pair.template for pair in pairs)
    assert len(pairs) >= 64 and len(sizes) >= 12 and min(sizes.values()) >= 2
    assert len({pair.text("emotion") for pair in pairs}) == len(pairs)
    assert len({pair.text("neutral") for pair in pairs}) == len(pairs)
    assert len({pair.emotion for pair in pairs}) >= 20
    assert len({pair.neutral for pair in pairs}) >= 20
    for pair in pairs:
        assert pair.prompt == pair.prompt.strip()
        assert not pair.prompt.endswith("{slot}")


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_pairs_align(encode, emotion):
    """Same length, and only one run of tokens, before the end, differs."""
    for pair in load_pairs(DATA / f"pairs/{emotion}.json"):
        ours, theirs = encode(pair.text("emotion")), encode(pair.text("neutral"))
        assert len(ours) == len(theirs), pair
        before, after = pair.prompt.split("{slot}")
        head = len(encode(before.rstrip()))
        tail = len(encode(after))
        assert ours[:head] == theirs[:head] and ours[-tail:] == theirs[-tail:], pair
        assert ours[-1] == theirs[-1] and len(ours) + 16 <= 128


@pytest.mark.parametrize("name", MOODS)
def test_targets_are_single_tokens(encode, name):
    lexicon = load_lexicon(DATA / f"lexicons/{name}.json", name)
    assert 3 <= len(lexicon.targets) <= 8
    assert set(lexicon.targets) <= set(lexicon.words)
    assert {word: len(encode(f" {word}")) for word in lexicon.targets} == dict.fromkeys(
        lexicon.targets, 1
    )


def test_lexicons_do_not_overlap():
    words = [w for name in MOODS for w in load_lexicon(DATA / f"lexicons/{name}.json").words]
    assert len(words) == len(set(words))
    assert all(word == word.casefold() and word.isalpha() for word in words)


@pytest.mark.parametrize("mood", MOODS)
def test_prompts_are_many_and_open(mood):
    prompts = load_prompts(DATA / f"{mood}_prompts.json")
    assert len(prompts) >= 70
    assert all(re.search(r"[a-z]$", prompt) for prompt in prompts)


def _evaluated() -> list[str]:
    texts = [text for mood in MOODS for text in load_prompts(DATA / f"{mood}_prompts.json")]
    for emotion in EMOTIONS:
        for pair in load_pairs(DATA / f"pairs/{emotion}.json"):
            texts += [pair.text("emotion"), pair.text("neutral")]
    return texts


def test_no_prompt_occurs_in_training():
    """Neither whole nor up to its event: the seeds are those of the embedded models."""
    events = {_event(text) for text in _evaluated()}
    for seed in (0, 1):
        for scene in islice(corpus.scenes(seed), 20_000):
            assert _event(scene.prompt) not in events, scene.prompt


def _event(prompt: str) -> str:
    """Return a prompt without the names of its people and without what follows the act."""
    names, frames = _patterns()
    text = PRONOUNS.sub("Y", names.sub("X", prompt))
    sentences = next(count for frame, count in frames if frame.match(text))
    return ".".join(text.split(".")[:sentences])


@cache
def _patterns() -> tuple[re.Pattern[str], list[tuple[re.Pattern[str], int]]]:
    """Return what matches a person, and per frame its opening and how many sentences it has."""
    data = corpus.tables()
    people = [*data["women"], *data["men"], *data["she"], *data["he"], "I", "me"]
    names = "|".join(re.escape(name) for name in people)
    openings = [frame.split("{act}")[0] for frame in data["frames"].values()]
    frames = [(_opening(text), text.count(".") + 1) for text in openings]
    return re.compile(rf"\b({names})\b", re.IGNORECASE), frames


def _opening(frame: str) -> re.Pattern[str]:
    fixed = re.sub(r"\{(A|Ao|B|Bo)\}", "X", frame.replace(".", r"\."))
    return re.compile(re.sub(r"\{(a|b)\}", "(X|Y)", fixed), re.IGNORECASE)


def test_the_check_of_the_check():
    """A training scene is found when it is looked for."""
    scene = next(corpus.scenes(0))
    assert _event(scene.prompt) == _event(scene.text)
    held = corpus.draw_scene(random.Random(0), "anger", held_out=True)
    assert _event(held.prompt) != _event(scene.prompt)
