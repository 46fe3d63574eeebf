"""Hostile model folders and GGUF files: every part of them, and code that must never run."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct

import gguf_files
import numpy as np
import pytest
from campaign import Size, Tally
from folders import DATA, EXPERIMENT, recorded
from hostile_values import DIGITS, contents
from safetensors.numpy import load_file, save
from sandbox import LONGEST, Sandbox, changes, refusal, rude

MODEL = DATA / "models/tiny-gpt2"
VALUES = {"null": None, "minus": -1, "10^9": 10**9, "text": "x", "an object": {}}
CANARY = "import pathlib; pathlib.Path({!r}).write_text('ran')\nraise SystemExit(77)\n"
CODE = (
    "modeling_gpt2.py", "modeling_x.py", "configuration_x.py", "tokenization_x.py", "__init__.py",
    "torch.py", "sitecustomize.py", "custom_generate/generate.py", "exp_x.py", "test_x.py",
)  # fmt: skip
PICKLES = ("pytorch_model.bin", "model.bin", "model.pt", "training_args.bin")
OF_PYTEST = ("conftest.py", "pytest.ini", "pytest.toml", "tox.ini", "setup.cfg", "pyproject.toml")
BESIDE = (
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "model.safetensors.index.json",
    "adapter_config.json",
)  # fmt: skip
WRITTEN = ("nothing", "a list", "cut", "a mark in front", "deep lists", "many digits")
"""Which of the contents these files are tried with."""
EXTRA = {
    "_attn_implementation": ["flash_attention_2", "sdpa", "kernels-community/x", "x", 1],
    "attn_implementation": ["kernels-community/x"],
    "auto_map": [{"AutoModelForCausalLM": "modeling_x.M", "AutoConfig": "configuration_x.C"}, 1],
    "torch_dtype": ["float16", "x", 1, "os.system"],
    "quantization_config": [{"quant_method": "bitsandbytes"}, {"quant_method": "x"}, {}, "x"],
    "text_config": [{}, {"n_layer": 1}, []],
    "architectures": [["os.system"], ["T5ForConditionalGeneration"]],
    "model_type": ["llama", "t5", "x", "../x", "gpt2\n", ""],
    "custom_pipelines": [{"x": {"impl": "modeling_x.P"}}],
    "_name_or_path": ["/etc", "https://example.org/x"],
    "base_model_tp_plan": [{"x": "y"}],
    "id2label": [{"0": 1}, "x"],
    "num_labels": [-1, 10**9],
    "pruned_heads": [{"0": [0]}, {"9": [9]}, "x"],
    "problem_type": ["x"],
    "return_dict": [False],
    "output_attentions": [True],
    "use_cache": [False],
    "is_decoder": [False],
    "chunk_size_feed_forward": [10**9, "x"],
    "loss_type": ["x"],
    "gradient_checkpointing": [True],
    "name": ["x"],
    "keys": [1],
    "__class__": ["x"],
    "to_dict": ["x"],
}
"""What a config may have besides: whose code runs, and how, is not its to say."""
TOLD = {
    "tokenizer_class": ["x", "../x", "LlamaTokenizer", "T5Tokenizer", 1, None],
    "auto_map": [{"AutoTokenizer": ["tokenization_x.T", "tokenization_x.T"]}],
    "model_max_length": [-1, 0, "x", 10**30, None, 1.5],
    "eos_token": [1, None, "not there", {"__type": "AddedToken", "content": "z"}, []],
    "chat_template": ["{{", 1, {"x": 1}, "{% for i in range(999999999) %}{% endfor %}"],
    "extra_special_tokens": [{"x": "y"}, ["y"], 1],
    "added_tokens_decoder": [{"1000000": {"content": "w", "special": True}}, {"x": 1}, 1],
    "backend": ["x", 1],
    "padding_side": ["x"],
    "split_special_tokens": [True],
    "add_bos_token": [True],
    "fix_mistral_regex": [True],
}
"""Of tokenizer_config.json."""
GENERATION = {
    "eos_token_id": [-1, 10**9, "x", [], [0, 5], None, 1.5],
    "max_new_tokens": [10**9, 0, "x"],
    "do_sample": [True],
    "temperature": [-1.0, "x"],
    "num_beams": [4],
    "custom_generate": ["modeling_x"],
    "cache_implementation": ["x"],
    "stop_strings": [["a"]],
    "bad_words_ids": [[[0]], "x"],
    "forced_eos_token_id": [5],
    "repetition_penalty": [10.0],
    "_from_model_config": [False],
}
"""Of generation_config.json, of which nothing but the end counts."""
UNREAD = ("chat_template.jinja", "model.safetensors.index.json")
CUT = ("an id beyond", "an added token beyond", "cut to nothing", "cut to one", "padded")
OF_TOKENIZER = (
    "tokenizer_class", "auto_map", "model_max_length", "eos_token", "chat_template", "backend",
    "split_special_tokens", "add_bos_token", "fix_mistral_regex",
)  # fmt: skip
OF_GENERATION = tuple(key for key in GENERATION if key != "cache_implementation")
REFUSED = {
    *(f"tokenizer_config.json: {told}" for told in (
        'tokenizer_class: "T5Tokenizer"', "tokenizer_class: 1", "eos_token: 1", "eos_token: []")),
    *(f"generation_config.json: {told}" for told in (
        "eos_token_id: -1", "eos_token_id: 1000000000", 'eos_token_id: "x"', "eos_token_id: 1.5",
        "max_new_tokens: 0", 'max_new_tokens: "x"')),
}  # fmt: skip
"""What of these is no kind, and what no token."""
WHOLE = Size(True)
_UNREAD = ("architectures", "transformers_version", "use_cache")
_NO_TOKEN = ("null", "left out")
_HAS_DEFAULT = (
    "activation_function", "add_cross_attention", "attn_pdrop", "dtype", "embd_pdrop",
    "initializer_range", "layer_norm_epsilon", "reorder_and_upcast_attn", "resid_pdrop",
    "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "summary_activation",
    "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    "tie_word_embeddings",
)  # fmt: skip
_ALONE = {
    # Of classifiers, and of summaries that no language model makes.
    "summary_activation: null", "summary_activation: text", "summary_first_dropout: minus",
    "summary_first_dropout: 10^9", "summary_type: text", "dtype: null",
    # gpt2 puts neither in front of a text nor behind it.
    *(f"{kind}_token_id: {value}" for kind in ("bos", "pad") for value in ("minus", "10^9")),
}  # fmt: skip
_OF_RUNNING = (
    "_attn_implementation", "attn_implementation", "auto_map", "torch_dtype", "architectures",
    "custom_pipelines", "_name_or_path", "base_model_tp_plan", "id2label", "num_labels",
    "pruned_heads", "problem_type", "return_dict", "output_attentions", "use_cache", "is_decoder",
    "chunk_size_feed_forward", "loss_type", "gradient_checkpointing", "name", "keys", "__class__",
)  # fmt: skip
SAME = {
    *(f"{key}: {value}" for key in _UNREAD for value in (*VALUES, "left out")),
    *(f"{key}_token_id: {value}" for key in ("bos", "eos", "pad") for value in _NO_TOKEN),
    *(f"{key}: left out" for key in _HAS_DEFAULT),
    *(f"{key}: {json.dumps(value)}" for key in _OF_RUNNING for value in EXTRA[key]),
    *_ALONE,
    # Weights that are stored as floats are what they are, whatever is said of a code.
    *(f'quantization_config: {{"quant_method": "{how}"}}' for how in ("bitsandbytes", "x")),
    # Not what weights, or prompts without a chat, are read with.
    *(f"{name}: {what}" for name in UNREAD for what in WRITTEN),
    *(f"tokenizer.json: {what}" for what in CUT),
    *(f"tokenizer_config.json: {key}: {json.dumps(value)}"
      for key in OF_TOKENIZER for value in TOLD[key]),
    *(f"generation_config.json: {key}: {json.dumps(value)}"
      for key in OF_GENERATION for value in GENERATION[key]),
    *(f"code: {name}" for name in CODE),
    *(f"pickle: {name}" for name in PICKLES),
    *(f"model.safetensors: {name}" for name in (
        "other data", "no data about it", "one of another name", "in float64")),
}  # fmt: skip
SAME -= REFUSED
"""What changes no number."""
ACCEPTED = dict.fromkeys(SAME, "0: as it was") | dict.fromkeys(
    (
        "model.safetensors: one all zero",
        "model.safetensors: in float16",
        # Words with the letter in them are other tokens then.
        *(f"tokenizer_config.json: extra_special_tokens: {y}" for y in ('{"x": "y"}', '["y"]')),
        "tokenizer_config.json: added_tokens_decoder: "
        '{"1000000": {"content": "w", "special": true}}',
    ),
    "0: others",
)
"""What runs, and whether its numbers are those of the model as it was."""


@pytest.fixture(scope="module")
def sandbox(heavy, tmp_path_factory):
    return Sandbox.made(tmp_path_factory.mktemp("models"), heavy, EXPERIMENT)


@pytest.fixture(scope="module")
def weights():
    return load_file(MODEL / "model.safetensors")


def configs():
    """Yield (name, content of config.json)."""
    good = json.loads((MODEL / "config.json").read_text())
    for key in good:
        for name, value in VALUES.items():
            yield f"{key}: {name}", json.dumps(good | {key: value})
        yield f"{key}: left out", json.dumps({k: v for k, v in good.items() if k != key})
    for key, values in EXTRA.items():
        for value in values:
            yield f"{key}: {json.dumps(value)}", json.dumps(good | {key: value})
    yield "n_layer: many digits", json.dumps(good).replace('"n_layer": 4', f'"n_layer": {DIGITS}')
    for name, content in contents(json.dumps(good)).items():
        yield f"config.json: {name}", content


def tokenizers():
    """Yield (name, file, content)."""
    good = json.loads((MODEL / "tokenizer.json").read_text("utf-8"))
    for name in BESIDE:
        path = MODEL / name
        text = path.read_text("utf-8") if path.exists() else "{}"
        for what, content in contents(text).items():
            if what in WRITTEN:
                yield f"{name}: {what}", name, content
    words = good["model"]["vocab"]
    for what, change in {
        "no words": {"vocab": {}},
        "an id beyond": {"vocab": words | {next(iter(words)): 10**6}},
        "an id beyond of a word": {"vocab": words | {"\u0120the": 10**6}},
        "an id of 10^18": {"vocab": words | {next(iter(words)): 10**18}},
        "an id below 0": {"vocab": words | {next(iter(words)): -1}},
        "no merges": {"merges": []},
        "merges of nothing": {"merges": [["", ""]]},
        "another kind": {"type": "X"},
        "all one word": {"vocab": dict.fromkeys(words, 5)},
    }.items():
        yield f"tokenizer.json: {what}", "tokenizer.json", json.dumps(
            good | {"model": good["model"] | change})  # fmt: skip
    for what, change in {
        "an added token beyond": {"added_tokens": [good["added_tokens"][0] | {"id": 10**9}]},
        "no pre-tokenizer": {"pre_tokenizer": None},
        "a pattern without end": {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a*)*$"},
                                                 "content": "b"}},
        "cut to nothing": {"truncation": {"max_length": 0, "strategy": "LongestFirst", "stride": 0,
                                          "direction": "Right"}},
        "cut to one": {"truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 0,
                                      "direction": "Right"}},
        "padded": {"padding": {"strategy": {"Fixed": 1000}, "direction": "Left", "pad_id": 0,
                               "pad_type_id": 0, "pad_token": "x", "pad_to_multiple_of": None}},
    }.items():  # fmt: skip
        yield f"tokenizer.json: {what}", "tokenizer.json", json.dumps(good | change)
    told = json.loads((MODEL / "tokenizer_config.json").read_text())
    for key, values in TOLD.items():
        for value in values:
            yield f"tokenizer_config.json: {key}: {json.dumps(value)}", "tokenizer_config.json", (
                json.dumps(told | {key: value}))  # fmt: skip
    for key, values in GENERATION.items():
        for value in values:
            yield f"generation_config.json: {key}: {json.dumps(value)}", "generation_config.json", (
                json.dumps({"eos_token_id": 0, key: value}))  # fmt: skip


def tensors(weights):
    """Yield (name, content of model.safetensors)."""
    good = (MODEL / "model.safetensors").read_bytes()
    (size,) = struct.unpack_from("<Q", good)
    header = json.loads(good[8 : 8 + size])
    body = good[8 + size :]
    first = next(name for name in header if name != "__metadata__")

    def headed(head, rest=body):
        raw = head if isinstance(head, bytes) else json.dumps(head).encode()
        return struct.pack("<Q", len(raw)) + raw + rest

    yield from contents("{}").items()
    yield "cut in its head", good[: size // 2]
    yield "cut in its body", good[:-1000]
    yield "more behind it", good + b"x"
    yield "a head of 2^63", struct.pack("<Q", 2**63) + good[8:]
    yield "a head of nothing", struct.pack("<Q", 0) + body
    yield "a head that is a list", headed(b"[]")
    yield "a head that is deep", headed(b"[" * 100_000)
    for name, change in {
        "another type": {"dtype": "I64"},
        "an unknown type": {"dtype": "X"},
        "a shape of 10^18": {"shape": [10**9, 10**9]},
        "a shape below 0": {"shape": [-1, 4]},
        "no shape": {"shape": []},
        "offsets beyond": {"data_offsets": [0, 10**12]},
        "offsets turned": {"data_offsets": [100, 0]},
        "offsets below 0": {"data_offsets": [-8, 8]},
        "offsets as text": {"data_offsets": ["0", "8"]},
    }.items():
        yield name, headed(header | {first: header[first] | change})
    yield "one left out", headed({k: v for k, v in header.items() if k != first})
    yield "other data", headed(header | {"__metadata__": {"format": "tf"}})
    yield "no data about it", headed({k: v for k, v in header.items() if k != "__metadata__"})
    one = "transformer.h.1.mlp.c_fc.weight"

    def saved(change):
        return save(change, {"format": "pt"})

    for name, value in {"NaN": np.nan, "infinity": np.inf, "1e38": 1e38}.items():
        spoilt = weights[one].copy()
        spoilt[0, 0] = value
        yield f"{name} in one", saved(weights | {one: spoilt})
        yield f"all {name}", saved({k: np.full_like(v, value) for k, v in weights.items()})
    yield "all zero", saved({k: np.zeros_like(v) for k, v in weights.items()})
    yield "one all zero", saved(weights | {one: np.zeros_like(weights[one])})
    yield "one missing", saved({k: v for k, v in weights.items() if k != one})
    yield "one of another shape", saved(weights | {one: weights[one][:-1].copy()})
    yield "one turned", saved(weights | {one: weights[one].T.copy()})
    yield "one of a layer more", saved(weights | {one.replace(".1.", ".9."): weights[one]})
    yield "one of another name", saved(weights | {"x": weights[one]})
    yield "in whole numbers", saved({k: (100 * v).astype(np.int8) for k, v in weights.items()})
    yield "in float64", saved({k: v.astype(np.float64) for k, v in weights.items()})
    yield "in float16", saved({k: v.astype(np.float16) for k, v in weights.items()})
    yield "nothing in it", saved({})


def indices():
    """Yield (name, content of model.safetensors.index.json) where there is no whole file."""
    part = "model-00001-of-00001.safetensors"
    yield from contents(json.dumps({"weight_map": {"x": part}})).items()
    for name, value in {
        "up": {"x": "../model.safetensors"}, "absolute": {"x": "/etc/passwd"}, "gone": {"x":
        "model-00002-of-00002.safetensors"}, "a pickle": {"x": "pytorch_model.bin"}, "a list": [],
        "a number": {"x": 1}, "null": None, "no parts": {}, "device": {"x": "/dev/zero"},
        "NUL": {"x": "model-\0.safetensors"}, "long": {"x": f"model-{'x' * 5000}.safetensors"},
    }.items():  # fmt: skip
        yield name, json.dumps({"weight_map": value})


@pytest.fixture(scope="module")
def usual(sandbox):
    """Give the rows of the model as it was, by its folder's name."""
    return numbers_of(sandbox, fresh(sandbox))


