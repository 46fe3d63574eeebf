"""What ``--plan`` promises beside what then runs: peak memory of the process, and seconds.

Each work is planned and then run, one process each, of one emotion; the peak is that of the
process's resident memory, the seconds are those on the clock from start to end. Goals: the peak
within 25 %, the seconds within a factor of 1.5.

python benchmarks/plan_truth.py [--models tiny-gpt2 gpt2-small ./model.gguf] [--works zero …]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from tabulate import tabulate

from emolib.files import data_root

WORKS: dict[str, list[str]] = {
    "screening": ["exp_head_screening.py"],
    "zero": ["exp_head_ablation.py", "--ablation", "zero"],
    "mean": ["exp_head_ablation.py", "--ablation", "mean"],
    "resample": ["exp_head_ablation.py", "--ablation", "resample"],
    "patching": ["exp_head_patching.py"],
    "units": ["exp_unit_screening.py"],
}
"""By name: the experiment and its options."""
SMALL = "gpt2-small"
"""A model of random weights of the shape of GPT-2 small, with the tokenizer of an embedded one."""
MEGABYTE, WITHIN_PEAK, WITHIN_SECONDS = 1e6, 0.25, 1.5
HEADERS = ("model", "work", "items", "MB planned", "MB", "ratio", "s planned", "s", "ratio")


def small(folder: Path) -> Path:
    """Write a model of the shape of GPT-2 small with random weights."""
    place = folder / SMALL
    torch.manual_seed(0)
    config = transformers.GPT2Config(bos_token_id=None, eos_token_id=None)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(data_root() / "models/tiny-gpt2")
    tokenizer.save_pretrained(place)
    return place


def measured(command: list[str]) -> tuple[str, float, float]:
    """Return what a command prints, its seconds and its peak of resident memory in MB."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said[-2000:]}")
    # Of Linux in kilobytes, of macOS in bytes.
    scale = 1 if sys.platform == "darwin" else 1024
    return said, seconds, usage.ru_maxrss * scale / MEGABYTE


def compared(model: str, work: str, folder: Path, more: list[str]) -> list[object]:
    """Return a line of the table."""
    experiment, *options = WORKS[work]
    command = [sys.executable, "-m", "pytest", f"experiments/{experiment}", *options, *more]
    command += ["--model", model, "-k", "gratitude", "-q", "--fresh", "-p", "no:cacheprovider"]
    command += ["--results-dir", str(folder / f"{Path(model).stem}-{work}")]
    planned, _, _ = measured([*command, "--plan", "--table-format", "tsv"])
    cells = next(line for line in planned.splitlines() if line.startswith(Path(model).stem))
    _, items, *_, seconds, megabytes = re.split(r"\s*\t\s*", cells.strip())
    _, took, peak = measured(command)
    promised, expected = float(megabytes), float(seconds)
    ratios = peak / promised, took / expected
    return [Path(model).stem, work, items, promised, peak, ratios[0], expected, took, ratios[1]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny-gpt2", SMALL])
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=WORKS)
    parser.add_argument("--more", nargs="+", default=[], help="more options, as head-spec=layer:0")
    given = parser.parse_args()
    more = [f"--{option}" for option in given.more]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in given.models:
            place = str(small(folder)) if model == SMALL else model
            for work in given.works:
                rows.append(compared(place, work, folder, more))
                print(*rows[-1], flush=True)
    formats = ("", "", "", ".0f", ".0f", ".2f", ".1f", ".1f", ".2f")
    print(tabulate(rows, HEADERS, tablefmt="github", floatfmt=formats))
    missed = [
        f"{row[0]} {row[1]}"
        for row in rows
        if abs(float(str(row[5])) - 1) > WITHIN_PEAK
        or not 1 / WITHIN_SECONDS <= float(str(row[8])) <= WITHIN_SECONDS
    ]
    print("off:", ", ".join(missed) or "none")


if __name__ == "__main__":
    main()
