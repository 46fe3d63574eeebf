"""Measuring the embedded models on held-out prompts, and the model cards that say what they reach.

The measurements use hooks of their own and nothing of `emolib.engine`, on purpose: they are an
independent check of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from emolib.files import data_root
from emolib.inputs.prompts import Lexicon, load_lexicon, load_pairs, load_prompts
from emolib.methods.text_metrics import keyword_rate
from emolib.training.corpus import EMOTIONS
from emolib.training.embedded import CONTEXT, DESIGNS, HEADS, LAYERS


@dataclass(frozen=True)
class Figures:
    """What a model reaches on the held-out prompts of an emotion.

    Attributes:
        emotion: The emotion.
        pairs: Number of pairs.
        rate_emotion: Mean keyword_rate of continuations of the emotion's prompts, hits per 100
            words.
        rate_neutral: The same, on the same lexicon, of the neutral prompts.
        ld_emotion: Mean logit_diff of the pairs' emotion side, in logits.
        ld_neutral: Mean logit_diff of their neutral side, in logits.
        last: Shift of the mean logit_diff on the emotion side when one head is zeroed at the
            last position, as a share of the gap, layer by layer.
        all: The same, zeroed at every position.
    """

    emotion: str
    pairs: int
    rate_emotion: float
    rate_neutral: float
    ld_emotion: float
    ld_neutral: float
    last: tuple[float, ...]
    all: tuple[float, ...]

    @property
    def gap(self) -> float:
        """How far the sides' mean logit_diff lie apart, in logits."""
        return self.ld_emotion - self.ld_neutral


def largest(shares: Sequence[float]) -> tuple[int, float]:
    """Return the head that moves the logits most and its share, sign kept."""
    head = max(range(len(shares)), key=lambda i: abs(shares[i]))
    return head, shares[head]


def idle(shares: Sequence[float], floor: float = 0.05) -> float:
    """Return the share of heads that move the logits by less than `floor` of the gap."""
    return sum(abs(share) < floor for share in shares) / len(shares)


def _padded(tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    batch = tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="left")
    mask = batch["attention_mask"]
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
    }


