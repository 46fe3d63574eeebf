"""What results cost as they grow: a run that finds them stored, the report, export and plots.

A small run of an embedded model is kept, and recorded again with other numbers for every head of
larger and larger grids (layers × heads; 3 emotions × 3 ablations, screening, patching), through
the store and the files of a run, without a model. Then each work is done in a process of its own
and its CPU seconds and peak memory are measured (`WORKS`).

Fails where a work grows faster than its items: between the last two sizes cost goes with
items ** exponent, and no exponent may be above 1.1. ``--quick`` takes two small grids and one
emotion.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
TOKENIZER = ROOT / "data" / "models" / "tiny-gpt2" / "tokenizer.json"
EXPERIMENTS = ("exp_head_ablation.py", "exp_head_screening.py", "exp_head_patching.py")
EMOTIONS = ("gratitude", "anger", "apology")
STEEPEST = 1.1
"""The largest exponent of growth that passes."""
WORKS = ("open", "run", "report", "export", "plots")
"""What is measured: the store opened and its keys known; a run of items that are all stored; the
report; frames as csv; the plots. Recording is measured as a grid is built."""
INI = "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n"
PROFILE = """
models = ["{model}"]
emotions = {emotions}
heads = ["all"]
ablations = ["zero", "mean", "resample"]
"""
OPEN = """
import sys
from pathlib import Path
from emolib.results.records import Store

