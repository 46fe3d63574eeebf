"""A model made of a GGUF file a piece at a time: the weights that transformers reads of it."""

from __future__ import annotations

import gguf
import pytest
import torch
import transformers
from gguf_files import model_of as made_of
from gguf_files import write

from emolib.models import gguf_weights
from emolib.models.gguf_header import MODEL_TYPES, read_header
from emolib.models.gguf_weights import Reader, model_of, read_in_pieces


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Give a function from an architecture to a file of it."""
    folder = tmp_path_factory.mktemp("gguf")

    def file(architecture):
        path = folder / f"{architecture}.gguf"
        if not path.is_file():
            write(path, made_of(architecture, MODEL_TYPES[architecture]), architecture)
        return path

    return file


@pytest.mark.parametrize("architecture", MODEL_TYPES)
@pytest.mark.parametrize("rows", [1, 10**6])
def test_weights_are_those_that_transformers_reads(files, architecture, rows, monkeypatch):
    path = files(architecture)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    # The vocabulary a row at a time, or all of it.
    monkeypatch.setattr(gguf_weights, "_SLICE", rows * 4 * 32)
    ours, lost = model_of(path, theirs.config, torch.float32)
    assert not lost
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    tied = theirs.config.tie_word_embeddings
    assert (ours.get_input_embeddings().weight is ours.get_output_embeddings().weight) == tied
    ids = torch.tensor([[0, 5, 9, 3]])
    with torch.no_grad():
        assert torch.equal(ours.eval()(ids).logits, theirs.eval()(ids).logits)


def test_quantized_rows_are_unpacked_as_the_gguf_package_does(tmp_path):
    """Of every kind of block that the package can write."""
    weights = torch.randn(6, 64).numpy()
    kinds = (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0,
             gguf.GGMLQuantizationType.F16)  # fmt: skip
    path = tmp_path / "kinds.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for kind in kinds:
        packed = gguf.quants.quantize(weights, kind)
        writer.add_tensor(kind.name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with path.open("rb") as file:
        for packed in read_header(path).tensors:
            (found,) = gguf_weights._in_slices(file, packed, at_once=True)
            expected = gguf.dequantize(theirs[packed.name].data, theirs[packed.name].tensor_type)
            assert found.shape == (6, 64) and (found == expected).all()


def test_the_metadata_is_what_the_gguf_package_reads(files):
    path = files("llama")
    ours, theirs = Reader(path), gguf.GGUFReader(path)
    for name, field in ours.fields.items():
        expected = theirs.fields[name]
        assert field.types == expected.types, name
        values = [field.parts[i].tolist() for i in field.data]
        assert values == [expected.parts[i].tolist() for i in expected.data], name
    assert {tensor.name for tensor in ours.tensors} == {tensor.name for tensor in theirs.tensors}


def test_the_gguf_package_is_as_it_was_afterwards():
    before = gguf.GGUFReader
    with pytest.raises(KeyError), read_in_pieces():
        assert gguf.GGUFReader is not before
        raise KeyError
    assert gguf.GGUFReader is before
