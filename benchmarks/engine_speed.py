"""How fast sweeps, texts and attribution are, beside other ways and beside the machine's limit.

All contenders run in turn, in one process, and medians are compared. Those that run head by head
are timed on a few heads, early, middle and late, and the time of all is that times their number;
emolib is timed on all heads at 24 tokens, elsewhere on every fourth head of each layer.

python benchmarks/engine_speed.py [--works sweep24 …] [--rounds 3] [--device cuda] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_contenders as contenders
import torch
import transformers
from engine_contenders import CONTENDERS, Emolib, Missing, World, clock
from tabulate import tabulate
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from emolib.engine import kernels
from emolib.engine.shapes import Shape, shape_of
from emolib.inputs.heads import Head, all_heads
from emolib.models.language_model import LanguageModel
from emolib.models.loading import in_half

HERE = Path(__file__).parent
GPT2 = ("gpt2", {})
WORKS: dict[str, tuple[tuple[str, dict[str, Any]], int, int]] = {
    "sweep24": (GPT2, 64, 24),
    "sweep64": (GPT2, 64, 64),
    "neox160": (
        (
            "gpt_neox",
            {
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "intermediate_size": 3072,
                "vocab_size": 50304,
            },
        ),
        64,
        24,
    ),
    "llama135": (
        (
            "llama",
            {
                "hidden_size": 576,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "intermediate_size": 1536,
                "vocab_size": 49152,
            },
        ),
        64,
        24,
    ),
    "gemma270": (
        (
            "gemma3_text",
            {
                "hidden_size": 640,
                "num_hidden_layers": 18,
                "num_attention_heads": 4,
                "num_key_value_heads": 1,
                "head_dim": 256,
                "intermediate_size": 2048,
                "vocab_size": 262144,
            },
        ),
        16,
        24,
    ),
    "modules": (
        (
            "olmo",
            {
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "num_key_value_heads": 4,
                "intermediate_size": 3072,
                "vocab_size": 49152,
            },
        ),
        64,
        24,
    ),
    "generate": (GPT2, 32, 24),
    "attribution": (GPT2, 64, 24),
}
"""By name: the model, prompts and tokens of each."""
SMALL = {
    "gpt2": {"n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 97},
    "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "intermediate_size": 64, "vocab_size": 97},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 97},
    "olmo": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 64, "vocab_size": 97},
    "gemma3_text": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                    "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64,
                    "vocab_size": 97},
}  # fmt: skip
CONDITIONS, NEW_TOKENS, EVERY = 11, 30, 4


def world(work: str, folder: Path, device: str, *, quick: bool) -> World:
    """Build a model of random weights, the same each time, and prompts of random tokens."""
    (kind, sizes), prompts, tokens = WORKS[work]
    sizes = SMALL[kind] if quick else sizes
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, bos_token_id=None, eos_token_id=None, **sizes)
    hf = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    hf.generation_config.eos_token_id = hf.generation_config.pad_token_id = None
    words = {f"w{i}": i for i in range(config.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, "w0")))
    place = folder / f"{work}-{kind}"
    hf.save_pretrained(place)
    tokenizer.save_pretrained(place)
    ids = torch.randint(0, config.vocab_size, (prompts // (8 if quick else 1), tokens))
    return World(LanguageModel(hf.to(device), tokenizer, kind), place, ids.to(device))


def gemm_rate(model: LanguageModel, rows: int) -> float:
    """Return the machine's FLOP/s on a model's own matrix products, one layer after the other.

    Through torch's default or oneDNN, whichever is faster; no norm, no attention, no activation.
    """
    layers = [
        [part for part in model.module(f"{model.arch.layers}.{index}").modules() if _is_map(part)]
        for index in range(model.n_layers)
    ]
    weights = [_weight(part) for layer in layers for part in layer]
    inputs = {w.shape[1]: torch.randn(rows, w.shape[1], device=w.device) for w in weights}
    flops = sum(2 * rows * weight.numel() for weight in weights)

    def through(product: Callable[..., Any]) -> float:
        seconds = []
        for _ in range(4):
            started = clock(weights[0].device)
            for weight in weights:
                product(inputs[weight.shape[1]], weight, None)
            seconds.append(clock(weights[0].device) - started)
        return flops / min(seconds)

    with torch.no_grad():
        return max(through(torch.nn.functional.linear), through(kernels.linear))


def _is_map(module: torch.nn.Module) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D")


def _weight(module: Any) -> torch.Tensor:
    turned = type(module).__name__ == "Conv1D"
    weight: torch.Tensor = module.weight.T if turned else module.weight
    return weight


def limit_flops(shape: Shape, rows: int, tokens: int, heads: list[Head]) -> int:
    """Return the FLOPs of an exact sweep at all positions.

    For a head of layer l: z through W_O and the MLP of layer l, the layers between whole, in the
    last layer keys and values of all tokens and the rest for the last token alone, and one row of
    logits a prompt.
    """
    return sum(shape.run_flops(rows, tokens, tokens, head.layer) for head in heads)


def sampled(heads: list[Head]) -> list[Head]:
    """Return an early, a middle and a late head."""
    return [heads[0], heads[len(heads) // 2], heads[-1]]


def sweep_work(here: World, made: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Time a sweep of all heads, and compare what contenders say of three of them."""
    heads = all_heads(here.model.n_layers, here.model.n_heads)
    # The clean run is counted in every time, so a part of the heads makes emolib look slower.
    every = 1 if here.folder.name.startswith("sweep24") else EVERY
    few, device = sampled(heads), here.ids.device
    logits = {name: dict(one.sweep(few)) for name, one in made.items()}
    apart = {
        name: max(float((found[head] - logits["emolib"][head]).abs().max()) for head in few)
        for name, found in logits.items()
        if name != "emolib"
    }
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, one in made.items():
            chosen = heads[::every] if name.startswith("emolib") else few
            started = clock(device)
            for _head, _logits in one.sweep(chosen):
                pass
            seconds[name].append((clock(device) - started) * len(heads) / len(chosen))
    shape = shape_of(here.model.hf.config, here.model.n_units, "float32")
    rows, tokens = here.ids.shape
    flops, rate = limit_flops(shape, rows, tokens, heads), gemm_rate(here.model, rows * tokens)
    limit = {"tflop": flops / 1e12, "gflop_per_s": rate / 1e9, "seconds": flops / rate}
    return {"heads": len(heads), "apart": apart, "seconds": seconds, "limit": limit}


