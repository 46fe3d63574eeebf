"""Tiny classifiers of texts, as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ("thank", "thanks", "glad", "angry", "furious", "sorry", "the", "to", "her", "him")


def tokenizer(*, pads: bool = True) -> Any:
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {word: i + 2 for i, word in enumerate(WORDS)}
    built = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    built.pre_tokenizer = Whitespace()
    special = {"pad_token": "[PAD]"} if pads else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=built, unk_token="[UNK]", model_max_length=16, **special
    )


def save_classifier(
    folder: Path, labels: tuple[str, ...] = ("calm", "loud"), *, pads: bool = True, **config: Any
) -> Path:
    """Write a DistilBERT of random weights with labels, and return its folder."""
    torch.manual_seed(0)
    made = transformers.DistilBertConfig(
        vocab_size=len(WORDS) + 2,
        dim=16,
        hidden_dim=16,
        n_layers=1,
        n_heads=2,
        max_position_embeddings=16,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **config,
    )
    model = transformers.DistilBertForSequenceClassification(made)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    model.save_pretrained(folder)
    tokenizer(pads=pads).save_pretrained(folder)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Change keys of a config.json; None takes one out."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
