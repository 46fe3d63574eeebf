"""The designs: each committed model is what its design builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers
from safetensors import safe_open

from emolib.training.embedded import CONTEXT, DESIGNS, HEADS, LAYERS

MODELS = Path(__file__).parents[2] / "data/models"


@pytest.mark.parametrize("name", DESIGNS)
def test_committed_weights_have_the_design_s_names_and_shapes(name):
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODELS / name)
    built = dict(DESIGNS[name].build(len(tokenizer)).named_parameters())
    with safe_open(MODELS / name / "model.safetensors", "pt") as file:
        committed = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    assert committed == {key: list(value.shape) for key, value in built.items()}


@pytest.mark.parametrize("name", DESIGNS)
def test_committed_config_says_what_the_design_says(name):
    config = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == DESIGNS[name].model_type
    assert {key: config[key] for key in DESIGNS[name].config} == DESIGNS[name].config


@pytest.mark.parametrize("name", DESIGNS)
def test_every_layer_has_its_projection(name):
    model = DESIGNS[name].build(300)
    paths = [DESIGNS[name].projection.format(layer) for layer in range(LAYERS)]
    assert {path for path, _ in model.named_modules()} >= set(paths)
    with pytest.raises(AttributeError):
        model.get_submodule(DESIGNS[name].projection.format(LAYERS))
    assert model.config.num_attention_heads == HEADS
    assert model.config.max_position_embeddings == CONTEXT


def test_neo_has_a_local_layer_shorter_than_its_prompts():
    config = transformers.AutoConfig.from_pretrained(MODELS / "tiny-neo")
    assert "local" in config.attention_layers and "global" in config.attention_layers
    assert config.window_size < 30
