"""What the plugin costs where no experiment runs, and what it costs an experiment.

Both sides of each comparison run in turn, in one session, and medians are compared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

ROUNDS = 9
ITEMS = 1000
OFF = ["-p", "no:pytest_emolib"]
TESTS = f"""
import pytest

@pytest.mark.parametrize("i", range({ITEMS}))
def test_nothing(i):
    pass
"""
RECORDING = f"""
import pytest

@pytest.mark.parametrize("i", range({ITEMS}))
def exp_numbers(i, record):
    record(a=i, b=i + 1, c=i + 2, d=i + 3, e=i + 4)
"""


def seconds(folder: Path, *arguments: str) -> float:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, check=True)
    return time.perf_counter() - started


def compare(folder: Path, bare: list[str], ours: list[str], rounds: int) -> tuple[float, float]:
    """Return the median seconds of both, run in turn."""
    seconds(folder, *bare)
    seconds(folder, *ours)
    times = [(seconds(folder, *bare), seconds(folder, *ours)) for _ in range(rounds)]
    first, second = zip(*times, strict=True)
    return statistics.median(first), statistics.median(second)


def main() -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pytest.ini").write_text(
            "[pytest]\npython_files = exp_*.py test_*.py\npython_functions = exp_* test_*\n"
        )
        (folder / "test_nothing.py").write_text(TESTS)
        (folder / "exp_numbers.py").write_text(RECORDING)
        for name, bare, ours, rounds, per in (
            ("pytest --help", [*OFF, "--help"], ["--help"], ROUNDS, 1),
            (
                f"{ITEMS} empty tests, per item",
                [*OFF, "-q", "test_nothing.py"],
                ["-q", "test_nothing.py"],
                5,
                ITEMS,
            ),
            (
                f"{ITEMS} items of five values, per item",
                [*OFF, "-q", "test_nothing.py"],
                ["-q", "exp_numbers.py", "--fresh"],
                5,
                ITEMS,
            ),
        ):
            without, with_plugin = (1e3 * s / per for s in compare(folder, bare, ours, rounds))
            rows.append([name, without, with_plugin, with_plugin - without, with_plugin / without])
    headers = ["", "bare (ms)", "with emolib (ms)", "more (ms)", "ratio"]
    print(tabulate(rows, headers, floatfmt=".3f"))


if __name__ == "__main__":
    main()
