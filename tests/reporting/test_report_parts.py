"""What the sections of the report share: headings that names cannot break, tables of anything."""

from __future__ import annotations

import re

from made import HOSTILE, around, changed, lines_of, rows_of, told, whole

from emolib.reporting.report import write_report
from emolib.reporting.report_parts import heading, missing, named, q_of, strongest_rows, title
from emolib.results.selection import StudyKey


def test_names_break_neither_tables_nor_headings(tmp_path):
    def renamed(row):
        row["dims"] |= {"model": "a|<b>_c_", "heads": row["dims"]["heads"]}
        row["provenance"]["model"]["id"] = "x|`y`"
        return row

    path = write_report(changed(tmp_path, renamed))
    text = whole(path)
    assert "<b>" not in text and r"### a\|&lt;b&gt;\_c\_, joy" in text
    widths = {
        len(re.findall(r"(?<!\\)\|", line))
        for line in told(path)["Setup"].splitlines()
        if r"\_c\_" in line and "gpt2" in line
    }
    assert widths == {7}


def test_other_experiments_have_a_table(tmp_path):
    def renamed(row):
        if row["experiment"] == "head_screening":
            row["experiment"] = "unit_screening"
            row["dims"]["units"] = row["dims"].pop("heads").replace("H", "U")
        return row | ({"experiment": "sign"} if row["experiment"] == "head_ablation" else {})

    found = told(write_report(changed(tmp_path, renamed)))
    assert "### sign, one, joy" in found["Other experiments"]
    assert re.search(r"^\| L1H0 +\| zero +\| -[12]\.", found["Other experiments"], re.MULTILINE)
    assert "### one, joy" in found["Units"] and "| L1U0" in found["Units"]


def test_a_section_without_rows_names_the_command():
    assert missing("a") == "Not run: `pytest experiments/exp_a.py`."
    assert missing("a", "b") == "Not run: `pytest experiments/exp_a.py experiments/exp_b.py`."


def test_a_heading_is_one_line_that_nothing_breaks():
    assert heading(("one", "", "joy")) == "### one, joy"
    assert heading(("one",), "zero of L0H1") == "### one: zero of L0H1"
    assert heading(()) == heading(("", "")) == "### all"
    said = heading((HOSTILE,), HOSTILE)
    assert len(said.splitlines()) == 1 and "<script>" not in said
    assert not re.search(r"(?<!\\)[`$*|]", said.removeprefix("### "))


def test_columns_of_a_study_and_of_a_metric():
    assert named(StudyKey("one", "joy")) == {"model": "one", "emotion": "joy"}
    assert title("logit_diff", "zero") == "zero: logit_diff" and title("kl", "") == "kl"


def test_the_q_of_a_row_that_was_tested():
    first, second = rows_of("x", {"a": 1.0}, {"a": 2.0})
    chances = {(first.item, 0): (0.01, 0.02)}
    assert q_of(chances, first) == 0.02 and q_of(chances, second) is None


def test_the_strongest_rows_of_each_experiment_and_study():
    record = {"logit_diff": around(-4.0), "note": "b|c", "kl": around(1.0)}
    weak = {"logit_diff": around(0.5), "note": "", "kl": 2.0}
    rows = rows_of("mine", record, heads="L0H1") + rows_of("mine", weak, heads="L1H0")
    rows += rows_of("mine", weak, heads="L1H1", model="two")
    name, lines, other, _ = strongest_rows({"mine": rows}, 1)
    assert (name, other) == ("### mine, one, joy", "### mine, two, joy")
    (line,) = lines_of(lines)
    assert line["what"] == "L0H1" and line["note"] == r"b\|c" and line["kl"] == "1.035"
    assert line["logit_diff"].startswith("-3.965 [")
    # Eight templates: 2 of 256 flips are as large.
    assert float(line["q"]) < 0.05
    assert list(strongest_rows({}, 1)) == []


def test_of_many_metrics_the_first_six_are_shown():
    rows = rows_of("mine", {f"m{i}": float(i) for i in range(9)}, heads="L0H0")
    (line,) = lines_of("\n".join(strongest_rows({"mine": rows}, 5)))
    assert list(line) == ["what", *(f"m{i}" for i in range(6))]


def test_rows_that_recorded_texts_alone_still_have_a_line():
    rows = rows_of("mine", {"note": "said"}, heads="L0H0")
    (line,) = lines_of("\n".join(strongest_rows({"mine": rows}, 5)))
    assert line == {"what": "L0H0", "note": "said"}
