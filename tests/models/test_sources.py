from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import tiny_model

from emolib.errors import InputError
from emolib.files import data_root
from emolib.models.architectures import ARCHITECTURES
from emolib.models.loading import load
from emolib.models.sources import embedded_names, find

EMBEDDED = data_root() / "models"
NAMES = "tiny-gpt2, tiny-neo, tiny-neox"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a copy of an embedded model, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(EMBEDDED / "tiny-gpt2", tmp_path / "mine"))


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refuses(model, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        find(model)


def test_an_embedded_model_is_found_by_its_name():
    assert ", ".join(embedded_names()) == NAMES
    source = find("tiny-neo")
    assert (source.name, source.id, source.folder) == (
        "tiny-neo",
        "tiny-neo",
        EMBEDDED / "tiny-neo",
    )
    assert (source.model_type, source.n_layers, source.n_heads) == ("gpt_neo", 4, 4)


@pytest.mark.parametrize("typed", ["mine", "mine/", "./mine", "./mine/", "../here/mine", "{}"])
def test_a_local_folder_is_found_however_it_is_typed(folder, typed):
    folder.parent.joinpath("../here").symlink_to(folder.parent)
    typed = typed.format(folder)
    source = find(typed)
    assert (source.name, source.id) == ("mine", typed)
    assert source.folder.samefile(folder)
    folder.parent.joinpath("../here").unlink()


def test_the_folder_one_is_in_is_named_by_its_own_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert find(".").name == "mine"


def test_a_saved_model_loads_from_its_folder(tmp_path):
    model = tiny_model("gemma2")
    model.hf.save_pretrained(tmp_path / "saved")
    model.tokenizer.save_pretrained(tmp_path / "saved")
    source = find(str(tmp_path / "saved"))
    assert (source.model_type, source.n_layers, source.n_heads) == ("gemma2", 2, 4)
    assert load(source).n_heads == 4


def test_a_folder_that_is_not_there_is_told_so(folder):
    for model in ("./none", "/nowhere/none", "a/b/c"):
        refuses(model, f"model {model!r}: no such folder; expected one with a config.json")


def test_a_missing_or_broken_config_is_told_so(folder):
    path = folder / "config.json"
    config(folder, n_layer=0)
    refuses(
        "mine", "model 'mine': mine/config.json: n_layer: expected a whole number from 1, got 0"
    )
    config(folder, model_type=None)
    refuses("mine", "model 'mine': mine/config.json has no model_type")
    path.write_text("[]")
    refuses("mine", "model 'mine': mine/config.json: expected an object")
    path.write_text("{")
    with pytest.raises(InputError, match=r"^model 'mine': mine/config.json: not JSON \("):
        find("mine")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"^model 'mine': mine/config.json: not UTF-8 \("):
        find("mine")
    path.unlink()
    refuses("mine", "model 'mine': no config.json in mine")


def test_an_unknown_architecture_is_told_the_known_ones(folder):
    config(folder, model_type="unheard_of")
    refuses(
        "mine",
        f"model 'mine': unknown architecture 'unheard_of'; expected one of "
        f"{', '.join(sorted(ARCHITECTURES))}, or another decoder of transformers; give its row by "
        "hand, as [architectures.TYPE] in a profile or with emolib.models.register",
    )


def test_any_decoder_of_transformers_is_taken_with_heads_and_units_as_its_config_says(folder):
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    kinds = ["linear_attention", "full_attention"]
    config(folder, model_type="qwen3_next", **shape, **experts, layer_types=kinds)
    found = find("mine")
    assert (found.n_layers, found.n_heads, found.head_layers) == (2, 4, (1,))
    assert "mixtures of experts (num_experts 4)" in found.no_units
    assert found.mlp_width == 48
    with pytest.raises(InputError, match=r"no MLP units: its MLPs are mixtures of experts"):
        assert found.n_units


def test_all_layers_of_a_plain_model_have_heads_and_units(folder):
    found = find("mine")
    assert found.head_layers == tuple(range(found.n_layers))
    assert found.no_units is None and found.mlp_width == found.n_units


def test_weights_that_are_no_safetensors_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refuses(
        "mine",
        "model 'mine': no model.safetensors in mine; only safetensors are loaded, nothing is "
        "unpickled: convert the weights with save_pretrained, or with "
        "https://huggingface.co/spaces/safetensors/convert",
    )


def test_the_context_is_what_the_config_says(folder):
    assert find("mine").context == 128 and find("tiny-neo").context == 128
    config(folder, n_positions=None)
    assert find("mine").context is None


def no_template(where):
    return (
        f"model 'mine': --chat needs a chat template, expected one in {where}; run without --chat, "
        "or take a model that was trained to chat"
    )


