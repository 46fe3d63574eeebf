"""A GPT-2 whose answers are known in closed form: one planted head, one decoy (SCIENCE §8).

Head L0H1 reads the emotion word from the last token and writes its target; L0H2 attends just as
it does and writes along all-ones, which LayerNorm erases. Every score and effect of the method
has an exact value on this model, so a tool that gets one wrong is wrong.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from emolib.heads import Head
from emolib.models import LanguageModel
from emolib.profiles import Emotion
from emolib.prompts import SLOT, Lexicon, Pair

WIDTH, EPS, STRENGTH = 64, 1e-5, 4.0
SCORE, GAIN, TARGET_GAIN, NEUTRAL_GAIN = math.log(27), 2.0, 1.0, 0.25
PLANTED, DECOY = Head(0, 1), Head(0, 2)
EMOTION_WORDS = {"gratitude": "grateful", "anger": "angry", "apology": "sorry"}
TARGETS = {"gratitude": "thanks", "anger": "furious", "apology": "pardon", "neutral": "fine"}
_NEUTRAL_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_CLASSES = ("const", "end", "bos", "neutral", *EMOTION_WORDS)


def planted_model(dtype: torch.dtype = torch.float64) -> LanguageModel:
    """Return the planted model with its tokenizer of whole words.

    Args:
        dtype: Its floating point type; the closed forms hold to 1e-6 in float64.
    """
    tokenizer = _tokenizer()
    config: Any = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=32,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        layer_norm_epsilon=EPS,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=None,
    )
    hf: Any = GPT2LMHeadModel(config)
    hf.set_attn_implementation("eager")
    hf.double()
    with torch.no_grad():
        _plant(hf, tokenizer)
    return LanguageModel(hf.to(dtype), tokenizer, "planted")


def planted_emotion(name: str = "gratitude") -> Emotion:
    """Return an emotion of the planted model: 8 pairs of 10 tokens, END last."""
    frames = [
        [_NEUTRAL_WORDS[(start + step) % len(_NEUTRAL_WORDS)] for step in range(7)]
        for start in range(len(_NEUTRAL_WORDS))
    ]
    pairs = []
    for index, frame in enumerate(frames):
        words = ["<bos>", *frame, "END"]
        words.insert(1 + index % 7, SLOT)
        word = EMOTION_WORDS[name]
        pairs.append(Pair(f"{name}-{index}", f"slot-{index % 7}", " ".join(words), word, frame[0]))
    lexicon = Lexicon(name, 1, (TARGETS[name],), (TARGETS[name],))
    neutral = Lexicon("neutral", 1, (TARGETS["neutral"],), (TARGETS["neutral"],))
    return Emotion(name, lexicon, neutral, tuple(pairs), None, "planted")


def _tokenizer() -> Any:
    words = ["<bos>", "END", *_NEUTRAL_WORDS, *EMOTION_WORDS.values(), *TARGETS.values()]
    model = WordLevel({word: index for index, word in enumerate(words)}, unk_token="<bos>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, bos_token="<bos>")


def _feature(index: int) -> Tensor:
    """Return u_f = (e_{2f} − e_{2f+1}) / √2: orthonormal, and untouched by centring."""
    vector = torch.zeros(WIDTH, dtype=torch.float64)
    vector[2 * index], vector[2 * index + 1] = 1 / math.sqrt(2), -1 / math.sqrt(2)
    return vector


def _plant(hf: Any, tokenizer: Any) -> None:
    for name, parameter in hf.named_parameters():
        parameter.zero_()
        if ".ln_" in name and name.endswith("weight"):
            parameter.fill_(1)
    u = {name: _feature(index) for index, name in enumerate(_CLASSES)}
    out = {name: _feature(len(_CLASSES) + i) for i, name in enumerate(EMOTION_WORDS)}
    # c² = D(1 − ε) − s² makes var + ε = 1: the first LayerNorm is the identity.
    constant = math.sqrt(WIDTH * (1 - EPS) - STRENGTH**2) * u["const"]
    emotion_of = {word: name for name, word in EMOTION_WORDS.items()}
    for word, index in tokenizer.get_vocab().items():
        kind = emotion_of.get(word, "neutral" if word in _NEUTRAL_WORDS else "end")
        kind = "bos" if word == "<bos>" else kind
        hf.transformer.wte.weight[index] = constant + STRENGTH * u[kind]
    d_head = WIDTH // 4
    emotions = torch.stack([u[name] for name in EMOTION_WORDS])
    attention = hf.transformer.h[0].attn
    query, key, value = attention.c_attn.weight.split(WIDTH, dim=1)
    for head in (PLANTED, DECOY):
        first = head.index * d_head
        query[:, first] = u["end"]
        key[:, first] = SCORE * math.sqrt(d_head) / STRENGTH**2 * emotions.sum(0)
    first = PLANTED.index * d_head
    for j, name in enumerate(EMOTION_WORDS):
        value[:, first + j] = u[name]
        attention.c_proj.weight[first + j] = GAIN * out[name]
        hf.lm_head.weight[tokenizer.get_vocab()[TARGETS[name]]] = TARGET_GAIN * out[name]
    hf.lm_head.weight[tokenizer.get_vocab()[TARGETS["neutral"]]] = NEUTRAL_GAIN * u["end"]
    first = DECOY.index * d_head
    value[:, first] = emotions.sum(0)
    # The decoy's z is s·a = 3; this makes what it writes 5 long.
    attention.c_proj.weight[first] = 5 / 3 / math.sqrt(WIDTH)
