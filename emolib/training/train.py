"""Training the embedded models.

``python -m emolib.training --model tiny-gpt2 --seed 0 --out data/models/tiny-gpt2`` trains one from
scratch on the scenes of `emolib.training.corpus`, measures it on the held-out prompt files and
writes weights, tokenizer, log and model card; ``--model all`` does so for each, below ``--out``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from emolib.files import data_root
from emolib.training.corpus import scenes
from emolib.training.embedded import CONTEXT, DESIGNS, HEADS, LAYERS, Design, TrainingRecipe
from emolib.training.model_cards import card, figures_table, measure

END = "<|endoftext|>"
_TOKENIZER_SCENES = 20_000
_TOKENIZER_SEED = 0
_VOCABULARY = 1400


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
    tokenizer: PreTrainedTokenizerFast, recipe: TrainingRecipe, seed: int
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
    for layer in range(LAYERS):
        projection = model.get_submodule(design.projection.format(layer))
        # transformers' Conv1D stores [in, out], nn.Linear [out, in].
        conv = type(projection).__name__ == "Conv1D"
        rows = projection.weight if conv else projection.weight.T
        norms.append(rows.unflatten(0, (HEADS, -1)).flatten(1).norm(dim=-1))
    return torch.stack(norms)


def _schedule(recipe: TrainingRecipe, step: int) -> float:
    """Return the learning rate of a step, from 0."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return recipe.lr * warm * (0.05 + 0.95 * cosine)


def train(
    name: str,
    seed: int = 0,
    recipe: TrainingRecipe | None = None,
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