def test_a_chat_template_stands_in_the_tokenizer_s_config_or_beside_it(folder):
    before, path = find("mine"), folder / "tokenizer_config.json"
    hash_before = before.tokenizer_hash
    said = no_template("mine/tokenizer_config.json (key chat_template) or chat_template.jinja "
                       "beside it")  # fmt: skip
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        before.check_chat()
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    find("mine").check_chat()
    # What it says decides numbers.
    assert find("mine").tokenizer_hash != hash_before
    assert "chat_template" in load(find("mine")).tokenizer.init_kwargs
    (folder / "chat_template.jinja").unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "x"}))
    find("mine").check_chat()
    assert load(find("mine")).tokenizer.chat_template == "x"
    path.write_text("{")
    with pytest.raises(InputError, match=r"^model 'mine': mine/tokenizer_config.json: not JSON"):
        find("mine").check_chat()


@pytest.fixture
def parts(folder):
    """Give a copy of an embedded model whose weights are in parts."""
    tiny_model("gpt2").hf.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    return folder


def test_weights_in_parts_are_found_and_all_of_them_hashed(parts):
    source = find("mine")
    before = source.weights_hash
    assert load(source).n_heads == 4
    part = sorted(parts.glob("model-*.safetensors"))[1]
    part.write_bytes(part.read_bytes()[:-1] + b"\1")
    assert find("mine").weights_hash != before


def test_a_missing_part_is_named(parts):
    part = sorted(parts.glob("model-*.safetensors"))[1]
    part.unlink()
    message = "model 'mine': no {} in mine, a part of its weights; copy it there too"
    refuses("mine", message.format(part.name))
    (parts / "model.safetensors.index.json").unlink()
    refuses("mine", message.format("model.safetensors.index.json"))


def test_other_weights_beside_the_model_s_change_no_hash(folder):
    before = find("mine").weights_hash
    for name in ("model.fp16.safetensors", "adapter_model.safetensors", "consolidated.safetensors"):
        (folder / name).write_bytes(b"others")
    assert find("mine").weights_hash == before


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("do_layer_norm_before", False,
         "do_layer_norm_before is false: this OPT (opt-350m) has no final norm, which direct "
         "effects need; take another size (opt-125m, opt-1.3b)"),
        ("word_embed_proj_dim", 512,
         "word_embed_proj_dim is 512, hidden_size 32: this OPT projects the stream before the "
         "unembedding, which direct effects leave out; take another size (opt-125m, opt-1.3b)"),
    ],
)  # fmt: skip
def test_an_opt_of_another_build_is_refused(folder, field, value, message):
    opt = tiny_model("opt").hf.config.to_dict() | {"model_type": "opt"}
    (folder / "config.json").write_text(json.dumps(opt))
    assert find("mine").model_type == "opt"
    config(folder, **{field: value})
    refuses("mine", f"model 'mine': mine/config.json: {message}")


def test_a_folder_without_tokenizer_is_refused(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refuses("mine", "model 'mine': no tokenizer in mine; save it there too")


def test_a_hub_id_without_network_is_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    begun = time.monotonic()
    refuses(
        "emolib-tests/no-such-model",
        "model 'emolib-tests/no-such-model': its weights are not in the local cache and the Hub "
        f"cannot be reached; name an embedded model ({NAMES}), a local folder or .gguf file, or "
        "download it once where there is a network (`hf download`)",
    )
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("model", ["no spaces", "--x", "a..b"])
def test_what_is_no_hub_id_either_is_told_so(model):
    refuses(
        model,
        f"model {model!r}: is not a Hub id either; name an embedded model ({NAMES}), a local "
        "folder or .gguf file, or download it once where there is a network (`hf download`)",
    )


def test_the_weights_hash_is_of_the_content(folder):
    before = find("tiny-gpt2")
    assert find("mine").weights_hash == before.weights_hash
    assert find("mine").tokenizer_hash == before.tokenizer_hash
    assert find("tiny-neo").weights_hash != before.weights_hash
    config(folder, anything="else")
    (folder / "README.md").write_text("else")
    assert find("mine").weights_hash == before.weights_hash
    weights = folder / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert find("mine").weights_hash != before.weights_hash
    assert find("mine").tokenizer_hash == before.tokenizer_hash
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert find("mine").tokenizer_hash != before.tokenizer_hash


def test_finding_a_model_loads_no_torch():
    code = (
        "import sys; from emolib.models.sources import find; find('tiny-gpt2').weights_hash;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_units_are_told_by_the_config_when_asked_for(folder):
    assert {find(name).n_units for name in embedded_names()} == {256}
    config(folder, n_inner=None)
    assert find("./mine").n_units == 384
    config(folder, n_inner="many")
    message = "model './mine': mine/config.json: n_inner: expected a whole number from 1, got "
    with pytest.raises(InputError, match=f"^{re.escape(message)}'many'$"):
        assert find("./mine").n_units
