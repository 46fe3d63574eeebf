"""What screening may have missed, in a run: told below the table, in rows, files and the report."""

from __future__ import annotations

import csv
import json

import pytest

SCREENING = """
import pytest


@pytest.mark.results("alignment/head_scores_{model}.json", shape="scores")
def exp_head_screening(screening, head, record):
    record(**screening.of(head))
"""


@pytest.mark.parametrize(
    ("verify", "drawn", "said"),
    [
        ("3", 10, "at most 1 of 13 unverified heads exceed * logits (95 %)"),
        ("all", 11, "every one of the 11 other heads was verified: none exceeds * logits"),
    ],
)
def test_it_stands_wherever_the_scores_do(folder, verify, drawn, said):
    folder.write("exp_effect.py", SCREENING)
    result = folder.pytest(
        "--tables", "all", "--verify", verify, "--head-spec", "layer:2", "--head-spec", "layer:0"
    )
    result.stdout.fnmatch_lines([f"tiny-neo, gratitude: {said}"])
    rows = folder.rows()
    assert len(rows) == 8
    (missed,) = {row["labels"]["missed"] for row in rows}
    for row in rows:
        values = row["values"]
        assert values["missed_drawn"] == drawn and row["provenance"]["verify"] in (3, "all")
    heads = 16 if verify == "all" else 3 + drawn
    known = [row["values"]["patch_denoise"] for row in rows]
    assert all(known) if heads == 16 else any(known)
    with folder.results("tables/head_screening.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["missed"] for line in lines} == {missed}
    assert all(float(line["atp_ig_p"]) <= float(line["atp_ig_max_t"]) for line in lines)
    scores = json.loads(folder.results("alignment/head_scores_tiny-neo.json").read_text())
    assert scores["rankings"]["gratitude"]["missed"] == missed
