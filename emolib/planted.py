"""A GPT-2 whose answers are known in closed form: one planted head, one decoy (docs/science.md).

Head L0H1 reads the emotion word from the last token and writes its target; L0H2 attends just as
it does and writes along all-ones, which LayerNorm erases. Every score and effect of the method
has an exact value on this model, so a tool that gets one wrong is wrong. A `Plan` puts heads
elsewhere, splits the effect among several, and adds heads of noise.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import Head
from emolib.inputs.prompts import SLOT, Lexicon, Pair
from emolib.models.language_model import LanguageModel

WIDTH, EPS, STRENGTH = 64, 1e-5, 4.0
SCORE, GAIN, TARGET_GAIN, NEUTRAL_GAIN = math.log(27), 2.0, 1.0, 0.25
PLANTED, DECOY = Head(0, 1), Head(0, 2)
EMOTION_WORDS = {"gratitude": "grateful", "anger": "angry", "apology": "sorry"}
TARGETS = {"gratitude": "thanks", "anger": "furious", "apology": "pardon", "neutral": "fine"}
_NEUTRAL_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_CLASSES = ("const", "end", "bos", "neutral", *EMOTION_WORDS)


@dataclass(frozen=True)
class Plan:
    """Where heads are planted.

    With planted heads in one layer and no noise the answers are closed: a head of gain γ writes
    ``h = γ·s·a``, a set of them their sum, and ``LD(h) = (λh − νs) / √(1 + h²/D)``. So of k heads
    of gain γ/k one alone moves LD from ``LD(h)`` to ``LD(h·(k − 1)/k)``, all together to LD(0).

    Attributes:
        layers: Number of layers.
        heads: Heads per layer; a divisor of 64, at most 16.
        gains: γ of each planted head.
        decoys: Heads that attend as the planted ones do and write what LayerNorm erases.
        noise: SD of the weights of all other heads.
        seed: Of the noise.
        architecture: ``gpt2``, or ``llama``: rotary positions, RMSNorm and a gated MLP. There the
            answers are the same, but decoys write nothing: RMSNorm erases no direction.
    """

    layers: int = 2
    heads: int = 4
    gains: Mapping[Head, float] = field(default_factory=lambda: {PLANTED: GAIN})
    decoys: tuple[Head, ...] = (DECOY,)
    noise: float = 0.0
    seed: int = 0
    architecture: Literal["gpt2", "llama"] = "gpt2"


def random_plan(seed: int) -> Plan:
    """Return a plan drawn at random: 1–3 layers, 1–2 planted heads, 1–2 decoys, the rest noise."""
    rng = random.Random(f"plan {seed}")
    layers, heads = rng.randint(1, 3), rng.choice([4, 8])
    every = [Head(layer, index) for layer in range(layers) for index in range(heads)]
    count, decoys = rng.randint(1, 2), rng.randint(1, 2)
    chosen = rng.sample(every, count + decoys)
    gains = {head: GAIN / count for head in chosen[:count]}
    return Plan(layers, heads, gains, tuple(chosen[count:]), noise=0.02, seed=seed)


def planted_model(
    dtype: torch.dtype = torch.float64, plan: Plan | None = None, name: str = "planted"
) -> LanguageModel:
    """Return the planted model with its tokenizer of whole words.

    Args:
        dtype: Its floating point type; the closed forms hold to 1e-6 in float64.
        plan: Where heads are planted; one, with one decoy, by default.
        name: The model's name.
    """
    plan = plan or Plan()
    tokenizer = _tokenizer()
    hf = _empty(len(tokenizer), plan)
    hf.set_attn_implementation("eager")
    hf.double()
    with torch.no_grad():
        _plant(hf, tokenizer, plan)
    return LanguageModel(hf.to(dtype), tokenizer, name)


def _empty(vocabulary: int, plan: Plan) -> Any:
    shared: dict[str, Any] = {"vocab_size": vocabulary, "tie_word_embeddings": False}
    shared |= {"bos_token_id": 0, "eos_token_id": None}
    if plan.architecture == "gpt2":
        config: Any = GPT2Config(
            n_positions=32,
            n_embd=WIDTH,
            n_layer=plan.layers,
            n_head=plan.heads,
            layer_norm_epsilon=EPS,
            **shared,
        )
        return GPT2LMHeadModel(config)
    config = LlamaConfig(
        max_position_embeddings=32,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        rms_norm_eps=EPS,
        # The slowest of the rotations then turns by 1e-11 a token: not at all.
        rope_parameters={"rope_type": "default", "rope_theta": 1e12},
        **shared,
    )
    return LlamaForCausalLM(config)


def save_planted(folder: Path, plan: Plan | None = None) -> Path:
    """Write the planted model with its prompts, lexicons and a profile, and return the profile.

    ``pytest experiments --profile FOLDER/planted.toml --dtype float64`` then runs on it.

    Args:
        folder: Where to; its name is not that of a profile folder.
        plan: Where heads are planted; one, with one decoy, by default.
    """
    model = planted_model(plan=plan)
    model.hf.save_pretrained(folder / "planted")
    model.tokenizer.save_pretrained(folder / "planted")
    for name in EMOTION_WORDS:
        emotion = planted_emotion(name)
        pairs = [vars(pair) for pair in emotion.pairs or ()]
        _write(folder / f"pairs/{name}.json", {"emotion": name, "version": 1, "pairs": pairs})
    for name, target in TARGETS.items():
        lexicon = {"name": name, "version": 1, "words": [target], "targets": [target]}
        _write(folder / f"lexicons/{name}.json", lexicon)
    profile = folder / "planted.toml"
    lines = {
        "models": [str((folder / "planted").resolve())],
        "emotions": list(EMOTION_WORDS),
        "ablations": ["zero", "mean"],
        "max_new_tokens": 2,
        "verify": model.n_layers * model.n_heads,
    }
    # What JSON has of these values TOML reads alike.
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    profile.write_text(text, encoding="utf-8")
    return profile


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


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


def feature(index: int) -> Tensor:
    """Return u_f = (e_{2f} − e_{2f+1}) / √2: orthonormal, and untouched by centring."""
    vector = torch.zeros(WIDTH, dtype=torch.float64)
    vector[2 * index], vector[2 * index + 1] = 1 / math.sqrt(2), -1 / math.sqrt(2)
    return vector


def class_features() -> dict[str, Tensor]:
    """Return the feature of each class of tokens, and ``const``, which all of them have."""
    return {name: feature(index) for index, name in enumerate(_CLASSES)}


def _plant(hf: Any, tokenizer: Any, plan: Plan) -> None:
    for name, parameter in hf.named_parameters():
        parameter.zero_()
        if name.endswith("weight") and (".ln_" in name or "norm" in name):
            parameter.fill_(1)
    u = class_features()
    out = {name: feature(len(_CLASSES) + i) for i, name in enumerate(EMOTION_WORDS)}
    # c² = D(1 − ε) − s² makes var + ε = 1: the first LayerNorm is the identity.
    constant = math.sqrt(WIDTH * (1 - EPS) - STRENGTH**2) * u["const"]
    emotion_of = {word: name for name, word in EMOTION_WORDS.items()}
    vocabulary = tokenizer.get_vocab()
    for word, index in vocabulary.items():
        kind = emotion_of.get(word, "neutral" if word in _NEUTRAL_WORDS else "end")
        kind = "bos" if word == "<bos>" else kind
        hf.get_input_embeddings().weight[index] = constant + STRENGTH * u[kind]
    for name in EMOTION_WORDS:
        hf.lm_head.weight[vocabulary[TARGETS[name]]] = TARGET_GAIN * out[name]
    hf.lm_head.weight[vocabulary[TARGETS["neutral"]]] = NEUTRAL_GAIN * u["end"]
    d_head = WIDTH // plan.heads
    emotions = torch.stack([u[name] for name in EMOTION_WORDS])
    rng = torch.Generator().manual_seed(plan.seed)
    # Of a rotary head the last pair of dims, which turns the slowest.
    read = 0 if plan.architecture == "gpt2" else d_head // 2 - 1
    for layer, (query, key, value, output) in enumerate(_projections(hf, plan)):
        for index in range(plan.heads):
            head, first = Head(layer, index), index * d_head
            if head not in plan.gains and head not in plan.decoys:
                for weights in (query, key, value, output.T):
                    drawn = torch.randn(WIDTH, d_head, generator=rng, dtype=torch.float64)
                    weights[:, first : first + d_head] = plan.noise * drawn
                continue
            query[:, first + read] = u["end"]
            key[:, first + read] = SCORE * math.sqrt(d_head) / STRENGTH**2 * emotions.sum(0)
            if head in plan.decoys:
                value[:, first] = emotions.sum(0)
                if plan.architecture == "gpt2":
                    # The decoy's z is s·a = 3; this makes what it writes 5 long.
                    output[first] = 5 / 3 / math.sqrt(WIDTH)
                continue
            for j, name in enumerate(EMOTION_WORDS):
                value[:, first + j] = u[name]
                output[first + j] = plan.gains[head] * out[name]


def _projections(hf: Any, plan: Plan) -> Iterator[tuple[Tensor, ...]]:
    """Yield per layer W_Q, W_K, W_V, ``[d_model, heads · d_head]``, and W_O, the other way."""
    if plan.architecture == "gpt2":
        for block in hf.transformer.h:
            yield *block.attn.c_attn.weight.split(WIDTH, dim=1), block.attn.c_proj.weight
        return
    for block in hf.model.layers:
        names = ("q_proj", "k_proj", "v_proj", "o_proj")
        yield tuple(getattr(block.self_attn, name).weight.T for name in names)
