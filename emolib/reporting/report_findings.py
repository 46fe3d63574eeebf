"""Sections that the report leads with: what was found, and what was not and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emolib.reporting.finding import Finding
from emolib.reporting.findings import Findings
from emolib.reporting.markdown import escape_whole


def found(told: Findings) -> Iterator[str]:
    """Yield both sections, the rule by which heads are named behind the first."""
    yield "## What was found"
    yield _listed(told.found) or "Nothing that can be told from these rows."
    if told.rule:
        yield escape_whole(told.rule)
    yield "## What was not found"
    yield _listed(told.not_found) or "Nothing is missing that this report looks for."


def _listed(findings: Sequence[Finding]) -> str:
    return "\n".join(f"- {escape_whole(one.text)}" for one in findings)