def fresh(sandbox):
    """Make a folder of a model, and return it."""
    folder = sandbox.work / "given"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        shutil.copyfile(MODEL / name, folder / name)
    return folder


def numbers_of(sandbox, folder):
    before = sandbox.listing()
    done = sandbox.pytest(f"--model={folder.name}")
    assert done.code == 0, done.out
    found = rows(sandbox)
    sandbox.restore(before)
    return found


def rows(sandbox):
    return [row["vectors"] for row in recorded(sandbox.work / "results/small")]


def raw(content):
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


def tried(sandbox, usual, name, *args):
    """Yield what is wrong with a run on the folder as it is now."""
    for of_import in sandbox.work.rglob("__pycache__"):
        shutil.rmtree(of_import)
    before = sandbox.listing()
    done = sandbox.pytest(*(args or ("--model=given",)), limit=30)
    yield from rude(done)
    did = ""
    if done.code == 4:
        yield from refusal(done, (4,))
        yield from changes(before, sandbox.listing())
    elif done.code == 1:
        # What is seen when weights are loaded is an error of the items on this model alone.
        said = re.findall(r"^exp_effect\.py::\S+: (.*\bgiven\b.*)$", done.out, re.M)
        if len(said) != 1 or len(said[0]) > LONGEST:
            yield f"said {said}: {done.out[-1500:]}"
    else:
        now = rows(sandbox) if (sandbox.work / "results/small").exists() else None
        did = f"{done.code}: " + ("as it was" if now == usual else "others" if now else "none")
    if did != ACCEPTED.get(name, ""):
        yield f"did {did!r}, not {ACCEPTED.get(name, '')!r}: {done.out[-600:]}"
    if (sandbox.top / "canary").exists():
        yield "ran code of the folder"
    sandbox.restore(before)


