"""Circuits through pytest, on models whose answer is known, and rankings from files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from folders import recorded, run_in

from emolib.inputs.heads import Head
from emolib.planted import GAIN, Plan, save_planted

EXPERIMENT = Path(__file__).parents[2] / "experiments/exp_head_circuit.py"
INI = "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n"


def made(folder, count):
    """Write a planted model of 8 heads with its gain split over some, and the experiment."""
    heads = [Head(0, index) for index in range(count)]
    profile = save_planted(folder, Plan(2, 4, dict.fromkeys(heads, GAIN / count), (Head(0, 3),)))
    shutil.copy(EXPERIMENT, folder / EXPERIMENT.name)
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    return f"--profile={profile}"


def ran(folder, *args):
    code, printed = run_in(folder, "-q", "--dtype=float64", "-k", "gratitude", *args)
    assert code == 0, printed
    return recorded(folder / "results/planted")


def of(rows, order, experiment="head_circuit"):
    return [row for row in rows
            if row["experiment"] == experiment and row["labels"].get("order") == order]  # fmt: skip


def known(f):
    """Give F, which is what a bootstrap of the same value on every pair says too."""
    return pytest.approx(f, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "curve"), [(2, [0, 0.574532, 1, 1, 1, 1]), (3, [0, 0.394029, 0.736656, 1, 1, 1])]
)
def test_the_faithfulness_of_heads_that_split_the_gain(tmp_path, count, curve):
    rows = ran(tmp_path, made(tmp_path, count))
    found = of(rows, "ranking")
    assert [row["values"]["k"] for row in found] == [0, 1, 2, 3, 5, 8]
    assert [row["values"]["faithfulness"] for row in found] == known(curve)
    assert [row["values"]["faithfulness_ci_low"] for row in found] == known(curve)
    (own,) = of(rows, "ranking", "circuit_summary")
    assert own["labels"]["circuit"] == "+".join(f"L0H{i}" for i in range(count))
    assert own["values"]["held_out"] == known(1) and own["values"]["rest"] == known(0)
    without = of(rows, "without")
    assert len(without) == count
    for row in without:
        assert row["values"]["loss"] == known(1 - curve[count - 1])
    folder = tmp_path / "results/planted"
    kept = json.loads((folder / "circuits/planted_gratitude.json").read_text("utf-8"))
    assert len(kept["records"]) == len([r for r in rows if r["experiment"] == "head_circuit"])
    assert (folder / "tables/head_circuit.csv").is_file()


def test_scores_are_written_and_read_back_as_a_ranking(tmp_path):
    profile = made(tmp_path, 2)
    first = ran(tmp_path, profile)
    path = tmp_path / "results/planted/circuits/importances_planted_gratitude.json"
    graph = json.loads(path.read_text("utf-8"))
    assert graph["cfg"] == {
        "n_layers": 2, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 64
    }  # fmt: skip
    inside = [name for name, node in graph["nodes"].items() if node["in_graph"]]
    assert inside == ["input", "a0.h0", "a0.h1", "m0", "m1", "logits"]
    assert graph["nodes"]["a0.h0"]["score"] == pytest.approx(graph["nodes"]["a0.h1"]["score"])
    # The first of two weak, all others after them: the planted ones come last.
    graph["nodes"]["a0.h0"]["score"], graph["nodes"]["a0.h1"]["score"] = 1e-9, -2e-9
    for name, node in graph["nodes"].items():
        if "score" in node and name not in ("a0.h0", "a0.h1"):
            node["score"] = 1.0
    own = tmp_path / "own.json"
    own.write_text(json.dumps(graph), encoding="utf-8")
    rows = ran(tmp_path, profile, f"--ranking=gratitude={own}")
    found = of(rows[len(first) :], "ranking")
    assert [row["values"]["faithfulness"] for row in found] == known([0, 0, 0, 0, 0, 1])
    (summary,) = of(rows[len(first) :], "ranking", "circuit_summary")
    assert summary["labels"]["by"] == "own.json" and summary["values"]["k"] == 8
    # The same file again: nothing is left to compute; another order in it: everything is.
    assert len(ran(tmp_path, profile, f"--ranking={own}")) == len(rows)
    graph["nodes"]["a0.h1"]["score"] = 5.0
    own.write_text(json.dumps(graph), encoding="utf-8")
    again = ran(tmp_path, profile, f"--ranking={own}")[len(rows) :]
    assert [row["values"]["faithfulness"] for row in of(again, "ranking")] == known(
        [0, *[0.574532] * 4, 1]
    )


def test_what_becomes_of_heads_outside_is_an_option(tmp_path):
    profile = made(tmp_path, 2)
    rows = ran(tmp_path, profile, "--circuit-ablation=mean")

    def logit_diff(h):
        return (h - 1) / math.sqrt(1 + h**2 / 64)

    one = (logit_diff(4.5) - logit_diff(3)) / (logit_diff(6) - logit_diff(3))
    assert of(rows, "ranking")[1]["values"]["faithfulness"] == known(one)
    (own,) = of(rows, "ranking", "circuit_summary")
    assert own["labels"]["outside"] == "mean"


def test_files_of_scores_are_exported_byte_for_byte(tmp_path):
    from emolib.reporting.export import write_export

    ran(tmp_path, made(tmp_path, 1), "-k", "gratitude and importances")
    folder = tmp_path / "results/planted"
    name = "circuits/importances_planted_gratitude.json"
    write_export(folder, "files", tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
