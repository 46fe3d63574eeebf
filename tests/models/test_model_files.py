"""Files of a model that somebody else made: what counts, and one line for what is damaged."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from emolib.errors import InputError
from emolib.files import data_root
from emolib.models.loading import load
from emolib.models.model_files import configuration
from emolib.models.sources import find


@pytest.fixture
def folder(tmp_path):
    """A copy of an embedded model."""
    shutil.copytree(data_root() / "models/tiny-gpt2", tmp_path / "mine")
    return tmp_path / "mine"


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields))


def said(folder):
    with pytest.raises(InputError) as error:
        load(find(str(folder)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    return str(error.value).removeprefix(f"model {str(folder)!r}: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"_attn_implementation": "sdpa"},
        {"_attn_implementation": "somebody/kernel", "attn_implementation": "somebody/kernel"},
        {"_attn_implementation_internal": "sdpa", "_experts_implementation": "none"},
        {"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "use_kernels": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_how_a_model_is_run_is_not_its_folder_s_to_say(folder, fields):
    change(folder, **fields)
    model = load(find(str(folder)))
    assert model.hf.config._attn_implementation == "eager"
    assert type(model.hf).__module__ == "transformers.models.gpt2.modeling_gpt2"
    assert not fields.keys() & configuration(find(str(folder))).to_dict().keys() - {
        "_attn_implementation"
    }


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"n_layer": 3}, "its files have transformer.h.3.attn.c_attn.weight, and its config"),
        ({"n_layer": 5}, "12 of its weights are missing or of another shape"),
        ({"n_layer": 10**9}, "{}/config.json: 1e+09 layers; expected at most 4096"),
        ({"n_head": 10**5}, "{}/config.json: 1e+05 attention heads a layer; expected at most"),
        ({"vocab_size": 10**9}, "its configuration asks for 9.6e+10 numbers, and its files have"),
        ({"n_positions": 10**12}, "its configuration asks for 9.6e+13 numbers, and its files"),
        ({"n_embd": -1}, "{}/config.json cannot be used: RuntimeError: Trying to create tensor"),
        ({"activation_function": "os.system"}, "{}/config.json cannot be used: KeyError"),
        ({"layer_norm_epsilon": "x"}, "{}/config.json cannot be used: StrictDataclassField"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_told_before_it_takes_memory(folder, fields, why):
    change(folder, **fields)
    assert said(folder).startswith(why.format(folder))


def test_weights_that_are_no_numbers_or_all_zero_are_called_that(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = "transformer.h.1.attn.c_proj.weight"
    for value in (float("nan"), float("inf"), -float("inf")):
        broken = {key: weight.clone() for key, weight in weights.items()}
        broken[name][3, 5] = value
        save_file(broken, path, metadata={"format": "pt"})
        assert said(folder).startswith(f"its weight {name} has numbers that are not finite (from ")
    nothing = {key: torch.zeros_like(weight) for key, weight in weights.items()}
    save_file(nothing, path, metadata={"format": "pt"})
    assert said(folder) == "all of its weights are zero; download or save it again"


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("keep", [0, 8, 100, -100], ids=str)
def test_a_file_that_is_cut_short_is_named(folder, name, keep):
    path = folder / name
    path.write_bytes(path.read_bytes()[:keep])
    told = " cannot be used: " if name == "tokenizer.json" else ": "
    assert said(folder).startswith(f"{path}{told}")


@pytest.mark.parametrize("content", ["[]", "{}", "[" * 100_000, '{"model": {}}', "\0"], ids=len)
def test_a_tokenizer_that_is_none_is_named(folder, content):
    (folder / "tokenizer.json").write_text(content)
    assert said(folder).startswith(f"{folder}/tokenizer.json cannot be used: ")


def test_a_header_beyond_the_file_takes_no_memory(folder):
    (folder / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    assert "model.safetensors: no safetensors, or cut short in its head" in said(folder)


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("[]", "has no weight_map of weights to files"),
        ("{}", "has no weight_map of weights to files"),
        ('{"weight_map": {"a": 1}}', "has no weight_map of weights to files"),
        ('{"weight_map": {"a": "../../secret.safetensors"}}', "names '../../secret.safetensors'"),
        ("not JSON", "not JSON (line 1, column 1"),
        ("[" * 100_000, "lists or objects nested more than 64 deep"),
    ],
    ids=lambda text: text[:20],
)
def test_an_index_of_weights_is_read_with_care(folder, index, why):
    weights = folder / "model.safetensors"
    weights.rename(folder / "model-00001-of-00001.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(index)
    assert said(folder).startswith(f"{path}: {why}")


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.float8_e4m3fn])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_weights_in_a_code_are_not_taken_for_numbers(folder, kind, prefix):
    path = folder / "model.safetensors"
    weights = {k.removeprefix("transformer."): v for k, v in load_file(path).items()}
    coded = {k: v.to(kind) if k == "h.1.mlp.c_fc.weight" else v for k, v in weights.items()}
    save_file({prefix + k: v for k, v in coded.items()}, path, {"format": "pt"})
    assert "quantized weights are not read; take the model in float32" in said(folder)


def test_what_is_no_weight_may_be_a_whole_number(folder):
    path = folder / "model.safetensors"
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8)}
    save_file(load_file(path) | masks, path, {"format": "pt"})
    assert load(find(str(folder))).n_heads == 4


@pytest.mark.parametrize("cut", [4, 1000, -1])
def test_weights_that_were_cut_short_are_told_before_torch_loads(folder, cut):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="download or save the model again"):
        find(str(folder))


def test_what_is_put_out_and_made_up_is_not_its_folder_s_to_say(folder):
    told = {"return_dict": False, "output_hidden_states": True, "use_cache": False}
    change(folder, **told, num_labels=10**12)
    config = load(find(str(folder))).hf.config
    assert {name: getattr(config, name) for name in told} == {
        "return_dict": True, "output_hidden_states": False, "use_cache": True,
    }  # fmt: skip
    assert config.num_labels == 2


@pytest.mark.parametrize("end", [1308, 10**9, -1, [0, 1308]], ids=str)
def test_an_end_that_is_no_token_is_told(folder, end):
    change(folder, eos_token_id=end)
    assert "eos_token_id is " in said(folder) and "has 1308 tokens" in said(folder)
    change(folder, eos_token_id=0)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    assert "/generation_config.json: eos_token_id is " in said(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 1307]}))
    assert load(find(str(folder))).n_heads == 4


def test_an_end_that_nobody_named_is_no_fault(folder):
    """Of gpt2 it would be 50256."""
    path = folder / "config.json"
    told = json.loads(path.read_text("utf-8"))
    del told["eos_token_id"]
    path.write_text(json.dumps(told))
    assert load(find(str(folder))).n_heads == 4


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '\ufeff{"eos_token_id": 5}', '{"eos_token_id": 0}}']
)
def test_settings_of_generation_that_cannot_be_read_are_told(folder, content):
    """transformers passes them over, and takes others in their place."""
    (folder / "generation_config.json").write_text(content, "utf-8")
    assert said(folder).startswith(f"{folder}/generation_config.json cannot be used: ")


def test_an_adapter_is_no_part_of_a_model(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"merge it into the weights \(merge_and_unload\)"):
        find(str(folder))


def test_a_token_that_the_model_lacks_is_told(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocab = content["model"]["vocab"]
    vocab["\u0120the"] = 10**6
    path.write_text(json.dumps(content), "utf-8")
    model = load(find(str(folder)))
    with pytest.raises(InputError, match="its tokenizer makes token 1000000 of 'in the end'"):
        model.encode(["at once", "in the end"])
    assert model.encode(["at once"]).ids
    assert model.in_pieces(["the"]) == ("the",)


@pytest.mark.parametrize("value", ["x", -1, 1.5, None, 4])
def test_how_long_a_text_may_be_is_not_its_tokenizer_s_to_say(folder, value):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": value}))
    assert len(load(find(str(folder))).encode(["one two three four five six"]).ids[0]) > 4
