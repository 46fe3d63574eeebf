"""The section on probes: what is there beside what is used, from rows as a store gives them."""

from __future__ import annotations

import re

import pytest
from made import HOSTILE, around, lines_of, rows_of

from emolib.reporting.report_probes import probes, q_values

BOTH = [-1.0, 1.0] * 4


def row(heads, accuracy, p, effect, **more):
    known = None if accuracy is None else around(accuracy)
    record = {"accuracy": known, "auroc": known, "p": p, "which_accuracy": known,
              "which_p": p, "logit_diff": effect}  # fmt: skip
    return rows_of("head_probe", record | more, heads=heads)[0]


def test_heads_by_area_with_q_and_effect():
    rows = [
        row("L0H0", 0.5, 0.6, around(-4.0)),
        row("L0H1", 0.9, 0.01, BOTH),
        row("L1H1", None, None, around(0.0), why_no_accuracy="z is the same on all prompts"),
        row("L1H0", 0.8, 0.02, around(1.0)),
    ]
    text = "\n".join(probes(rows, 2))
    assert "No probe, since z is the same on all prompts: L1H1." in text
    assert "Told with q < 0.05: 2 of 3 heads tested; of these without an effect" in text
    assert text.count("(its 95 % CI holds 0): L0H1.") == 1
    assert "Rank correlation of AUROC with |Δ logit_diff| over 3 heads -1." in text
    first, second = lines_of(text)
    assert (first["head"], second["head"]) == ("L0H1", "L1H0")
    assert first["accuracy"].startswith("0.935 [") and first["AUROC"] == "0.935"
    assert (first["p"], first["q"], second["q"]) == ("0.010", "0.030", "0.030")
    assert second["Δ logit_diff"].startswith("1.035 [") and "other file" not in first


def test_q_is_over_those_that_no_rank_chose():
    rows = [row("L0H0", 0.9, 0.01, BOTH, spec="top1"), row("L0H1", 0.9, 0.02, BOTH),
            row("L1H0", 0.6, 0.5, BOTH), row("L1H1", None, None, BOTH)]  # fmt: skip
    assert [q_values(rows)[one.item, 0] for one in rows[1:3]] == pytest.approx([0.04, 0.5])
    assert len(q_values(rows)) == 2 and q_values(rows[:1]) == {}


def test_another_file_stands_beside():
    (line,) = lines_of("\n".join(probes([row("L0H0", 0.9, 0.01, BOTH, test_accuracy=0.75,
                                             test_p=0.03)], 5)))  # fmt: skip
    assert (line["other file"], line["other file: p"]) == ("0.750", "0.030")


def test_where_all_z_is_constant_there_is_no_table():
    text = "\n".join(probes([row("L0H0", None, None, BOTH, why_no_accuracy="z is the same")], 5))
    assert "No probe" in text and "|" not in text.split("### one, joy")[1]


def test_without_rows_the_command_is_named():
    assert "Not run: `pytest experiments/exp_head_probe.py`." in "\n".join(probes([], 5))


def test_hostile_names_break_nothing():
    text = "\n".join(probes([row(HOSTILE, 0.9, 0.01, BOTH)], 5))
    assert not re.search(r"<(b|i|script)>", text) and len(lines_of(text)) == 1
