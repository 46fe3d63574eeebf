"""Hostile files in place of every kind that users give, and hostile values in their every field."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from dataclasses import asdict
from functools import partial

import pytest
from campaign import Tally
from folders import DATA, pairs
from hostile_values import TOML, contents, members
from sandbox import SMALL, Sandbox, changes, refusal, rude

from emolib.errors import InputError
from emolib.inputs.emotions import load_emotion
from emolib.inputs.profiles import COMPARED, Profile, load_profile
from emolib.inputs.prompts import load_lexicon, load_pairs, load_prompts
from emolib.inputs.rankings import load_ranking
from emolib.models.sources import find
from emolib.results.baselines import DeclaredEffect
from emolib.results.baselines import load as load_baseline
from emolib.results.grounds import Ground

EXPERIMENT = """
def exp_light(emotion, heads, record):
    one = emotion.pairs[0] if emotion.pairs else None
    record(
        words="".join(emotion.lexicon.words)[:40],
        pairs=len(emotion.pairs or emotion.free[0]),
        first=str(one.prompt)[:40] if one else str(emotion.free[0][0])[:40],
    )
"""
HEADS = [f"{layer}:{head}" for layer in range(4) for head in range(4)]
MIB = {
    "cfg": {"n_layers": 4, "n_heads": 4},
    "nodes": {f"a{layer}.h{head}": {"score": 1.0} for layer in range(4) for head in range(4)},
    "edges": {"a0.h0->logits": {"score": 1.0}},
}


def data(name):
    return json.loads((DATA / name).read_text("utf-8"))


def one_pair():
    return pairs(count=1)


KINDS = {
    "pairs": (one_pair, "given.json", ["--prompts-file=given.json"]),
    "lexicon": (lambda: data("lexicons/gratitude.json"), "data/lexicons/gratitude.json", []),
    "lexicon of neutral": (lambda: data("lexicons/neutral.json"), "data/lexicons/neutral.json", []),
    "emotion prompts": (
        lambda: {"prompts": ["a b", "c d"]},
        "given.json",
        ["--emotion-prompts=gratitude=given.json"],
    ),
    "neutral prompts": (
        lambda: {"prompts": ["a b"]},
        "given.json",
        ["--neutral-prompts=given.json"],
    ),
    "ranking": (lambda: HEADS, "given.json", ["--ranking=given.json"]),
    "importances": (lambda: MIB, "given.json", ["--ranking=gratitude=given.json"]),
    "probe test": (one_pair, "given.json", ["--probe-test=given.json"]),
    "baseline": (
        None,
        "results/small/effects/baseline.json",
        ["--effects-compare", "--collect-only"],
    ),
}
"""By kind: what is good, where it lies, and how it is given."""
TURNS = {"prompts": [{"user": "c", "system": "d"}, "a b"]}
"""What is read like the others; runs need a model that chats."""
WORDS = {"text", "controls", "long", "a formula", "a path"}
TEXT = {*WORDS, "empty", "blanks"}
NUMBER = {"zero", "minus", "fraction", "huge"}
ANYTHING = {*TEXT, *NUMBER, "null", "true", "a list", "a list of lists", "an object",
            "an object of lists", "left out"}  # fmt: skip
_PAIRS = {
    "version": {"huge"},
    **{f"pairs.0.{name}": WORDS for name in ("id", "template", "emotion", "neutral")},
}
_LEXICON = {
    "version": {"huge"},
    "words.0": {"text", "long"},
    "targets.0": {"text", "controls", "long", "a path"},
}
_GROUND = {
    **{f"studies.0.{name}": TEXT for name in ("device", "ids.0", "time")},
    "studies.0.gap": {*NUMBER, "null"},
    "studies.0.commit": {*TEXT, "null"},
    "studies.0.versions": {"an object"},
    "studies.0.versions.torch": {*TEXT, "left out"},
    "effects": {"a list"},
    **{f"effects.0.{name}": TEXT for name in ("experiment", "metric")},
    "effects.0.dims.heads": {*TEXT, "left out"},
    "effects.0.values.0": NUMBER,
}
# What is compared with the run's, and refused where it is another.
_COMPARED = {
    **{f"studies.0.{name}": TEXT for name in ("type", "weights", "tokenizer", "prompts")},
    "studies.0.settings": {"an object", "an object of lists", "unknown key"},
    **{f"studies.0.settings.{name}": ANYTHING for name in COMPARED},
}
ACCEPTED: dict[str, dict[str, set[str]]] = {
    "pairs": _PAIRS,
    "lexicon": _LEXICON,
    "lexicon of neutral": _LEXICON,
    "emotion prompts": {"prompts.0": WORDS},
    "turns": {
        "prompts.0": WORDS,
        "prompts.0.user": WORDS,
        "prompts.0.system": {*WORDS, "left out"},
    },
    "neutral prompts": {"prompts.0": WORDS},
    "ranking": {},
    # Graphs have more in them than scores of heads; of edges nothing is read where nodes have some.
    "importances": {
        "": {"unknown key"},
        "cfg": {"unknown key"},
        "nodes": {"unknown key"},
        "nodes.a0.h0": {"unknown key"},
        "nodes.a0.h0.score": NUMBER,
        "edges": {"an object", "an object of lists", "unknown key"},
        "edges.a0.h0->logits": {*ANYTHING, "NaN", "unknown key"},
        "edges.a0.h0->logits.score": {*ANYTHING, "NaN"},
    },
    "probe test": _PAIRS,
    "baseline": _GROUND | _COMPARED,
}
"""By kind and field the values that it may have: texts are anybody's, numbers what they are."""
ANYWHERE = {"a mark in front"}
"""What any file may hold."""
READ = {
    "pairs": lambda path: load_pairs(path, "gratitude"),
    "lexicon": lambda path: load_lexicon(path, "gratitude"),
    "lexicon of neutral": lambda path: load_lexicon(path, "neutral"),
    "emotion prompts": load_prompts,
    "turns": load_prompts,
    "neutral prompts": load_prompts,
    "ranking": lambda path: load_ranking(path, "tiny-neo", 4, 4, range(4)),
    "importances": lambda path: load_ranking(path, "tiny-neo", 4, 4, range(4)),
    "probe test": lambda path: load_pairs(path, "gratitude"),
    "baseline": load_baseline,
}