@contextmanager
def _zeroed(model: Any, path: str, head: int) -> Iterator[None]:
    """Zero z of one head, the slice of the projection's input, while the context is open."""

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        z = inputs[0].unflatten(-1, (HEADS, -1)).clone()
        z[..., head, :] = 0
        return (z.flatten(-2), *inputs[1:])

    handle = model.get_submodule(path).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _last_token(model: Any, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Return a batch as its last tokens alone, with the keys and values of what is before them.

    An edit of z then reaches the last position and no other.
    """
    before = {key: value[:, :-1] for key, value in batch.items()}
    return {
        "input_ids": batch["input_ids"][:, -1:],
        "attention_mask": batch["attention_mask"],
        "position_ids": batch["position_ids"][:, -1:],
        "past_key_values": model(**before, use_cache=True, logits_to_keep=1).past_key_values,
    }


def _logit_diff(model: Any, batch: dict[str, Any], targets: tuple[Tensor, Tensor]) -> float:
    # A forward would append to the cache it is given.
    logits = model(**deepcopy(batch), use_cache=False, logits_to_keep=1).logits[:, -1]
    return float((logits[:, targets[0]].mean(-1) - logits[:, targets[1]].mean(-1)).mean())


def continuations(model: Any, tokenizer: Any, prompts: Sequence[str], tokens: int) -> list[str]:
    """Return the greedy continuation of each prompt, without the prompt."""
    batch = _padded(tokenizer, prompts)
    width = batch["input_ids"].shape[1]
    del batch["position_ids"]  # generate derives them from the mask itself
    out = model.generate(**batch, pad_token_id=0, do_sample=False, max_new_tokens=tokens)
    texts: list[str] = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    return texts


def _mean_rate(texts: Sequence[str], lexicon: Lexicon) -> float:
    return sum(keyword_rate(text, lexicon.words) for text in texts) / len(texts)


@torch.inference_mode()
def measure(
    name: str, model: Any, tokenizer: Any, root: Path | None = None, tokens: int = 16
) -> list[Figures]:
    """Measure a model on the held-out prompts, with hooks of its own.

    They are apart from the engine's on purpose: an independent measurement.

    Args:
        name: One of `DESIGNS`.
        model: In eval mode, fp32.
        tokenizer: Its tokenizer.
        root: The data folder; the project's when left out.
        tokens: Length of the greedy continuations.

    Returns:
        Figures of each emotion.
    """
    root = root or data_root()
    path = DESIGNS[name].projection
    neutral = load_lexicon(root / "lexicons/neutral.json")
    free = tuple(map(str, load_prompts(root / "neutral_prompts.json")))
    calm = continuations(model, tokenizer, free, tokens)
    results = []
    for emotion in EMOTIONS:
        lexicon = load_lexicon(root / f"lexicons/{emotion}.json")
        prompts = tuple(map(str, load_prompts(root / f"{emotion}_prompts.json")))
        moved = continuations(model, tokenizer, prompts, tokens)
        targets = (_token_ids(tokenizer, lexicon.targets), _token_ids(tokenizer, neutral.targets))
        pairs = load_pairs(root / f"pairs/{emotion}.json")
        batch = _padded(tokenizer, [pair.text("emotion") for pair in pairs])
        other = _padded(tokenizer, [pair.text("neutral") for pair in pairs])
        clean = _logit_diff(model, batch, targets)
        base = _logit_diff(model, other, targets)
        shares = []
        for edited in (_last_token(model, batch), batch):
            effects = []
            for layer in range(LAYERS):
                for head in range(HEADS):
                    with _zeroed(model, path.format(layer), head):
                        effects.append(_logit_diff(model, edited, targets) - clean)
            shares.append(tuple(effect / (clean - base) for effect in effects))
        results.append(
            Figures(
                emotion=emotion,
                pairs=len(pairs),
                rate_emotion=_mean_rate(moved, lexicon),
                rate_neutral=_mean_rate(calm, lexicon),
                ld_emotion=clean,
                ld_neutral=base,
                last=shares[0],
                all=shares[1],
            )
        )
    return results


def _token_ids(tokenizer: Any, words: Sequence[str]) -> Tensor:
    """Return the id of each word, a single token in mid-sentence, shape ``[words]``."""
    ids = [tokenizer(f" {word}")["input_ids"] for word in words]
    if split := [word for word, found in zip(words, ids, strict=True) if len(found) > 1]:
        raise ValueError(f"targets {split} are several tokens; the vocabulary is too small")
    return torch.tensor(ids).flatten()


def figures_table(figures: Sequence[Figures]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| emotion | pairs | keyword rate, emotion prompts | neutral prompts | logit_diff, "
        "emotion | neutral | gap | top head (last) | heads < 5 % (last) | top head (all) | "
        "heads < 5 % (all) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures:
        cells = [row.emotion, str(row.pairs), f"{row.rate_emotion:.1f}", f"{row.rate_neutral:.2f}"]
        cells += [f"{row.ld_emotion:.2f}", f"{row.ld_neutral:.2f}", f"{row.gap:.2f}"]
        for shares in (row.last, row.all):
            head, share = largest(shares)
            cells += [f"L{head // HEADS}H{head % HEADS} {100 * share:+.0f} %"]
            cells += [f"{round(idle(shares) * len(shares))} of {len(shares)}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


_CARD = """# {name}

A small {type} language model ({layers} layers of {heads} heads, {parameters} parameters, fp32) for
experiments on the attention heads that carry emotion. It reads and writes one kind of text only:
short everyday scenes that turn grateful, angry or apologetic or stay neutral.

## Training

From scratch on scenes of `emolib.training.corpus`, each one fresh (no scene is repeated on
purpose), in {minutes:.1f} minutes on one CPU thread with torch {torch} and transformers
{transformers}:

```
{command}
```

The same seed gives the same weights up to float noise; another build of torch, which may add up
in another order, gives a model that behaves alike but is not equal. `training_log.jsonl` has
step, loss (nats per token, weighted), learning rate and seconds. Recipe: {recipe}.

The tokenizer is a byte-level BPE of {vocabulary} tokens trained on the same scenes; nothing is
put before the text, and `<|endoftext|>` ends a scene.

## Figures

Measured at the end of training on `data/pairs/` and the prompt lists of `data/`, whose
combinations of frame and act are held out of training. Greedy decoding of 16 tokens; keyword
rate in hits per 100 words of the continuation, on the emotion's lexicon; logit_diff in logits at
the last prompt token, over the pairs. The head columns zero one head, at the last position or at
all, and give the shift of the mean logit_diff on the emotion side as a share of the gap.

{table}

Shift of each head in % of the gap, zeroed at the last position, layers divided by bars:

{shifts}

## Limits

- It knows some 500 words, scenes of two people and the past tense; no figure on it says
  anything about a model of real text, or about people.
- Moods follow from simple rules (see `emolib.training.corpus`), not from how anyone feels.
- At most {context} tokens, text and continuation together.

## Licence

The same as the project.
"""


def card(
    name: str, seed: int, model: Any, tokenizer: Any, seconds: float, figures: Sequence[Figures]
) -> str:
    """Return the model card, with the figures measured.

    Args:
        name: One of `DESIGNS`.
        seed: It was trained with.
        model: The model.
        tokenizer: Its tokenizer.
        seconds: Training took.
        figures: From `measure`.
    """
    recipe = DESIGNS[name].recipe
    return _CARD.format(
        name=name,
        type=model.config.model_type,
        layers=LAYERS,
        heads=HEADS,
        parameters=f"{model.num_parameters():,}",
        minutes=seconds / 60,
        torch=torch.__version__,
        transformers=transformers.__version__,
        command=f"python -m emolib.training --model {name} --seed {seed} --out data/models/{name}",
        recipe=", ".join(f"{key} {value}" for key, value in asdict(recipe).items()),
        vocabulary=len(tokenizer),
        table=figures_table(figures),
        shifts="\n".join(_shifts(row) for row in figures),
        context=CONTEXT,
    )


def _shifts(row: Figures) -> str:
    layers = [row.last[start : start + HEADS] for start in range(0, len(row.last), HEADS)]
    text = " / ".join(" ".join(f"{100 * share:+.0f}" for share in layer) for layer in layers)
    return f"- {row.emotion}: {text}"
