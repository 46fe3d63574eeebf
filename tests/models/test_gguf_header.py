from __future__ import annotations

import re
import struct
import subprocess
import sys

import gguf
import gguf_files
import pytest
import torch
from gguf_files import HEADS, LAYERS, model_of, words, wrapped, write

from emolib.engine import hooked
from emolib.errors import InputError
from emolib.files import data_root
from emolib.inputs.prompts import Chat
from emolib.models.gguf_header import MODEL_TYPES, Packed, read_header
from emolib.models.gguf_weights import _in_slices
from emolib.models.loading import load
from emolib.models.sources import find

OTHER = "take the model's safetensors: name their folder or their Hub id"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Give a GGUF file."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write(path, model_of("llama", "llama"), "llama")
    return path


def changed(path, tmp_path, start, new):
    """Give a copy of a file with some of its bytes replaced."""
    content = bytearray(path.read_bytes())
    content[start : start + len(new)] = new
    copy = tmp_path / "changed.gguf"
    copy.write_bytes(content)
    return copy


def refuses(path, message):
    with pytest.raises(InputError, match=f"^{re.escape(f'model {str(path)!r}: {message}')}$"):
        find(str(path))


@pytest.mark.parametrize("architecture", MODEL_TYPES)
def test_a_file_gives_the_logits_and_tokens_of_the_model_it_was_made_from(architecture, tmp_path):
    hf = model_of(architecture, MODEL_TYPES[architecture])
    path = tmp_path / "some-model.Q8_0.gguf"
    write(path, hf, architecture)
    source = find(str(path))
    assert (source.name, source.folder, source.gguf) == ("some-model.Q8_0", tmp_path, path.name)
    assert (source.n_layers, source.n_heads) == (LAYERS, HEADS)
    model = load(source)
    assert source.model_type == model.hf.config.model_type == MODEL_TYPES[architecture]
    assert (model.n_layers, model.n_heads) == (LAYERS, HEADS)
    assert source.n_units == model.n_units
    assert model.hf.config._attn_implementation == "eager"
    assert {parameter.dtype for parameter in model.hf.parameters()} == {torch.float32}
    prompts = model.encode(["a bad cab in the ditch", "this that"])
    tokens = [words()[token] for token in prompts.ids[1]]
    assert "".join(tokens).removeprefix("<end>").replace("Ġ", " ").strip() == "this that"
    ours = hooked.last_logits(model, prompts)
    theirs = hooked.last_logits(wrapped(hf, model.tokenizer), prompts)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert theirs.std() > 0.05


def test_a_file_s_chat_template_is_its_tokenizer_s(llama, tmp_path):
    with pytest.raises(InputError, match=f"--chat needs a chat template, expected one in {llama};"):
        find(str(llama)).check_chat()
    path = tmp_path / "chat.gguf"
    template = "{{ bos_token }}{{ messages[0].content }} this"
    write(path, model_of("llama", "llama"), "llama", tokenizer__chat_template=template)
    source = find(str(path))
    source.check_chat()
    model = load(source)
    assert source.context == model.context
    for prompt in ("a bad ditch", "<end>a bad ditch"):
        assert model.tokens(prompt, Chat()) == (0, *model.tokens("a bad ditch this"))
        # This one writes no BOS where the template or the text does not.
        assert model.tokens(prompt).count(0) == prompt.startswith("<end>")


def test_the_header_is_what_the_gguf_package_reads(llama):
    header, theirs = read_header(llama), gguf.GGUFReader(llama)
    assert header.names == {tensor.name for tensor in theirs.tensors}
    read = {name for name in theirs.fields if not name.startswith("GGUF.")}
    assert set(header.values) == read
    for name, value in header.values.items():
        content = theirs.fields[name].contents()
        expected = len(content) if isinstance(content, list) else content
        assert value == pytest.approx(expected) if isinstance(value, float) else value == expected
    assert header.of_model("block_count") == LAYERS
    assert header.of_model("no.such.key") is None


def test_every_kind_of_value_is_read(tmp_path):
    path, writer = tmp_path / "all.gguf", gguf.GGUFWriter(tmp_path / "all.gguf", "llama")
    kinds = {"uint8": 200, "int8": -100, "uint16": 60000, "int16": -30000, "uint32": 2**31,
             "int32": -5, "uint64": 2**40, "int64": -(2**40), "float32": 0.5, "float64": 0.1,
             "bool": True, "string": "ein Ä"}  # fmt: skip
    for kind, value in kinds.items():
        getattr(writer, f"add_{kind}")(f"some.{kind}", value)
    writer.add_array("some.texts", ["a", "bcd", ""])
    writer.add_array("some.numbers", [1, 2, 3, 4])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    values = read_header(path).values
    assert {name: values[f"some.{name}"] for name in kinds} == kinds
    assert (values["some.texts"], values["some.numbers"]) == (3, 4)


