"""Sections of the report on heads: constants, both ways of patching, controls."""

from __future__ import annotations

import re

from made import around, make_results, rows_of

from emolib.reporting.report_heads import ablation, controls, patching, screening
from emolib.results.records import Store
from emolib.results.rows import Row


def constant(zero, mean, resample=None, ci=(0.9, 1.1)):
    """Return the section on one head whose kinds of ablation have these effects."""
    effects = {"zero": zero, "mean": mean, "resample": resample}
    rows = [
        Row("i", "head_ablation", "k", 0, 1, {"heads": "L0H0", "ablation": kind},
            values={"logit_diff": {"mean": effect, "ci": sorted(effect * c for c in ci)}})
        for kind, effect in effects.items() if effect is not None
    ]  # fmt: skip
    return re.search(r"^\| L0H0 .*", "\n".join(ablation(rows, 10)), re.MULTILINE)[0]


def test_a_constant_counts_under_zero_alone():
    assert constant(-2.0, 0.1, -0.1).endswith("| constant |")
    assert constant(-2.0, 0.1).endswith("| constant |")
    assert "constant" not in constant(-2.0, 0.1, -1.5)
    assert "constant" not in constant(-2.0, -0.5, 0.0)
    assert "constant" not in constant(-2.0, 0.1, 0.1, ci=(-0.2, 2.0))


def test_patching_has_both_directions_and_positions_side_by_side(tmp_path):
    store = Store(make_results(tmp_path, models=("one",), emotions=("joy",)))
    rows = list(store.whole_rows("head_patching"))
    for row in rows:
        sign = {"denoise": 1, "noise": -1}[row.labels["direction"]]
        row.values["recovery"] = sign * {"last": 0.5, "slot": 0.125}[row.labels["position"]]
    text = "\n".join(patching(rows, 1))
    line = re.search(r"^\| L1H0 .*\]", text, re.MULTILINE)[0]
    cells = re.findall(r"(-?[\d.]+) \[", line)
    assert float(cells[0]) == -float(cells[1]) > 1.5
    assert re.search(r"\| L1H0 +\| denoise +\| 0\.500 +\| 0\.125 +\|", text)
    assert re.search(r"\| L1H0 +\| noise +\| -0\.500 +\| -0\.125 +\|", text)
    assert "noise: Δ joy words" in text and not re.search(r"^\| L0H", text, re.MULTILINE)


def test_controls_stand_beside_the_effects_without_a_q():
    record = {"head": "L0H2", "other_head": "L0H0", "denoise": around(10.0),
              "same_layer": around(0.0), "shuffled_labels": around(-0.05),
              "lexical": None}  # fmt: skip
    weaker = record | {"head": "L1H0", "denoise": around(1.0)}
    text = "\n".join(controls(rows_of("head_controls", weaker, record), 10))
    assert re.findall(r"\| (L\dH\d) +\| L0H0 ", text) == ["L0H2", "L1H0"]
    assert re.search(r"\| L0H0 +\| 10\.035 \[.*\] +\| 0\.035 \[", text) and "| q " not in text
    assert "Not run: `pytest experiments/exp_head_controls.py`." in "\n".join(controls([], 10))


def test_screening_says_what_it_may_have_missed():
    record = {"atp_ig": around(3.0), "reliability": 0.9, "rank_correlation": 0.8,
              "missed": "at most 1 of 11 unverified heads exceed 0.03 logits (95 %)"}  # fmt: skip
    rows = rows_of("head_screening", record, heads="L0H2")
    text = "\n".join(screening(rows, 10))
    assert "Verified: at most 1 of 11 unverified heads exceed 0.03 logits (95 %)." in text
    del record["missed"]
    assert "Verified:" not in "\n".join(
        screening(rows_of("head_screening", record, heads="L0"), 10)
    )
