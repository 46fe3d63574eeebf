"""Models from files: in the type asked for, mapped where that can be, whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tiny import CONFIGS, tiny_model, tokenizer

from emolib.errors import InputError
from emolib.models import sources
from emolib.models.loading import load


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_model_loads_in_the_type_asked_for(dtype):
    model = load(sources.find("tiny-neo"), dtype=dtype)
    assert {parameter.dtype for parameter in model.hf.parameters()} == {getattr(torch, dtype)}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here")
@pytest.mark.parametrize(("dtype", "mapped"), [("float32", True), ("float64", False)])
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_weights_of_the_files_own_type_stay_mapped(model_type, dtype, mapped, tmp_path):
    """So that workers on one machine have them in memory once."""
    tiny_model(model_type).hf.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = load(sources.find(str(tmp_path)), dtype=dtype)
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if f"{tmp_path}/" in line]
    for weight in model.hf.parameters():
        inside = any(int(a, 16) <= weight.data_ptr() < int(b, 16) for a, b in ranges)
        assert inside == mapped


def test_loading_says_nothing_and_gives_the_progress_bar_back(capfd):
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    load(sources.find("tiny-neox"))
    assert logging.is_progress_bar_enabled() is shown
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["nowhere", "cuda:99"])
def test_a_device_that_is_not_there_is_an_input_error(device):
    with pytest.raises(InputError, match=rf"^--device {device}: not usable here \(.+\); use cpu$"):
        load(sources.find("tiny-gpt2"), device=device)


def test_a_weight_that_is_not_in_the_files_is_refused(tmp_path):
    """Transformers would draw it at random and go on."""
    model = tiny_model("llama")
    weights = model.hf.state_dict()
    del weights["model.layers.0.self_attn.o_proj.weight"]
    weights["model.norm.weight"] = torch.ones(7)
    model.hf.save_pretrained(tmp_path / "less", state_dict=weights)
    model.tokenizer.save_pretrained(tmp_path / "less")
    message = (
        f"model '{tmp_path}/less': 2 of its weights are missing or of another shape than its "
        "configuration says (model.layers.0.self_attn.o_proj.weight, …); download or save it again"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load(sources.find(str(tmp_path / "less")))


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_every_architecture_loads_as_it_was_saved(model_type, tmp_path):
    """No weight of a whole model counts as missing, tied ones and buffers included."""
    model = tiny_model(model_type)
    model.hf.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = load(sources.find(str(tmp_path)))
    assert model.hf.state_dict().keys() == again.hf.state_dict().keys()
    for name, weight in model.hf.state_dict().items():
        assert torch.equal(weight, again.hf.state_dict()[name]), name