@pytest.mark.slow
def test_configs(sandbox, usual):
    tally = Tally("hostile config.json", WHOLE)
    folder = fresh(sandbox)
    for name, content in configs():
        (folder / "config.json").write_bytes(raw(content))
        tally.case(name, tried(sandbox, usual, name))
    tally.end()


@pytest.mark.slow
def test_tokenizers(sandbox, usual):
    tally = Tally("hostile tokenizers and what lies beside them", WHOLE)
    for name, file, content in tokenizers():
        folder = fresh(sandbox)
        (folder / file).write_bytes(raw(content))
        tally.case(name, tried(sandbox, usual, name))
    tally.end()


@pytest.mark.slow
def test_weights(sandbox, usual, weights):
    tally = Tally("hostile weights", WHOLE)
    folder = fresh(sandbox)
    for name, content in tensors(weights):
        (folder / "model.safetensors").write_bytes(content)
        tally.case(name, tried(sandbox, usual, f"model.safetensors: {name}"))
    (folder / "model.safetensors").unlink()
    shutil.copyfile(MODEL / "model.safetensors", folder / "model-00001-of-00001.safetensors")
    for name, content in indices():
        (folder / "model.safetensors.index.json").write_bytes(
            raw(content))  # fmt: skip
        tally.case(name, tried(sandbox, usual, f"index: {name}"))
    tally.end()


