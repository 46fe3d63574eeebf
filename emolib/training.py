"""Training, measuring and documenting the embedded models.

``python -m emolib.training --model tiny-gpt2 --seed 0 --out data/models/tiny-gpt2`` trains one
from scratch on the scenes of `emolib.corpus`, measures it on the held-out prompt files and writes
weights, tokenizer, log and model card; ``--model all`` does so for each, below ``--out``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from emolib.corpus import EMOTIONS, scenes
from emolib.profiles import data_root
from emolib.prompts import Lexicon, load_lexicon, load_pairs, load_prompts
from emolib.wording import keyword_rate

END = "<|endoftext|>"
CONTEXT = 128
_TOKENIZER_SCENES = 20_000
_TOKENIZER_SEED = 0
_VOCABULARY = 1400
_IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        steps: Optimizer steps.
        batch: Scenes a step.
        lr: Peak learning rate of AdamW; linear warm-up, then cosine to a twentieth.
        warmup: Steps of warm-up.
        weight_decay: On matrices only.
        context_weight: Weight of a token of the prompt in the loss; a token of the ending has 1.
        feeling_weight: Weight of the ending's first two tokens, where the mood shows.
        head_penalty: Weight of the sum over heads of the norm of W_O, a group lasso: it keeps
            heads that do little from growing, so that some matter and most do not.
    """

    steps: int = 1400
    batch: int = 48
    lr: float = 3e-3
    warmup: int = 100
    weight_decay: float = 0.05
    context_weight: float = 0.1
    feeling_weight: float = 6.0
    head_penalty: float = 0.001


@dataclass(frozen=True)
class Design:
    """A model's architecture and recipe.

    Attributes:
        model_type: As transformers calls the architecture.
        config: What its config says beside sizes and tokens.
        projection: Path of the attention output projection, ``{}`` for the layer.
        recipe: How it is trained.
    """

    model_type: str
    config: dict[str, Any]
    projection: str
    recipe: Recipe = Recipe()

    def build(self, vocabulary: int) -> Any:
        """Return the model, untrained, with weights from torch's global generator.

        All models end in the embedding matrix again, to stay small.
        """
        ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
        config = transformers.AutoConfig.for_model(
            self.model_type, vocab_size=vocabulary, tie_word_embeddings=True, **ends, **self.config
        )
        auto: Any = transformers.AutoModelForCausalLM
        return auto.from_config(config, attn_implementation="eager")


_LAYERS = _HEADS = 4
_WIDTH, _INNER = 96, 256

