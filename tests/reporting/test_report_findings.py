"""The sections that the report leads with."""

from __future__ import annotations

from made import HOSTILE

from emolib.reporting.finding import Finding
from emolib.reporting.findings import Findings
from emolib.reporting.report_findings import found


def test_what_was_found_comes_first_with_its_rule_and_then_what_was_not():
    told = Findings([], [Finding("", "", "gap", "A gap of 2 [1, 3].")],
                    [Finding("", "", "heads", "No head.", False)], "The rule.")  # fmt: skip
    assert list(found(told)) == [
        "## What was found", r"- A gap of 2 \[1, 3\].", "The rule.",
        "## What was not found", "- No head.",
    ]  # fmt: skip


def test_names_in_findings_are_text_however_long():
    (_, line, *_) = found(Findings([], [Finding("", "", "own", HOSTILE + "x" * 900)], []))
    assert "<script>" not in line and "\n" not in line and line.endswith("x" * 900)


def test_without_findings_that_is_said():
    assert list(found(Findings([], [], []))) == [
        "## What was found", "Nothing that can be told from these rows.",
        "## What was not found", "Nothing is missing that this report looks for.",
    ]  # fmt: skip
