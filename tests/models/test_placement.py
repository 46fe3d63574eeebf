"""Where a model runs: names of devices, and models that are larger than one GPU.

No GPU is here: what torch says of one is made up.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from emolib.engine.support import why_not
from emolib.errors import InputError
from emolib.models import loading, sources
from emolib.models.language_model import LanguageModel
from emolib.models.loading import describe, weight_bytes
from emolib.models.placement import HEADROOM, find_device, spread


@pytest.fixture
def seen(monkeypatch):
    """Give a function that says which GPUs torch sees."""

    def say(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return say


@pytest.mark.parametrize(
    ("gpus", "dtype", "device"),
    [
        ({}, "float32", "cpu"),
        ({"cuda": 2, "mps": True}, "float32", "cuda"),
        ({"mps": True}, "float32", "mps"),
        ({"mps": True}, "float64", "cpu"),
    ],
)
def test_auto_is_cuda_else_mps_else_the_cpu(seen, gpus, dtype, device):
    seen(**gpus)
    assert find_device("auto", dtype) == device


@pytest.mark.parametrize(
    ("name", "gpus", "reason"),
    [
        ("cuda", {}, "torch sees no CUDA GPU"),
        ("cuda:2", {"cuda": 2}, "torch sees 2 CUDA GPUs, counted from cuda:0"),
        ("mps", {}, "torch sees no GPU of Apple's"),
        ("meta", {}, "it holds no numbers"),
    ],
)
def test_a_device_that_is_not_there_is_told(seen, name, gpus, reason):
    seen(**gpus)
    with pytest.raises(InputError) as error:
        find_device(name)
    assert str(error.value) == f"--device {name}: not usable here ({reason}); use cpu"


@pytest.mark.parametrize("name", ["nonsense", "cuda:x", "", "xpu"])
def test_what_is_no_device_is_one_line(name):
    with pytest.raises(InputError, match=rf"^--device {name}: not usable here \(.+\); use cpu$"):
        find_device(name)


def test_a_device_that_is_there_keeps_its_name(seen):
    seen(cuda=2)
    assert [find_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


def test_a_model_that_fits_into_one_gpu_stays_there():
    assert spread(80, [100, 100], "m") is None


def test_a_larger_one_gets_the_room_of_all():
    assert spread(81, [100, 50], "m") == {0: int(HEADROOM * 100), 1: int(HEADROOM * 50)}


@pytest.mark.parametrize("free", [[100], [100, 100]])
def test_one_larger_than_all_is_refused_with_what_there_is(free):
    with pytest.raises(InputError, match=rf"model 'm': its weights take .* the {len(free)} GPUs"):
        spread(161, free, "m")


def test_weights_are_counted_without_them(load):
    config, _ = describe(sources.find("tiny-neox"))
    known = sum(weight.numel() for weight in load("tiny-neox").hf.parameters())
    assert weight_bytes(config, "float32") == 4 * known
    assert weight_bytes(config, "float16") == 2 * known


def test_on_cuda_a_model_too_large_for_one_gpu_is_spread(seen, monkeypatch, load):
    """Down to what transformers is asked for: it would put it on the GPUs."""
    seen(cuda=2)
    config, _ = describe(sources.find("tiny-neox"))
    room = weight_bytes(config, "float32")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (room + gpu, room))
    own, asked = load("tiny-neox"), {}

    def from_pretrained(folder, **options):
        asked.update(options)
        return own.hf, {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": []}

    models = SimpleNamespace(
        from_pretrained=from_pretrained,
        from_config=loading.transformers.AutoModelForCausalLM.from_config,
    )
    monkeypatch.setattr(loading.transformers, "AutoModelForCausalLM", models)
    spread_model = loading.load(sources.find("tiny-neox"), device="cuda")
    assert asked["device_map"] == "auto"
    assert asked["max_memory"] == {1: int(HEADROOM * (room + 1)), 0: int(HEADROOM * room)}
    assert spread_model.device == torch.device("cpu")


def test_without_accelerate_it_is_refused(seen, monkeypatch):
    seen(cuda=2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (1000, 1000))
    monkeypatch.setattr(loading, "weight_bytes", lambda config, dtype: 1000)
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"too large for one GPU.*pip install accelerate"):
        loading.load(sources.find("tiny-neox"), device="cuda")


def test_a_model_on_several_devices_says_so(load):
    model = load("tiny-neox")
    assert why_not(model) is None
    twin = LanguageModel(copy.deepcopy(model.hf), model.tokenizer, "twin")
    twin.hf.gpt_neox.layers[1].to("meta")
    assert why_not(twin) == "its layers are on several devices"
