"""Scores of heads in the form of circuit benchmarks, written from rows and read as a ranking."""

from __future__ import annotations

import json

from emolib.inputs.heads import Head
from emolib.inputs.rankings import load_ranking
from emolib.results.importances import importances_file
from emolib.results.item_files import is_of, write_output
from emolib.results.rows import Row

SCORES = {Head(0, 0): 0.5, Head(0, 1): -2.0, Head(1, 0): 0.0, Head(1, 1): 1.0}


def rows(path="circuits/importances_tiny_joy.json"):
    return [
        Row(
            "exp_x.py::exp_head_importances[tiny-joy]", "head_importances", "0123", i, 4,
            {"model": "tiny", "emotion": "joy"},
            labels={"head": str(head), "by": "|atp_ig|", "parallel": "yes"},
            values={"importance": score, "in_circuit": int(abs(score) > 0.9), "d_model": 32},
            output={"path": path, "shape": "importances"},
            provenance={"shape": {"layers": 2, "heads": 2}, "seed": 0}, time="2026",
        )
        for i, (head, score) in enumerate(SCORES.items())
    ]  # fmt: skip


def test_a_graph_of_nodes_alone():
    made = importances_file(rows())
    assert made["cfg"] == {
        "n_layers": 2, "n_heads": 2, "parallel_attn_mlp": True, "d_model": 32
    }  # fmt: skip
    assert list(made["nodes"]) == [
        "input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1", "logits"
    ]  # fmt: skip
    assert made["nodes"]["a0.h1"] == {"in_graph": True, "score": -2.0}
    assert made["nodes"]["a1.h0"] == {"in_graph": False, "score": 0.0}
    # Without a score: never taken out.
    assert made["nodes"]["m0"] == {"in_graph": True} == made["nodes"]["input"]
    assert made["edges"] == {} and made["provenance"] == rows()[0].provenance | {"time": "2026"}


def test_it_is_read_back_as_a_ranking(tmp_path):
    path = write_output(tmp_path, rows(), ())
    assert path == tmp_path / "circuits/importances_tiny_joy.json"
    assert is_of(path, "0123") and json.loads(path.read_text("utf-8"))["by"] == "|atp_ig|"
    found = load_ranking(path, "tiny", 2, 2, range(2))
    assert found.heads == (Head(0, 1), Head(1, 1), Head(0, 0), Head(1, 0))
    assert found.scores == tuple(SCORES[head] for head in found.heads)