@pytest.fixture(scope="module")
def sandbox(light, tmp_path_factory):
    return Sandbox.made(tmp_path_factory.mktemp("files"), light, EXPERIMENT)


def baseline(sandbox):
    """Give a baseline that runs in the sandbox can be compared with."""
    profile = load_profile(str(sandbox.work / "data/profiles/small.toml"))
    source, emotion = find("tiny-neo"), load_emotion(profile, "gratitude")
    ground = Ground(
        "tiny-neo", "gratitude", source.model_type,
        f"{source.weights_hash}-{source.config_hash}", source.tokenizer_hash, emotion.hash,
        {name: getattr(profile, name) for name in COMPARED}, "cpu", 1.0, ("a",), {"torch": "2"},
        "abc", "2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    dims = {"model": "tiny-neo", "emotion": "gratitude", "heads": "L2H0"}
    effect = DeclaredEffect("light", dims, "logit_diff", "gated", (1.0,))
    plain = json.dumps({"version": 1, "studies": [asdict(ground)], "effects": [asdict(effect)]})
    return json.loads(plain)


def may_be(kind, what):
    """Tell whether a field may have a value, or a file a content."""
    where, _, value = what.rpartition(": ")
    return what in ANYWHERE or value in ACCEPTED[kind].get(where, ())


def tried(sandbox, what, args, accepted):
    """Yield what is wrong with a run of pytest on a file that has been put there."""
    before = sandbox.listing()
    done = sandbox.pytest(*args)
    yield from rude(done)
    if done.code == 4:
        yield from refusal(done, (4,))
        yield from changes(before, sandbox.listing())
    if done.code != (0 if accepted else 4):
        yield f"ended with {done.code}: {done.out[-500:]}"
    sandbox.restore(before)


def test_files(sandbox, size):
    tally = Tally("hostile files of users", size)
    for kind in KINDS if size.is_whole else ("pairs", "ranking"):
        good, name, args = KINDS[kind]
        good = good() if good else baseline(sandbox)
        before = sandbox.listing()
        sandbox.write(name, json.dumps(good))
        assert (done := sandbox.pytest(*args)).code == 0, done.out
        sandbox.restore(before)
        draw = random.Random(kind)
        # What is compared with the run's, or read by a tokenizer, may be refused after it is read.
        fields = [one for one in members(good) if not re.search("settings|long", one[0])]
        every = [*contents(json.dumps(good)).items(), *draw.sample(fields, 14)]
        for what, content in every if size.is_whole else draw.sample(every, 1):
            sandbox.write(name, content)
            accepted = may_be(kind, what) and what.partition(": ")[0] not in _COMPARED
            tally.case(f"{kind}: {what}", tried(sandbox, what, args, accepted))
            sandbox.restore(before)
    tally.end()


def test_fields(sandbox, size, tmp_path):
    """Every field with every value, without a run around it."""
    tally = Tally("hostile fields of files of users", size)
    path = tmp_path / "given.json"
    for kind in [*KINDS, "turns"]:
        good = TURNS if kind == "turns" else (KINDS[kind][0] or partial(baseline, sandbox))()
        every = list(members(good))
        for what, text in every if size.is_whole else random.Random(kind).sample(every, 10):
            path.write_text(text, "utf-8")
            tally.case(f"{kind}: {what}", read(READ[kind], path, may_be(kind, what)))
    tally.end()


def read(reader, path, accepted):
    """Yield what is wrong with how a file is read."""
    try:
        reader(path)
    except InputError as error:
        if accepted:
            yield f"is refused: {error}"
    except Exception as error:
        yield f"raised {error!r:.200}"
    else:
        if not accepted:
            yield "is accepted"


FIELDS = [f.name for f in dataclasses.fields(Profile) if f.name not in ("name", "root")]
_COUNT, _ONE = {"zero", "one"}, {"one"}
_NAMES = {"a list of texts", "a list of blanks", "a list of many digits", "a list of controls"}
ACCEPTED_FIELDS: dict[str, set[str]] = {
    # Whether there are such models, classifiers and devices is seen when they are looked for.
    "models": _NAMES,
    "classifiers": {"a list", *_NAMES},
    "device": {"empty", "blanks", "text", "controls", "long", "a path", "a number as text"},
    "emotions": {"a list of texts"},
    "seed": {*_COUNT, "huge"},
    **dict.fromkeys(("verify", "circuit_draws", "circuit_greedy", "steering_heads"), _COUNT),
    **dict.fromkeys(("max_new_tokens", "probe_swaps", "steering_prompts", "batch_size"), _ONE),
    "steering_doses": {"a list of numbers"},
    "patch_generated": {"true"},
    "chat": {"true"},
    # Which fields a row has is checked where rows are registered.
    "architectures": {"a table of paths"},
    "": {"a mark in front"},
}
"""By field the values that a profile may have."""


def profiles():
    """Yield (name, text) of profiles: every field with every value, and what is no profile."""
    lines = dict(line.split(" = ", 1) for line in SMALL.strip().splitlines())
    for field in FIELDS:
        for name, value in TOML.items():
            changed = lines | {field: value}
            yield f"{field}: {name}", "\n".join(f"{key} = {v}" for key, v in changed.items())
    for name, content in contents(SMALL).items():
        yield name, content
    yield "unknown key", SMALL + "xx = 1"
    yield "named twice", SMALL + "verify = 2"
    yield "nothing of emotions", "models = ['tiny-neo']"
    yield "nothing of models", "emotions = ['gratitude']"


def test_fields_of_profiles(size, tmp_path):
    tally = Tally("hostile fields of profiles", size)
    path, every = tmp_path / "small.toml", list(profiles())
    for what, text in every if size.is_whole else random.Random(0).sample(every, 40):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        where, _, value = what.rpartition(": ")
        accepted = value in ACCEPTED_FIELDS.get(where, ())
        tally.case(what, read(lambda file: load_profile(str(file)), path, accepted))
    tally.end()


def test_profiles(sandbox, size):
    """Some of them with a run: what only looks right is refused before anything is written."""
    tally = Tally("hostile profiles", size)
    runs = {"seed", "verify", "circuit_draws", "circuit_greedy", "steering_heads", "probe_swaps",
            "steering_prompts", "batch_size", "max_new_tokens", "steering_doses",
            "patch_generated"}  # fmt: skip
    before, every = sandbox.listing(), list(profiles())
    for what, text in random.Random(1).sample(every, size.of(1, 120)):
        sandbox.write("given.toml", text)
        where, _, value = what.rpartition(": ")
        accepted = value in ACCEPTED_FIELDS.get(where, ()) and (where in runs or not where)
        accepted |= (where, value) == ("classifiers", "a list")
        tally.case(what, tried(sandbox, what, ["--profile=./given.toml"], accepted))
        sandbox.restore(before)
    tally.end()