def generate_work(here: World, made: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Time greedy texts under each of some heads and none."""
    heads: list[Head | None] = [None, *all_heads(here.model.n_layers, here.model.n_heads)]
    conditions = heads[:: max(1, len(heads) // CONDITIONS)][:CONDITIONS]
    able = {name: one for name, one in made.items() if hasattr(one, "generate")}
    few = conditions[:2]
    texts = {name: one.generate(few, NEW_TOKENS) for name, one in able.items()}
    same = [found == texts["emolib"] for found in texts.values()]
    seconds: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, one in able.items():
            chosen = conditions if name == "emolib" else few
            started = clock(here.ids.device)
            one.generate(chosen, NEW_TOKENS)
            spent = clock(here.ids.device) - started
            seconds[name].append(spent * len(conditions) / len(chosen))
    return {"conditions": len(conditions), "same_texts": all(same), "seconds": seconds}


def attribution_work(here: World, made: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Time attribution of all heads beside clean forwards of transformers."""
    ours: Emolib = made["emolib"]
    ours.attribution()
    seconds: dict[str, list[float]] = {"emolib": [], "forward": [], "forward_last": []}
    # Two sides of 64 prompts would be two forwards: the prompts are two sides of half as many.
    side = World(here.model, here.folder, here.ids[: len(here.ids) // 2])
    for _ in range(rounds):
        started = clock(here.ids.device)
        ours.attribution()
        seconds["emolib"].append(clock(here.ids.device) - started)
        for name, whole in (("forward", True), ("forward_last", False)):
            seconds[name].append(contenders.forward_seconds(side, all_logits=whole))
    return {"prompts": len(side.ids), "seconds": seconds}


STEPS = {"generate": generate_work, "attribution": attribution_work}
PACKAGES = ("torch", "transformers", "transformer_lens", "nnsight")


def memory(name: str, folder: Path, *, quick: bool) -> float:
    """Return by how many bytes a contender's memory grows in the sweep at 64 tokens."""
    here = world("sweep64", folder, "cpu", quick=quick)
    one = next(kind for kind in CONTENDERS if kind.name == name)(here)
    heads = all_heads(here.model.n_layers, here.model.n_heads)
    contenders.tidy()
    before, most, done = _rss(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, _rss())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        chosen = heads[:: max(1, len(heads) // 12)] if name == "emolib" else sampled(heads)
        for _ in one.sweep(chosen):
            pass
    finally:
        done.set()
        thread.join()
    return max(most, _rss()) - before


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memories(quick: bool) -> dict[str, float]:
    """Return the working memory of each contender, each in a process of its own."""
    found = {}
    for kind in CONTENDERS:
        command = [sys.executable, __file__, "--memory-of", kind.name]
        done = subprocess.run(
            [*command, *(["--quick"] if quick else [])], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found[kind.name] = float(done.stdout.split()[-1])
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the works and return their figures."""
    results: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {
            p: _version(p) for p in ("torch", "transformers", "transformer_lens", "nnsight")
        },
        "works": {},
    }
    for work in arguments.works:
        with tempfile.TemporaryDirectory() as place:
            here = world(work, Path(place), arguments.device, quick=arguments.quick)
            made: dict[str, Any] = {}
            for kind in CONTENDERS:
                try:
                    made[kind.name] = kind(here)
                except Missing as reason:
                    print(f"{work}: {kind.name} is left out: {reason}")
            if arguments.dtype == "bfloat16" and work == "sweep24":
                half = World(in_half(here.model), here.folder, here.ids)
                made["emolib bf16"] = Emolib(half)
            step = {"generate": generate_work, "attribution": attribution_work}.get(
                work, sweep_work
            )
            results["works"][work] = step(here, made, arguments.rounds)
        if work == "sweep64" and arguments.device == "cpu":
            results["works"][work]["memory"] = memories(arguments.quick)
        contenders.tidy()
    return results


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(results: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    rows = []
    for work, found in results["works"].items():
        medians = {name: statistics.median(times) for name, times in found["seconds"].items()}
        ours = medians.pop("emolib")
        limit = found.get("limit", {}).get("seconds")
        beside = ", ".join(f"{name} {s:.3g} s ({s / ours:.2f}×)" for name, s in medians.items())
        check = "texts alike" if found.get("same_texts") else ""
        if "apart" in found:
            full = max(value for name, value in found["apart"].items() if "bf16" not in name)
            check = f"{full:.1e} logits"
        of_limit = f"{limit:.3g} s ({ours / limit:.2f}×)" if limit else ""
        if "memory" in found:
            sizes = {name: size / 2**20 for name, size in found["memory"].items()}
            rows.append(
                [f"{work}, working memory", f"{sizes.pop('emolib'):.0f} MiB",
                 ", ".join(f"{name} {size:.0f} MiB" for name, size in sizes.items()), "", ""]
            )  # fmt: skip
        rows.append([work, f"{ours:.3g} s", beside, of_limit, check])
    headers = ["work", "emolib", "beside it", "limit of matrix products", "apart"]
    return tabulate(rows, headers, tablefmt="github")


def main() -> None:
    """Run, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--quick", action="store_true", help="tiny models: does it run at all")
    parser.add_argument("--json", type=Path, default=HERE / "engine_speed.json")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        with tempfile.TemporaryDirectory() as place:
            print(memory(arguments.memory_of, Path(place), quick=arguments.quick))
        return
    results = run(arguments)
    print(table(results))
    for work, found in results["works"].items():
        if limit := found.get("limit"):
            print(
                f"{work}: {limit['tflop']:.2f} TFLOP / {limit['gflop_per_s']:.0f} GFLOP/s = "
                f"{limit['seconds']:.1f} s"
            )
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