@pytest.mark.slow
def test_code_in_a_folder_never_runs(sandbox, usual):
    """Python files, pytest's own and pickles beside a model: none of it is imported or read."""
    tally = Tally("code in model folders", WHOLE)
    canary = CANARY.format(str(sandbox.top / "canary"))
    for name in CODE:
        folder = fresh(sandbox)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(canary)
        tally.case(name, tried(sandbox, usual, f"code: {name}"))
    for name in OF_PYTEST:
        folder = fresh(sandbox)
        (folder / "evil.py").write_text(canary)
        (folder / name).write_text(canary if name.endswith(".py") else "[pytest]\naddopts=-p evil")
        tally.case(name, tried(sandbox, usual, f"pytest's: {name}"))
    for name in PICKLES:
        for whole in (True, False):
            folder = fresh(sandbox)
            (folder / name).write_bytes(b"cos\nsystem\n(S'touch " + str(sandbox.top / "canary")
                                        .encode() + b"'\ntR.")  # fmt: skip
            if not whole:
                (folder / "model.safetensors").unlink()
            tally.case(name, tried(sandbox, usual, f"pickle: {name}{'' if whole else ' alone'}"))
    tally.end()


READ = ("a bit at ", "context_length: ")
"""What may be read all the same: other words, how long texts may be. GGUF has no checksums."""


