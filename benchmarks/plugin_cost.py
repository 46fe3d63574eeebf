"""What the plugin costs: time and memory an item, collection, and what workers share.

Both sides of each comparison run in turn, in one session, and medians are compared. ``--quick``
takes a tenth of the items, one round and a small model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from emolib.results.records import Store

EMBEDDED = Path(__file__).parents[1] / "data" / "models" / "tiny-gpt2"
OFF = ["-p", "no:pytest_emolib"]
TESTS = """
import pytest

@pytest.mark.parametrize("i", range({items}))
def test_nothing(i):
    pass
"""
RECORDING = """
import pytest

@pytest.mark.parametrize("i", range({items}))
def exp_numbers(i, record):
    record(a=i, b=i + 1, c=i + 2, d=i + 3, e=i + 4)
"""
HEADS = """
def exp_heads(run, head, record):
    pass
"""
# One forward reads all weights; then workers wait for each other, so that they are there at once.
WORKING = """
import time
import torch

def exp_working(model, emotion, record):
    with torch.no_grad():
        model.hf(torch.arange(8 * 24).view(8, 24))
    record(threads=torch.get_num_threads())
    time.sleep(3)
"""


@dataclass(frozen=True)
class Size:
    """How much is run."""

    items: int
    rounds: int
    layers: int
    width: int


FULL, QUICK = Size(10_000, 5, 12, 768), Size(1_000, 1, 4, 96)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]


def seconds(folder: Path, env: dict[str, str], *arguments: str) -> float:
    # What earlier runs recorded would be read.
    shutil.rmtree(folder / "results", ignore_errors=True)
    started = time.perf_counter()
    subprocess.run(command(*arguments), cwd=folder, env=env, capture_output=True, check=True)
    return time.perf_counter() - started


def compare(
    folder: Path, env: dict[str, str], bare: list[str], ours: list[str], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of both, run in turn."""
    seconds(folder, env, *bare)
    seconds(folder, env, *ours)
    times = [(seconds(folder, env, *bare), seconds(folder, env, *ours)) for _ in range(rounds)]
    first, second = zip(*times, strict=True)
    return statistics.median(first), statistics.median(second)


def timings(folder: Path, env: dict[str, str], size: Size) -> str:
    nothing = ["test_nothing.py"]
    works = (
        ("pytest --help", ["--help"], ["--help"], 1),
        (f"{size.items} empty tests, per item", nothing, nothing, size.items),
        (
            f"{size.items} items of five values, per item",
            nothing,
            ["exp_numbers.py", "--fresh"],
            size.items,
        ),
        (
            f"{size.items} head items, collected",
            ["--collect-only", *nothing],
            ["--collect-only", "--profile", "heads", "exp_heads.py"],
            1,
        ),
    )
    rows = []
    for name, bare, ours, per in works:
        found = compare(folder, env, [*OFF, *bare], ours, size.rounds)
        without, with_plugin = (1e3 * seconds / per for seconds in found)
        rows.append([name, without, with_plugin, with_plugin - without, with_plugin / without])
    headers = ["time", "bare (ms)", "with emolib (ms)", "more (ms)", "ratio"]
    return tabulate(rows, headers, floatfmt=".3f")