DESIGNS = {
    "tiny-gpt2": Design(
        "gpt2",
        {
            "n_positions": CONTEXT,
            "n_embd": _WIDTH,
            "n_inner": _INNER,
            "n_layer": _LAYERS,
            "n_head": _HEADS,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        },
        "transformer.h.{}.attn.c_proj",
    ),
    "tiny-neox": Design(
        "gpt_neox",
        {
            "max_position_embeddings": CONTEXT,
            "hidden_size": _WIDTH,
            "intermediate_size": _INNER,
            "num_hidden_layers": _LAYERS,
            "num_attention_heads": _HEADS,
            "use_parallel_residual": True,
        },
        "gpt_neox.layers.{}.attention.dense",
        Recipe(head_penalty=0.003),
    ),
    "tiny-neo": Design(
        "gpt_neo",
        {
            "max_position_embeddings": CONTEXT,
            "hidden_size": _WIDTH,
            "intermediate_size": _INNER,
            "num_layers": _LAYERS,
            "num_heads": _HEADS,
            "attention_types": [[["global", "local"], _LAYERS // 2]],
            "window_size": 16,
            **dict.fromkeys(("resid_dropout", "embed_dropout", "attention_dropout"), 0.0),
        },
        "transformer.h.{}.attn.attention.out_proj",
    ),
}


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Return the byte-level BPE tokenizer of all embedded models, like GPT-2's but small."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (scene.text for scene in islice(scenes(_TOKENIZER_SEED), _TOKENIZER_SCENES))
    tokenizer.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast
    result: PreTrainedTokenizerFast = fast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END,
        unk_token=END, model_max_length=CONTEXT, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    return result


def _batches(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield fresh scenes as (ids, weights), both ``[batch, seq]``, padded on the right.

    Scenes of like length share a batch, which halves the padding; the order is shuffled.
    """
    source, rng = scenes(seed + 1), random.Random(seed)
    while True:
        chunk = list(islice(source, recipe.batch * 16))
        prompts = tokenizer([scene.prompt for scene in chunk])["input_ids"]
        endings = tokenizer([scene.ending + END for scene in chunk])["input_ids"]
        rows = sorted(zip(prompts, endings, strict=True), key=lambda row: len(row[0] + row[1]))
        starts = list(range(0, len(rows), recipe.batch))
        rng.shuffle(starts)
        for start in starts:
            group = rows[start : start + recipe.batch]
            width = max(len(prompt) + len(ending) for prompt, ending in group)
            ids = torch.zeros(len(group), width, dtype=torch.long)
            weights = torch.zeros(len(group), width)
            for i, (prompt, ending) in enumerate(group):
                end = len(prompt) + len(ending)
                ids[i, :end] = torch.tensor(prompt + ending)
                weights[i, : len(prompt)] = recipe.context_weight
                weights[i, len(prompt) : end] = 1.0
                weights[i, len(prompt) : len(prompt) + 2] = recipe.feeling_weight
            yield ids, weights


def _loss(model: Any, ids: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of the next token, in nats."""
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[:, :-1]
    nll = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    kept = weights[:, 1:].flatten()
    return (nll * kept).sum() / kept.sum()


def _head_norms(model: Any, design: Design) -> Tensor:
    """Return the Frobenius norm of each head's W_O, shape ``[layers, heads]``."""
    norms = []
    for layer in range(_LAYERS):
        projection = model.get_submodule(design.projection.format(layer))
        # transformers' Conv1D stores [in, out], nn.Linear [out, in].
        conv = type(projection).__name__ == "Conv1D"
        rows = projection.weight if conv else projection.weight.T
        norms.append(rows.unflatten(0, (_HEADS, -1)).flatten(1).norm(dim=-1))
    return torch.stack(norms)


def _schedule(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step, from 0."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return recipe.lr * warm * (0.05 + 0.95 * cosine)


def train(
    name: str,
    seed: int = 0,
    recipe: Recipe | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    report: Callable[[dict[str, float]], None] = lambda line: None,
) -> tuple[Any, PreTrainedTokenizerFast, list[dict[str, float]]]:
    """Train a model from scratch on the CPU, in fp32.

    Args:
        name: One of `DESIGNS`.
        seed: Of the initial weights and of the scenes.
        recipe: Instead of the design's own.
        tokenizer: Instead of training it again.
        report: Called with each line of the log.

    Returns:
        The model in eval mode, its tokenizer and the log: step, loss (nats), lr, seconds.
    """
    design = DESIGNS[name]
    recipe = recipe or design.recipe
    tokenizer = tokenizer or train_tokenizer()
    torch.manual_seed(seed)
    model = design.build(len(tokenizer))
    model.train()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95))
    log: list[dict[str, float]] = []
    started = time.perf_counter()
    for step, (ids, weights) in enumerate(islice(_batches(tokenizer, recipe, seed), recipe.steps)):
        for group in optimizer.param_groups:
            group["lr"] = _schedule(recipe, step)
        loss = _loss(model, ids, weights)
        penalty = recipe.head_penalty * _head_norms(model, design).sum()
        optimizer.zero_grad(set_to_none=True)
        total: Any = loss + penalty
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == recipe.steps - 1:
            line = {
                "step": step,
                "loss": round(loss.item(), 4),
                "lr": round(_schedule(recipe, step), 7),
                "seconds": round(time.perf_counter() - started, 1),
            }
            log.append(line)
            report(line)
    return model.eval(), tokenizer, log


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


def _by_head(z: Any) -> Tensor:
    """Return a copy of z of all heads, ``[…, heads * d_head]``, as ``[…, heads, d_head]``."""
    heads: Tensor = z.unflatten(-1, (_HEADS, -1)).clone()
    return heads


@contextmanager
def _zeroed(model: Any, path: str, head: int, *, last: bool) -> Iterator[None]:
    """Zero z of one head, the slice of the projection's input, while the context is open."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z: Tensor = _by_head(inputs[0])
        z[:, slice(-1, None) if last else slice(None), head] = 0
        return (z.flatten(-2), *inputs[1:])

    handle = model.get_submodule(path).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _logit_diff(model: Any, batch: dict[str, Tensor], targets: tuple[Tensor, Tensor]) -> float:
    logits = model(**batch, use_cache=False, logits_to_keep=1).logits[:, -1]
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
    calm = continuations(model, tokenizer, load_prompts(root / "neutral_prompts.json"), tokens)
    results = []
    for emotion in EMOTIONS:
        lexicon = load_lexicon(root / f"lexicons/{emotion}.json")
        prompts = load_prompts(root / f"{emotion}_prompts.json")
        moved = continuations(model, tokenizer, prompts, tokens)
        targets = (_token_ids(tokenizer, lexicon.targets), _token_ids(tokenizer, neutral.targets))
        pairs = load_pairs(root / f"pairs/{emotion}.json")
        batch = _padded(tokenizer, [pair.text("emotion") for pair in pairs])
        other = _padded(tokenizer, [pair.text("neutral") for pair in pairs])
        clean = _logit_diff(model, batch, targets)
        base = _logit_diff(model, other, targets)
        shares: dict[bool, list[float]] = {True: [], False: []}
        for last, found in shares.items():
            for layer in range(_LAYERS):
                for head in range(_HEADS):
                    with _zeroed(model, path.format(layer), head, last=last):
                        effect = _logit_diff(model, batch, targets) - clean
                    found.append(effect / (clean - base))
        results.append(
            Figures(
                emotion=emotion,
                pairs=len(pairs),
                rate_emotion=_mean_rate(moved, lexicon),
                rate_neutral=_mean_rate(calm, lexicon),
                ld_emotion=clean,
                ld_neutral=base,
                last=tuple(shares[True]),
                all=tuple(shares[False]),
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
            cells += [f"L{head // _HEADS}H{head % _HEADS} {100 * share:+.0f} %"]
            cells += [f"{round(idle(shares) * len(shares))} of {len(shares)}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


_CARD = """# {name}

A small {type} language model ({layers} layers of {heads} heads, {parameters} parameters, fp32) for
experiments on the attention heads that carry emotion. It reads and writes one kind of text only:
short everyday scenes that turn grateful, angry or apologetic or stay neutral.

## Training

From scratch on scenes of `emolib.corpus`, each one fresh (no scene is repeated on purpose), in
{minutes:.1f} minutes on one CPU thread with torch {torch} and transformers {transformers}:

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
- Moods follow from simple rules (see `emolib.corpus`), not from how anyone feels.
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
        layers=_LAYERS,
        heads=_HEADS,
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
    layers = [row.last[start : start + _HEADS] for start in range(0, len(row.last), _HEADS)]
    text = " / ".join(" ".join(f"{100 * share:+.0f}" for share in layer) for layer in layers)
    return f"- {row.emotion}: {text}"


def build(name: str, seed: int, out: Path) -> None:
    """Train, measure and write one model with tokenizer, log and card, telling how it goes.

    Args:
        name: One of `DESIGNS`.
        seed: Of weights and scenes.
        out: The folder to write.
    """

    def report(line: dict[str, float]) -> None:
        print(f"{name} " + " ".join(f"{key} {value}" for key, value in line.items()), flush=True)

    model, tokenizer, log = train(name, seed, report=report)
    model.save_pretrained(out)
    # All it says follows from config.json.
    (out / "generation_config.json").unlink(missing_ok=True)
    # Weights come out readable by their owner alone, and so would they in a wheel.
    (out / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(out)
    lines = "".join(json.dumps(line) + "\n" for line in log)
    (out / "training_log.jsonl").write_text(lines, encoding="utf-8")
    figures = measure(name, model, tokenizer)
    text = card(name, seed, model, tokenizer, log[-1]["seconds"], figures)
    (out / "README.md").write_text(text, encoding="utf-8")
    print(figures_table(figures), flush=True)


def main() -> None:
    """Train embedded models from scratch, measure them and write their cards."""
    parser = argparse.ArgumentParser(prog="python -m emolib.training", description=main.__doc__)
    parser.add_argument("--model", choices=[*DESIGNS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0, help="of weights and scenes")
    parser.add_argument("--out", type=Path, help="folder; with all, one is made in it per model")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    everything = options.model == "all"
    models_root = data_root() / "models"
    for name in DESIGNS if everything else [options.model]:
        folder = (options.out or models_root) / name if everything else options.out
        build(name, options.seed, folder or models_root / name)


if __name__ == "__main__":
    main()
