"""Tables for papers: what is printed of a row, and text that LaTeX takes as text."""

from __future__ import annotations

from made import FEW, around, rows_of

from emolib.reporting.latex import LATEX, paper_lines
from emolib.reporting.spool import write_table
from emolib.results.blocks import Block


def lines_of(rows, more=None):
    return [dict(block.constants) for block in paper_lines(rows, more or {})]


def test_numbers_are_short_and_gaps_are_left(tmp_path):
    lines = [{"a[": 0.12345678, "b": None}, {"b": "x\n\ny\x1b", "a[": -12.0}]
    assert write_table((Block(1, line, {}) for line in lines), tmp_path / "x.tex", LATEX)
    shown = (tmp_path / "x.tex").read_text("utf-8").splitlines()
    assert shown[2:] == [
        r"\toprule", r"a{[} & b \\", r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot",
        r"0.12 &  \\", r"\ensuremath{-}12.00 & x y" + "\ufffd" + r" \\", r"\end{longtable}",
    ]  # fmt: skip


def test_the_first_vector_has_its_interval_and_what_was_tested():
    record = {"rank": 1, "logit_diff": around(-6.0), "kl": around(1.0), "why_no_dla": "of no use"}
    (row,) = rows_of("head_ablation", record, heads="L0H0")
    (line,) = lines_of([row], {(row.item, 0): {"logit_diff_q": 0.0004}})
    low, high = row.interval("logit_diff")
    shown = f"{row.mean('logit_diff'):.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert line == {
        "model": "one", "emotion": "joy", "heads": "L0H0", "rank": 1,
        "Δ logit_diff [95 % CI]": shown, "d_z": row.values["logit_diff"]["d_z"], "q": "<0.001",
        "KL": row.mean("kl"),
    }  # fmt: skip


def test_a_number_with_an_interval_of_its_own_has_it_in_every_row():
    first = {"order": "ranking", "k": 2, "held_out": 0.85, "held_out_ci_low": 0.8,
             "held_out_ci_high": 0.9, "chosen": 0.8}  # fmt: skip
    lines = lines_of(rows_of("circuit_summary", first, {"order": "random", "cpr": 0.5}))
    assert [line["F, held out [95 % CI]"] for line in lines] == ["0.85 [0.80, 0.90]", ""]
    assert lines[0]["F, choosing half"] == 0.8 and lines[1]["F, choosing half"] is None


def test_few_metrics_are_printed_and_ones_own_by_their_names():
    record = {f"own_{i}": [float(i)] * FEW for i in range(9)}
    (line,) = lines_of(rows_of("mine", record, heads="L0H0"))
    assert [name for name in line if name.startswith("own")] == [
        "own_0 [95 % CI]", "own_1", "own_2", "own_3", "own_4"
    ]  # fmt: skip