def test_the_file_is_the_only_one_that_is_read(llama, tmp_path):
    """A tokenizer of another model may lie beside it: transformers prefers that."""
    path = tmp_path / "small.gguf"
    path.write_bytes(llama.read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((data_root() / "models/tiny-gpt2" / name).read_bytes())
    alone, beside = load(find(str(llama))), load(find(str(path)))
    assert beside.tokenizer("a bad ditch") == alone.tokenizer("a bad ditch")
    assert beside.tokenizer.eos_token == alone.tokenizer.eos_token == "<end>"


def test_the_hashes_are_of_the_content(llama, tmp_path):
    source = find(str(llama))
    assert source.weights_hash == source.config_hash == source.tokenizer_hash
    copy = tmp_path / "small.gguf"
    copy.write_bytes(llama.read_bytes())
    assert find(str(copy)).weights_hash == source.weights_hash
    copy.write_bytes(llama.read_bytes()[:-1] + b"\1")
    assert find(str(copy)).weights_hash != source.weights_hash


def test_finding_a_file_loads_no_torch(llama):
    code = (
        f"import sys; from emolib.models.sources import find; find({str(llama)!r}).weights_hash;"
        "sys.exit(bool({'torch', 'transformers', 'gguf', 'accelerate'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_that_is_none_is_told_so(tmp_path, llama):
    advice = "download it again, or name a folder with safetensors"
    refuses(tmp_path / "none.gguf", "no such file; expected a GGUF file")
    refuses(f"{tmp_path}/folder/x.gguf", "no such file; expected a GGUF file")
    for content in (b"", b"GG", b"\x80\x04pickle"):
        path = tmp_path / "broken.gguf"
        path.write_bytes(content)
        refuses(path, f"{path}: not a GGUF file (it does not start with GGUF); {advice}")
    old = changed(llama, tmp_path, 4, struct.pack("<I", 1))
    refuses(old, f"{old}: GGUF version 1; expected 2 or 3; {advice}")


@pytest.mark.parametrize("size", [4, 7, 20, 30, 60, 400, 900, 1500])
def test_a_file_that_is_cut_short_is_told_so(llama, tmp_path, size):
    path = tmp_path / "short.gguf"
    path.write_bytes(llama.read_bytes()[:size])
    with pytest.raises(InputError, match=r": a damaged GGUF file \(.+\); download it again"):
        find(str(path))


@pytest.mark.parametrize("lost", [1, 5000])
def test_a_file_that_lacks_the_end_of_its_weights_is_not_loaded_with_zeros(llama, tmp_path, lost):
    path = tmp_path / "short.gguf"
    path.write_bytes(llama.read_bytes()[:-lost])
    with pytest.raises(InputError, match=r"short.gguf: a damaged GGUF file \(.+\); download it"):
        load(find(str(path)))


@pytest.mark.parametrize("kind", [15, 99])
def test_numbers_of_a_type_that_is_not_unpacked_are_one_line(llama, kind):
    packed = Packed("output.weight", (1, 256), kind, 0)
    with llama.open("rb") as file, pytest.raises(InputError, match=f"GGML's type {kind}; update"):
        list(_in_slices(file, packed))


@pytest.mark.parametrize("place", range(24, 120, 8))
def test_a_damaged_header_is_an_input_error(llama, tmp_path, place):
    path = changed(llama, tmp_path, place, b"\xff" * 8)
    with pytest.raises(InputError):
        find(str(path))


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("falcon", {}, "its architecture is 'falcon'; of GGUF files those of "
         f"{', '.join(MODEL_TYPES)} are read; {OTHER}"),
        ("llama", {"split__count": 3},
         "it is one part of several; join them with llama-gguf-split --merge"),
        ("llama", {"llama__rope__scaling__type": "linear"},
         f"its rope is scaled, which is lost in reading it; {OTHER}"),
        ("gemma3", {}, f"its scale of attention is lost in reading it; {OTHER}"),
    ],
)  # fmt: skip
def test_a_file_that_would_be_read_wrong_is_refused(architecture, changes, message, tmp_path):
    path, hf = tmp_path / "x.gguf", model_of("llama", "llama")
    write(path, hf, architecture, **changes) if architecture == "llama" else _bare(
        path, architecture
    )
    refuses(path, message)


def _bare(path, architecture):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_token_list(["a"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def test_a_file_without_tokenizer_or_shape_is_refused(tmp_path):
    path, writer = tmp_path / "x.gguf", gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    refuses(path, f"it has no tokenizer; {OTHER}")
    writer.close()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["a"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    refuses(
        path,
        "expected numbers of layers and heads in its metadata (block_count and "
        f"attention.head_count, up to 4096), got None and None; {OTHER}",
    )
    writer.close()


def test_without_the_package_the_extra_is_named(llama, monkeypatch):
    monkeypatch.setattr(
        "emolib.models.sources._GGUF_PACKAGES", ("no_gguf_here", "gguf", "nor_this")
    )
    refuses(llama, "reading GGUF needs no_gguf_here and nor_this: pip install 'emolib[gguf]'")


def test_a_file_that_lacks_a_weight_is_refused_on_loading(tmp_path, monkeypatch):
    hf = model_of("llama", "llama")
    weights = hf.state_dict()
    del weights["model.layers.1.mlp.up_proj.weight"]
    monkeypatch.setattr(hf, "state_dict", lambda: weights)
    write(tmp_path / "x.gguf", hf, "llama")
    source = find(str(tmp_path / "x.gguf"))
    expected = (
        f"model {source.id!r}: 1 of its weights are missing or of another shape than its "
        "configuration says (model.layers.1.mlp.up_proj.weight, …); download or save it again"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        load(source)


def test_the_vocabulary_of_the_test_files_is_what_it_says():
    assert len(words()) == gguf_files.WORDS