def ggufs(good):
    """Yield (name, content of a GGUF file)."""
    yield from contents("{}").items()
    for at in (4, 8, 23, 100, len(good) // 2, len(good) - 1):
        yield f"cut at {at}", good[:at]
    for name, place, size in (("version", 4, 4), ("tensors", 8, 8), ("keys", 16, 8)):
        for number in (0, 2**31 - 1, 2 ** (8 * size) - 1):
            changed = good[:place] + number.to_bytes(size, "little") + good[place + size :]
            yield f"{name}: {number}", changed
    for key in (b"block_count", b"head_count", b"embedding_length", b"context_length"):
        place = good.index(key) + len(key) + 4
        for number in (0, 2**32 - 1):
            changed = good[:place] + number.to_bytes(4, "little") + good[place + 4 :]
            yield f"{key.decode()}: {number}", changed
    draw, head = random.Random(0), good.index(b"token_embd.weight") + 200
    for at in sorted(draw.sample(range(head), 30)):
        flipped = bytes([good[at] ^ 1 << draw.randrange(8)])
        yield f"a bit at {at}", good[:at] + flipped + good[at + 1 :]


@pytest.mark.slow
def test_gguf_files(sandbox):
    """A command verifies them: the words of these models are none that runs could measure."""
    tally = Tally("hostile GGUF files", WHOLE)
    path = sandbox.work / "given.gguf"
    gguf_files.write(path, gguf_files.model_of("gpt2", "gpt2"), "gpt2")
    good = path.read_bytes()
    assert (done := sandbox.emolib("models", "given.gguf")).code == 0, done.out
    for name, content in ggufs(good):
        path.write_bytes(content)
        before = sandbox.listing()
        done = sandbox.emolib("models", "given.gguf")
        problems = [*rude(done), *changes(before, sandbox.listing())]
        if done.code != 0:
            problems += refusal(done, (2,))
        if done.code == 0 and not name.startswith(READ):
            problems.append(f"is read: {done.out[-500:]}")
        tally.case(name, problems)
    path.unlink()
    tally.end()