print(sum(1 for key in Store(Path(sys.argv[1]))))
"""


@dataclass(frozen=True)
class Size:
    """A grid of heads."""

    layers: int
    heads: int

    def __str__(self) -> str:
        """Return it as in the table."""
        return f"{self.layers}×{self.heads}"

    @classmethod
    def of(cls, text: str) -> Size:
        """Return the size that a text says, ``24x16``."""
        parts = text.replace("×", "x").split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
            raise argparse.ArgumentTypeError(f"expected LAYERSxHEADS, as in 12x12, got {text!r}")
        return cls(*map(int, parts))


FULL = [Size(4, 4), Size(12, 12), Size(24, 16), Size(32, 32)]
QUICK = [Size(2, 2), Size(4, 4)]


@dataclass(frozen=True)
class Used:
    """What a process used.

    Attributes:
        seconds: CPU time, its own and the system's for it.
        peak: Largest resident set, MB.
    """

    seconds: float
    peak: float


def use(folder: Path, *arguments: str, expects: str = "") -> Used:
    """Run python in a folder and return what it used.

    Raises:
        SystemExit: When it fails, or does not print what is expected.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    paths = [ROOT, ROOT / "plugin", ROOT / "benchmarks", os.environ.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    with (folder / "printed.txt").open("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=env, stdout=printed,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        said = printed.read()
    if process.returncode or expects not in said:
        wanted = f", expected {expects!r}" if expects else ""
        sys.exit(f"{' '.join(arguments)}: exit code {process.returncode}{wanted}\n{said[-4000:]}")
    # macOS counts bytes, others KiB.
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def prepare(folder: Path, model: str, emotions: Sequence[str]) -> None:
    """Make a folder with the experiments and a profile, called ``grid``."""
    (folder / "experiments").mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text(INI)
    for name in EXPERIMENTS:
        shutil.copy(ROOT / "experiments" / name, folder / "experiments")
    profiles = folder / "data" / "profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    said = PROFILE.format(model=model, emotions=json.dumps(list(emotions)))
    (profiles / "grid.toml").write_text(said)


def run(*arguments: str) -> tuple[str, ...]:
    shared = ("-m", "pytest", "experiments", "-q", "-p", "no:cacheprovider", "-p", "replay")
    return (*shared, "--profile", "grid", *arguments)


def keep(folder: Path, rows: Path, emotions: Sequence[str]) -> None:
    """Run the experiments on one head of an embedded model and keep what they record."""
    prepare(folder, "tiny-gpt2", emotions)
    use(folder, *run("--head-spec", "0:2", "--keep-rows", str(rows)), expects="recorded")


def build(folder: Path, rows: Path, size: Size, emotions: Sequence[str]) -> Used:
    """Record every item of a grid of heads and return what that took."""
    prepare(folder, "./model", emotions)
    model = folder / "model"
    model.mkdir(exist_ok=True)
    # A model that is a config alone: of what is stored no run reads more.
    width = {"n_embd": 8 * size.heads, "n_positions": 1024, "vocab_size": 1024}
    shape = {"model_type": "gpt2", "n_layer": size.layers, "n_head": size.heads}
    (model / "config.json").write_text(json.dumps(shape | width))
    (model / "model.safetensors").touch()
    shutil.copy(TOKENIZER, model)
    return use(folder, *run("--replay-rows", str(rows)), expects="recorded")


def items_of(size: Size, emotions: Sequence[str]) -> int:
    """Return how many items a grid has: per head and emotion 3 ablations, scores, patching."""
    return size.layers * size.heads * len(emotions) * 5


def code() -> str:
    """Return the hash of the code that rows are keyed with: rows of other code are no use."""
    from emolib.results.provenance import package_hash

    return package_hash() + package_hash(ROOT / "plugin" / "pytest_emolib")


def works(results: Path, items: int) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield what is measured: name, arguments of python, what it has to print."""
    yield "open", ("-c", OPEN, str(results)), f"{items}\n"
    yield "run", run(), f"{items} items from the store"
    for name, *more in (("report",), ("export", "--format", "csv"), ("plots",)):
        yield name, ("-m", "emolib", name, "--profile", "grid", *more), ""


def measure(
    folder: Path, rows: Path, size: Size, emotions: Sequence[str], chosen: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Used]]:
    """Return what a grid has and what each work on it used; it is built where it is not there.

    Only a run goes by keys: the other works take results of other code, too.
    """
    built, items = folder / "built.json", items_of(size, emotions)
    made = json.loads(built.read_text()) if built.exists() else {}
    if not made or ("run" in chosen and made["code"] != code()):
        shutil.rmtree(folder, ignore_errors=True)
        used = build(folder, rows, size, emotions)
        made = {"code": code(), "seconds": used.seconds, "peak": used.peak}
        built.write_text(json.dumps(made))
    found = {"recording": Used(made["seconds"], made["peak"])}
    results = folder / "results" / "grid"
    files = [path for path in results.rglob("*") if path.is_file()]
    has = {
        "items": items,
        "MB": round(sum(path.stat().st_size for path in files) / 1e6),
        "files": len(files),
    }
    for name, arguments, expects in works(results, items):
        if name in chosen:
            found[name] = use(folder, *arguments, expects=expects)
            print(f"{size} {name}: {found[name].seconds:.1f} s", file=sys.stderr, flush=True)
    return has, found


def exponent(before: float, after: float, items: Sequence[int]) -> float:
    """Return the power of the number of items with which a cost grows."""
    return math.log(after / before) / math.log(items[-1] / items[-2])


def report(
    sizes: Sequence[Size], found: Sequence[tuple[dict[str, Any], dict[str, Used]]]
) -> list[str]:
    """Print the table; return the works that grow too fast."""
    items = [has["items"] for has, _ in found]
    lines = [[name, *(str(has[name]) for has, _ in found), ""] for name in found[0][0]]
    steep = []
    for work in found[0][1]:
        used = [one[work] for _, one in found]
        cells = [f"{one.seconds:.1f} / {one.peak:.0f}" for one in used]
        powers = ["", ""]
        if len(used) > 1:
            seconds, peaks = [one.seconds for one in used], [one.peak for one in used]
            grown = [exponent(*costs[-2:], items) for costs in (seconds, peaks)]
            powers = [f"{power:.2f}" for power in grown]
            if max(grown) > STEEPEST:
                steep.append(f"{work}: items ** {max(grown):.2f}")
        lines.append([f"{work}, CPU s / RSS MB", *cells, " / ".join(powers)])
    headers = ["", *map(str, sizes), "exponent at the end"]
    print(tabulate(lines, headers, tablefmt="github", disable_numparse=True))
    return steep


def main() -> int:
    """Build, measure and print; 1 where something grows too fast."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small: to see that it works")
    parser.add_argument("--sizes", type=Size.of, nargs="+", metavar="LAYERSxHEADS")
    parser.add_argument("--works", choices=WORKS, nargs="+", default=WORKS, help="default: all")
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep what is built there, each grid in a folder of its name, and use what is there",
    )
    options = parser.parse_args()
    sizes = sorted(
        options.sizes or (QUICK if options.quick else FULL), key=lambda s: s.layers * s.heads
    )
    emotions = EMOTIONS[:1] if options.quick else EMOTIONS
    with tempfile.TemporaryDirectory() as place:
        folder = (options.folder or Path(place)).resolve()
        rows = folder / "rows.jsonl"
        if not rows.exists():
            keep(folder / "kept", rows, emotions)
        found = [
            measure(folder / f"{s.layers}x{s.heads}", rows, s, emotions, options.works)
            for s in sizes
        ]
    if steep := report(sizes, found):
        print("grows faster than its items: " + "; ".join(steep), file=sys.stderr)
    return 1 if steep else 0


if __name__ == "__main__":
    sys.exit(main())