def peak(folder: Path, env: dict[str, str], *arguments: str) -> float:
    """Return the peak RSS of a run in KiB."""
    process = subprocess.Popen(command(*arguments), cwd=folder, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return float(usage.ru_maxrss)


def growth(folder: Path, env: dict[str, str], size: Size) -> str:
    """Return the table of what an item adds to the peak RSS, from runs of two lengths."""
    few, many = size.items // 5, size.items
    shutil.rmtree(folder / "results", ignore_errors=True)
    (folder / "few").mkdir()
    write(folder / "few", few)
    found = {}
    for name, arguments in (
        ("bare", [*OFF, "test_nothing.py"]),
        ("with emolib", ["exp_numbers.py", "--fresh"]),
    ):
        ends = [peak(folder / "few", env, *arguments), peak(folder, env, *arguments)]
        found[name] = [*(end / 1024 for end in ends), (ends[1] - ends[0]) / (many - few)]
    rows = [[name, *values] for name, values in found.items()]
    headers = ["peak RSS", f"{few} items (MiB)", f"{many} items (MiB)", "an item (KiB)"]
    return tabulate(rows, headers, floatfmt=".2f")


def workers(folder: Path, env: dict[str, str], size: Size) -> str:
    """Return the table of the memory that workers use which hold a model, each and together."""
    save_model(folder / "shaped", size)
    rows, alone = [], 0.0
    for count in (1, 2):
        shutil.rmtree(folder / "results", ignore_errors=True)
        each, together = watch(folder, env, "-n", str(count), "--profile", "shaped",
                               "exp_working.py", "--fresh")  # fmt: skip
        alone = alone or each
        threads = {
            row.values["threads"]
            for row in Store(folder / "results/shaped").rows()
            if row.dims["model"] == "shaped"
        }
        rows.append([count, each, together, together / alone, "/".join(map(str, threads))])
    weights = (folder / "shaped/model.safetensors").stat().st_size / 2**20
    headers = ["workers", "RSS of one (MiB)", "all, unique (MiB)", "of one worker's RSS", "threads"]
    table = tabulate(rows, headers, floatfmt=".2f")
    return f"{table}\n(peaks; weights {weights:.0f} MiB, {os.cpu_count()} cores)"


def watch(folder: Path, env: dict[str, str], *arguments: str) -> tuple[float, float]:
    """Return the peak RSS of any worker and the peak of the PSS of all, in MiB.

    A page that n processes map counts 1/n in the PSS of each, so that sums count it once.
    """
    process = subprocess.Popen(command(*arguments), cwd=folder, env=env, stdout=subprocess.DEVNULL)
    each = together = 0.0
    while process.poll() is None:
        found = [memory(pid) for pid in children(process.pid)]
        each = max([each, *(rss for rss, _ in found)])
        together = max(together, sum(pss for _, pss in found))
        time.sleep(0.05)
    assert process.returncode == 0, arguments
    return each, together


def children(pid: int) -> Iterator[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return
    yield from map(int, text.split())


def memory(pid: int) -> tuple[float, float]:
    """Return the RSS and the PSS of a process in MiB, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0.0, 0.0
    sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in lines}
    return sizes.get("Rss:", 0.0), sizes.get("Pss:", 0.0)


def save_model(folder: Path, size: Size) -> None:
    """Write a model of GPT-2's shape, with weights at random and the embedded tokenizer.

    In a process of its own: torch would stay in this one.
    """
    config = {"n_layer": size.layers, "n_embd": size.width, "n_head": 12, "vocab_size": 50257}
    script = (
        "import sys, transformers as t; "
        f"t.GPT2LMHeadModel(t.GPT2Config(**{config})).save_pretrained(sys.argv[1])"
    )
    done = [sys.executable, "-c", script, str(folder)]
    subprocess.run(done, check=True, capture_output=True)
    for path in EMBEDDED.glob("tokenizer*"):
        shutil.copy(path, folder)


def write(folder: Path, items: int) -> None:
    (folder / "pytest.ini").write_text(
        "[pytest]\npython_files = exp_*.py test_*.py\npython_functions = exp_* test_*\n"
    )
    (folder / "test_nothing.py").write_text(TESTS.format(items=items))
    (folder / "exp_numbers.py").write_text(RECORDING.format(items=items))


def write_heads(folder: Path, items: int) -> None:
    """Write a model that is a config alone: collecting reads no more of it."""
    model = folder / "heads"
    model.mkdir()
    config = {"model_type": "gpt2", "n_layer": items // 100, "n_head": 100, "n_embd": 6400}
    (model / "config.json").write_text(json.dumps(config))
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").touch()
    (folder / "exp_heads.py").write_text(HEADS)
    (folder / "exp_working.py").write_text(WORKING)
    profiles = folder / "data" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "heads.toml").write_text(
        'models = ["./heads"]\nemotions = ["gratitude"]\nheads = ["all"]\n'
    )
    (profiles / "shaped.toml").write_text(
        'models = ["./shaped"]\nemotions = ["gratitude", "anger"]\n'
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small: to see that it works")
    size = QUICK if parser.parse_args().quick else FULL
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "work"
        folder.mkdir()
        write(folder, size.items)
        write_heads(folder, size.items)
        # As where it is installed: what is compiled is kept, and threads are the plugin's to set.
        env = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(place) / "compiled")}
        for name in ("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            env.pop(name, None)
        print(timings(folder, env, size), end="\n\n", flush=True)
        print(growth(folder, env, size), end="\n\n", flush=True)
        if Path("/proc/self/smaps_rollup").exists():
            print(workers(folder, env, size))
        else:
            print("workers: no /proc/self/smaps_rollup here, so their memory is not measured")


if __name__ == "__main__":
    main()
