"""The benchmark of the engine runs, and its contenders say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "engine_speed.py"


def test_the_benchmark_runs_and_its_contenders_agree(tmp_path):
    made = tmp_path / "speed.json"
    works = ["sweep24", "llama135", "generate", "attribution"]
    options = ["--quick", "--rounds", "1", "--threads", "1", "--json", str(made)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--dtype", "bfloat16", "--works", *works],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(made.read_text())["works"]
    assert list(found) == works
    for work in works[:2]:
        apart = found[work]["apart"]
        assert apart["transformers"] < 1e-5
        assert found[work]["seconds"]["emolib"][0] > 0 and found[work]["limit"]["tflop"] > 0
    assert 1e-5 < found["sweep24"]["apart"]["emolib bf16"] < 0.1
    assert found["generate"]["same_texts"] and found["attribution"]["prompts"] == 4
    assert "| sweep24" in done.stdout and "GFLOP/s" in done.stdout
