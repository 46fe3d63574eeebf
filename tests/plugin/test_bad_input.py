"""Bad input: one message, exit code 4, nothing written, no torch loaded."""

from __future__ import annotations

import json
import shutil

import pytest
from folders import DATA, PROFILE, pairs
from tabulate import tabulate_formats

from emolib.models.architectures import ARCHITECTURES

FILES = "expected a pairs file, an object with the keys emotion, version, pairs"


def profile(**changes):
    """Return a profile's text with lines replaced or added."""
    lines = dict(line.split(" = ", 1) for line in PROFILE.strip().splitlines())
    return "\n".join(f"{key} = {value}" for key, value in (lines | changes).items())


def broken_pairs(change):
    data = pairs(count=3)
    change(data)
    return json.dumps(data)


def second(**fields):
    return lambda data: data["pairs"][1].update(fields)


# Per case: arguments, files to write first, and the whole message; {path} is the folder.
CASES = {
    "unknown profile": (
        ["--profile", "nosuch"],
        {},
        "--profile nosuch: unknown; expected one of baseline, demo, extended, small, or the path "
        "of a .toml file",
    ),
    "profile path without a file": (
        ["--profile", "my/profile.toml"],
        {},
        "--profile my/profile.toml: no such file; expected a profile in TOML",
    ),
    "profile not TOML": (
        [],
        {"data/profiles/small.toml": "models = ["},
        "data/profiles/small.toml: not TOML (Invalid value (at end of document)); expected a "
        "profile",
    ),
    "unknown profile key": (
        [],
        {"data/profiles/small.toml": profile(layers="3")},
        "data/profiles/small.toml: unknown key 'layers'; the keys are models, emotions, heads, "
        "units, ablations, position, max_new_tokens, seed, draws, verify, circuit_ablation, "
        "circuit_draws, circuit_greedy, probe_folds, probe_swaps, steering_doses, "
        "steering_layers, steering_heads, steering_prompts, patch_generated, chat, system, dtype, "
        "device, batch_size, files, classifiers, effects, architectures",
    ),
    "a layer that the model lacks": (
        [],
        {"data/profiles/small.toml": profile(steering_layers='["0", "4"]')},
        "layer spec '4': tiny-neo has 4 layers, counted from 0; name one of them, or a depth as "
        "50%",
    ),
    "profile without models": (
        [],
        {"data/profiles/small.toml": 'emotions = ["gratitude"]'},
        "data/profiles/small.toml: the key 'models' is missing; expected a list of names",
    ),
    "wrong value in a profile": (
        [],
        {"data/profiles/small.toml": profile(position='"first"')},
        "data/profiles/small.toml: position: expected one of last, slot, after_slot, all, got "
        "'first'",
    ),
    "profile file outside its folder": (
        [],
        {"data/profiles/small.toml": profile() + "\n[files.gratitude]\npairs = '../../x.json'\n"},
        "data/profiles/small.toml: files.gratitude.pairs: '../../x.json' lies outside "
        "{path}/data; keep it inside",
    ),
    "unknown model": (
        ["--model", "tiny-gpt3"],
        {},
        "model 'tiny-gpt3': its weights are not in the local cache and the Hub cannot be reached; "
        "name an embedded model (tiny-gpt2, tiny-neo, tiny-neox), a local folder or .gguf file, or "
        "download it once where there is a network (`hf download`)",
    ),
    "model folder without config": (
        ["--model", "./data"],
        {},
        "model './data': no config.json in data",
    ),
    "model folder that is not there": (
        ["--model", "./nowhere"],
        {},
        "model './nowhere': no such folder; expected one with a config.json",
    ),
    "unknown architecture": (
        ["--model", "./other"],
        {"other/config.json": '{"model_type": "unheard_of"}'},
        "model './other': unknown architecture 'unheard_of'; expected one of "
        f"{', '.join(sorted(ARCHITECTURES))}, or another decoder of transformers; give its row by "
        "hand, as [architectures.TYPE] in a profile or with emolib.models.register",
    ),
    "row by hand without a path": (
        [],
        {"data/profiles/small.toml": profile() + "\n[architectures.mine]\nlayers = 'x'\n"},
        "architectures.mine: the key 'attn_out' is missing; expected a path",
    ),
    "GGUF file that is not there": (
        ["--model", "./nowhere.gguf"],
        {},
        "model './nowhere.gguf': no such file; expected a GGUF file",
    ),
    "file that is no GGUF": (
        ["--model", "./broken.gguf"],
        {"broken.gguf": "GGML"},
        "model './broken.gguf': broken.gguf: not a GGUF file (it does not start with GGUF); "
        "download it again, or name a folder with safetensors",
    ),
    "model twice": (
        ["--model", "tiny-neo", "--model", "tiny-neo"],
        {},
        "--model: 'tiny-neo' is named twice; name it once",
    ),
    "two models of one name": (
        ["--model", "tiny-neo", "--model", "./copy/tiny-neo"],
        {"copy/tiny-neo": DATA / "models/tiny-neo"},
        "models 'tiny-neo' and './copy/tiny-neo' are both called 'tiny-neo', so their results "
        "would mix; rename a folder",
    ),
    "head out of range": (
        ["--head-spec", "4:0"],
        {},
        "head spec '4:0': L4H0 does not exist, tiny-neo has 4 layers (0..3) of 4 heads (0..3); "
        "name a head inside that range",
    ),
    "malformed head spec": (
        ["--head-spec", "3-5"],
        {},
        "--head-spec: head spec '3-5': expected a head such as 3:5 or L3H5, got '3-5'; the forms "
        "are 3:5 | 0:0,0:1,3:5 | all | layer:3 | top:10 | random:10",
    ),
    "head twice in a set": (
        ["--head-spec", "0:1,0:1"],
        {},
        "--head-spec: head spec '0:1,0:1': head L0H1 is named twice in one set; name each head "
        "once; the forms are 3:5 | 0:0,0:1,3:5 | all | layer:3 | top:10 | random:10",
    ),
    "layer out of range": (
        ["--head-spec", "layer:4"],
        {},
        "head spec 'layer:4': layer 4 does not exist, tiny-neo has 4 layers (0..3) of 4 heads; "
        "name a layer inside that range",
    ),
    "more random heads than there are": (
        ["--head-spec", "random:17"],
        {},
        "head spec 'random:17': 17 heads asked for, tiny-neo has 4 layers (0..3) of 4 heads, 16 "
        "in all; ask for fewer",
    ),
    "unit out of range": (
        ["--unit-spec", "0:5,3:256"],
        {},
        "unit spec '0:5,3:256': L3U256 does not exist, tiny-neo has 4 layers (0..3) of 256 units "
        "(0..255); name a unit inside that range",
    ),
    "malformed unit spec": (
        ["--unit-spec", "layer:3"],
        {},
        "--unit-spec: unit spec 'layer:3': expected a unit such as 3:1021 or L3U1021, got "
        "'layer:3'; the forms are 3:1021 | 3:1021,3:77 | top:10 | random:10",
    ),
    "unit twice in a set": (
        ["--unit-spec", "0:1,0:1"],
        {},
        "--unit-spec: unit spec '0:1,0:1': unit L0U1 is named twice in one set; name each unit "
        "once; the forms are 3:1021 | 3:1021,3:77 | top:10 | random:10",
    ),
    "more top units than there are": (
        ["--unit-spec", "top:1025"],
        {},
        "unit spec 'top:1025': 1025 units asked for, tiny-neo has 4 layers (0..3) of 256 units, "
        "1024 in all; ask for fewer",
    ),
    "units that are no list": (
        [],
        {"data/profiles/small.toml": profile(units='"top:5"')},
        "data/profiles/small.toml: units: expected a list of names, got 'top:5'",
    ),
    "malformed unit spec in a profile": (
        [],
        {"data/profiles/small.toml": profile(units='["top"]')},
        "data/profiles/small.toml: units: unit spec 'top': expected a unit such as 3:1021 or "
        "L3U1021, got 'top'; the forms are 3:1021 | 3:1021,3:77 | top:10 | random:10",
    ),
    "unknown ablation": (
        ["--ablation", "median"],
        {},
        "--ablation: expected one of zero, mean, resample, optimal, got 'median'",
    ),
    "unknown position": (
        ["--position", "first"],
        {},
        "--position: expected one of last, slot, after_slot, all, got 'first'",
    ),
    "no new tokens": (
        ["--max-new-tokens", "0"],
        {},
        "--max-new-tokens: expected a whole number from 1, got 0",
    ),
    "unknown dtype": (
        ["--dtype", "float8"],
        {},
        "--dtype: expected one of float32, float64, bfloat16, float16, got 'float8'",
    ),
    "batch size of words": (
        ["--batch-size", "many"],
        {},
        "--batch-size: expected a whole number from 1, or auto, got 'many'",
    ),
    "unknown table format": (
        ["--table-format", "word"],
        {},
        f"--table-format word: unknown; expected one of {', '.join(tabulate_formats)}",
    ),
    "emotion without pairs": (
        [],
        {"data/profiles/small.toml": profile(emotions='["joy"]')},
        "emotion 'joy' has no lexicon file: expected {path}/data/lexicons/joy.json or "
        f"{DATA}/lexicons/joy.json; write one or take 'joy' out of the profile",
    ),
    "prompt file not there": (
        ["--prompts-file", "mine.json"],
        {},
        f"mine.json: no such file; {FILES}",
    ),
    "prompt file not JSON": (
        [],
        {"data/pairs/gratitude.json": '{"emotion": "gratitude",'},
        "{path}/data/pairs/gratitude.json: not JSON (line 1, column 25: Expecting property name "
        f"enclosed in double quotes); {FILES}",
    ),
    "empty prompt file": (
        [],
        {"data/pairs/gratitude.json": ""},
        "{path}/data/pairs/gratitude.json: not JSON (line 1, column 1: Expecting value); " + FILES,
    ),
    "no pairs in the file": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(lambda data: data.update(pairs=[]))},
        "{path}/data/pairs/gratitude.json: pairs: expected at least one entry, got an empty list",
    ),
    "pairs of another emotion": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(lambda data: data.update(emotion="joy"))},
        "{path}/data/pairs/gratitude.json: emotion: expected 'gratitude', got 'joy'",
    ),
    "pair without a field": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(lambda data: data["pairs"][1].pop("neutral"))},
        "{path}/data/pairs/gratitude.json: pairs[1]: field 'neutral' is missing; expected id, "
        "template, prompt, emotion, neutral",
    ),
    "pair without a slot": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(second(prompt="no slot here"))},
        "{path}/data/pairs/gratitude.json: pairs[1].prompt: expected {slot} exactly once, got it "
        "0 times",
    ),
    "pair id twice": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(second(id="gratitude-000"))},
        "{path}/data/pairs/gratitude.json: pairs.id[1]: 'gratitude-000' stands at [0] already; "
        "remove one",
    ),
    "free list without prompts": (
        ["--emotion-prompts", "gratitude=free.json"],
        {"free.json": '{"prompts": []}'},
        "free.json: prompts: expected at least one entry, got an empty list",
    ),
    "free list of numbers": (
        ["--neutral-prompts", "free.json"],
        {"free.json": '{"prompts": ["one", 2]}'},
        "free.json: prompts[1]: expected text, got the number 2",
    ),
    "pairs to test probes on of an emotion that is not the profile's": (
        ["--probe-test", "anger.json"],
        {"anger.json": json.dumps(pairs("anger", 2))},
        "anger.json: is for the emotion 'anger', the profile small has gratitude; add it to a "
        "profile of your own",
    ),
    "a free list to test probes on": (
        ["--probe-test", "free.json"],
        {"free.json": '{"prompts": ["one"]}'},
        f"free.json: {FILES}; 'emotion' is missing",
    ),
    "free lists at the slot": (
        ["--neutral-prompts", "free.json", "--position", "slot"],
        {"free.json": '{"prompts": ["one"]}'},
        "--position slot needs aligned pairs, got free prompt lists; use --position last or all, "
        "or drop --emotion-prompts/--neutral-prompts",
    ),
    "pairs and free lists": (
        ["--prompts-file", "data/pairs/gratitude.json", "--neutral-prompts", "free.json"],
        {"free.json": '{"prompts": ["one"]}'},
        "--prompts-file gives aligned pairs, --emotion-prompts and --neutral-prompts free lists in "
        "their place; give the one or the others",
    ),
    "two pairs files of one emotion": (
        ["--prompts-file", "data/pairs/gratitude.json", "--prompts-file", "more.json"],
        {"more.json": json.dumps(pairs(count=2))},
        "--prompts-file: data/pairs/gratitude.json and more.json are both for 'gratitude'; name "
        "one file",
    ),
    "pair beyond the context": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(second(neutral="met me " * 90))},
        "model 'tiny-neo': {path}/data/pairs/gratitude.json: pair 'gratitude-001': prompt 'Omar "
        "waited at the station. A cold wind ' has 208 tokens, expected at most 125 (the model's "
        "context less --max-new-tokens); shorten the prompt or the continuation",
    ),
    "free prompt beyond the context, planned": (
        ["--neutral-prompts", "free.json", "--plan"],
        {"free.json": json.dumps({"prompts": ["Sarah met me.", "the " * 200]})},
        "model 'tiny-neo': free.json: prompts[1]: prompt 'the the the the the the the the the the "
        "' has 202 tokens, expected at most 125 (the model's context less --max-new-tokens); "
        "shorten the prompt or the continuation",
    ),
    "continuation beyond the context": (
        ["--max-new-tokens", "120"],
        {"data/pairs/gratitude.json": json.dumps(pairs(count=1))},
        "model 'tiny-neo': {path}/data/pairs/gratitude.json: pair 'gratitude-000': prompt 'I "
        "waited at the station. A cold wind ble' has 23 tokens, expected at most 8 (the model's "
        "context less --max-new-tokens); shorten the prompt or the continuation",
    ),
    "chat without a template": (
        ["--chat"],
        {},
        f"model 'tiny-neo': --chat needs a chat template, expected one in {DATA}/models/tiny-neo/"
        "tokenizer_config.json (key chat_template) or chat_template.jinja beside it; run without "
        "--chat, or take a model that was trained to chat",
    ),
    "system turn without a chat": (
        ["--system", "Be kind."],
        {},
        "--system: expected --chat with it, got a system turn without a chat; add --chat, or leave "
        "the system turn out",
    ),
    "turns without a chat": (
        [],
        {"data/pairs/gratitude.json": broken_pairs(second(prompt={"user": "She {slot} me"}))},
        "{path}/data/pairs/gratitude.json: pairs[1].prompt: turns of a chat need --chat (chat = "
        "true in a profile), which is off; turn it on, or write the prompt as text",
    ),
    "unknown kind of circuit": (
        ["--circuit-ablation", "resample"],
        {},
        "--circuit-ablation: expected one of patch, zero, mean, got 'resample'",
    ),
    "ranking not there": (
        ["--ranking", "nowhere.json"],
        {},
        "nowhere.json: no such file; expected a list of heads, strongest first, or importance "
        "scores, an object with the keys cfg, nodes, edges",
    ),
    "results in a name too long": (
        [f"--results-dir={'x' * 5000}"],
        {},
        f"{'x' * 200}…: File name too long; name another place",
    ),
    "model of a name too long": (
        [f"--model=./{'x' * 5000}"],
        {},
        f"{'x' * 200}…: File name too long; name another place",
    ),
    "profile that never ends": (
        ["--profile=/dev/zero"],
        {},
        "--profile /dev/zero: no such file; expected a profile in TOML",
    ),
    "ranking that never ends": (
        ["--ranking=/dev/zero"],
        {},
        "/dev/zero: is no regular file; expected a list of heads, strongest first, or importance "
        "scores, an object with the keys cfg, nodes, edges",
    ),
    "ranking not JSON": (
        ["--ranking", "own.json"],
        {"own.json": "L0H1, L0H2"},
        "own.json: not JSON (line 1, column 1: Expecting value); expected a list of "
        "heads, strongest first, or importance scores, an object with the keys cfg, nodes, edges",
    ),
    "ranking of a head twice": (
        ["--ranking", "own.json"],
        {"own.json": '["L0H1", "L0H2", "a0.h1"]'},
        "own.json: L0H1 is named twice; name it once",
    ),
    "scores of a head twice": (
        ["--ranking", "gratitude=own.json"],
        {"own.json": '{"cfg": {}, "nodes": {"a0.h1": {"score": 1}, "a0.h1": {"score": 2}}}'},
        "own.json: 'a0.h1' is named twice; name it once; expected a list of heads, strongest "
        "first, or importance scores, an object with the keys cfg, nodes, edges",
    ),
    "ranking of another model": (
        ["--ranking", "own.json"],
        {"own.json": '{"cfg": {"n_layers": 12, "n_heads": 12}, "nodes": {}, "edges": {}}'},
        "own.json: cfg: is of 12 layers of 12 heads, tiny-neo has 4 layers of 4 heads; give the "
        "ranking of this model",
    ),
    "ranking of another emotion": (
        ["--ranking", "envy=own.json"],
        {},
        "envy=own.json: is for the emotion 'envy', the profile small has gratitude; add it to a "
        "profile of your own",
    ),
    "two rankings of one emotion": (
        ["--ranking", "a.json", "--ranking", "gratitude=b.json"],
        {},
        "--ranking: a.json and b.json are both for 'gratitude'; name one file",
    ),
    "results folder is a file": (
        ["--results-dir", "taken"],
        {"taken": "a file"},
        "taken/small: cannot be written (taken is a file); choose another folder with "
        "--results-dir",
    ),
    "damaged record": (
        [],
        {"results/small/records/20260101T000000000000-host-0000.jsonl": '{"v": 3}\n'},
        "{path}/results/small/records/20260101T000000000000-host-0000.jsonl: line 1: no checksum; "
        "restore the file from a copy or move it away to start afresh",
    ),
    "damaged record of the old form": (
        [],
        {"results/small/records.jsonl": '{"v": 2}\n{"v": 2}\n', "results/small/records/lock": ""},
        "{path}/results/small/records.jsonl: line 1: not a row (no context, dims, experiment, "
        "item, key, labels, lists, of, output, pairs, provenance, row, texts, time, values, "
        "vectors); restore the file from a copy or move it away to start afresh",
    ),
}


def kept(path):
    """Return what is in a folder but for the store's index, which is made when it is read."""
    return sorted(p for p in path.rglob("*") if not p.name.startswith("index.sqlite"))


@pytest.mark.parametrize("name", CASES)
def test_one_message_and_nothing_written(folder, name):
    args, files, message = CASES[name]
    for path, content in files.items():
        if isinstance(content, str):
            folder.write(path, content)
        else:
            shutil.copytree(content, folder.path / path)
    before = kept(folder.path)
    result = folder.pytest(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert errors == ["ERROR: " + message.replace("{path}", str(folder.path))]
    assert kept(folder.path) == before


def test_there_are_more_than_twenty():
    assert len({message for *_, message in CASES.values()}) >= 20


def test_bad_input_loads_nothing_heavy(folder):
    script = (
        "import sys, pytest; code = pytest.main(['--profile', 'small', '--head-spec', '9:9']);"
        "sys.exit(99 if {'torch', 'matplotlib'} & set(sys.modules) else int(code))"
    )
    done = folder.python("-c", script)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stderr
