"""The benchmarks run; those of the engine say the same, that of growth fails where it should."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "engine_speed.py"


@pytest.mark.slow
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


@pytest.fixture
def benchmark(monkeypatch):
    """Give a function that imports one of the benchmarks."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module


@pytest.mark.parametrize(("power", "steep"), [(0.5, False), (1.05, False), (1.2, True), (2, True)])
def test_what_grows_faster_than_its_items_is_named(benchmark, capsys, power, steep):
    scale = benchmark("scale")
    sizes = [scale.Size(4, 4), scale.Size(12, 12), scale.Size(24, 16)]
    found = [
        (
            {"items": size.layers * size.heads, "MB": 1, "files": 2},
            {
                "plots": scale.Used((size.layers * size.heads) ** power, 50.0),
                "report": scale.Used(3.0, float(size.layers * size.heads)),
            },
        )
        for size in sizes
    ]
    named = scale.report(sizes, found)
    assert named == ([f"plots: items ** {power:.2f}"] if steep else [])
    table = capsys.readouterr().out
    assert f"{power:.2f} / 0.00" in table and "0.00 / 1.00" in table and "24×16" in table


def test_a_size_is_layers_and_heads(benchmark):
    scale = benchmark("scale")
    assert scale.Size.of("24x16") == scale.Size.of("24×16") == scale.Size(24, 16)
    for wrong in ("24", "0x4", "ax4", "1x2x3"):
        with pytest.raises(argparse.ArgumentTypeError, match="LAYERSxHEADS"):
            scale.Size.of(wrong)


def test_rows_that_are_replayed_have_numbers_of_their_own(benchmark):
    replay = benchmark("replay")
    vector = [0.5, -1.0, 2.0, 0.25]
    summary = {"mean": 0.4375, "ci": [-1, 2], "n": 4, "sd": 1.2, "d_z": 0.36, "g_z": 0.26}
    row = {
        "labels": {"direction": "noise"},
        "values": {"rank": 3, "effect": summary, "none": None, "alone": 0.5},
        "vectors": {"effect": vector},
        "texts": {"text": ["a", "b", "c", "d"]},
    }
    made = [replay.varied(row, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    for one in made:
        assert one["texts"] == row["texts"] and list(one["values"]) == list(row["values"])
        new = one["values"]["effect"]
        assert new["mean"] == pytest.approx(np.mean(one["vectors"]["effect"])) and new["n"] == 4
        assert new["sd"] == pytest.approx(np.std(one["vectors"]["effect"], ddof=1))
        assert new["ci"][0] < new["mean"] < new["ci"][1]
        assert one["values"]["rank"] == 3 and one["values"]["alone"] != 0.5


@pytest.mark.slow
def test_growth_is_measured_from_recording_to_plots(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT.parent / "scale.py"), "--quick", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].split(",")[0].strip() for line in done.stdout.splitlines()]
    works = ["recording", "open", "run", "report", "export", "plots"]
    assert rows[2:] == ["items", "MB", "files", *works]
    assert "| 20 " in done.stdout and "| 80 " in done.stdout
