"""Section of the report on probes of z: what is there, beside what the model uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from emolib.reporting.cells import cell
from emolib.reporting.experiments import PROBED
from emolib.reporting.markdown import escape, table
from emolib.reporting.report_parts import heading, missing
from emolib.results.rows import Row
from emolib.results.selection import chosen_by_rank, kinds, strongest, studies, subject

_NAMED = 6


def probes(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the heads of each study from whose z the emotion is told best."""
    yield "## Probes of z"
    if not rows:
        yield missing(PROBED)
        return
    yield (
        "Logistic regression from z of one head at the last token, tested on templates (of free "
        "lists: prompts) that it was not fitted on. accuracy, AUROC: emotion against neutral; "
        "which: the share of the emotion's prompts told among those of all emotions. p: labels "
        "swapped within pairs and fitted anew, by AUROC; q: Benjamini–Hochberg over the heads. A "
        "probe says what is there, not what is used: Δ logit_diff is what zeroing the head does."
    )
    for study, found in studies(rows).items():
        # Heads that a rank and a name stand for alike are one row.
        members = list(chain(*kinds(found).values()))
        probed = [row for row in members if row.mean("accuracy") is not None]
        q = q_values(probed)
        yield heading(study)
        yield from _said(members, probed, q)
        if probed:
            yield table([_line(row, q) for row in strongest(probed, "auroc", top_n)])


def q_values(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    """Return q of each row by item and number of the row, over those that no rank chose."""
    tested = [row for row in rows if row.mean("p") is not None and not chosen_by_rank(row)]
    if not tested:
        return {}
    # Imported here: it loads numpy, which reports without probes do without.
    from emolib.stats.significance import benjamini_hochberg

    q = benjamini_hochberg([row.mean("p") or 0.0 for row in tested])
    return {(row.item, row.row): float(value) for row, value in zip(tested, q, strict=True)}


def _line(row: Row, q: dict[tuple[str, int], float]) -> dict[str, object]:
    line = {"head": subject(row), "accuracy": row.values["accuracy"], "AUROC": row.mean("auroc")}
    line |= {"p": row.mean("p"), "q": q.get((row.item, row.row))}
    line |= {"which": row.values.get("which_accuracy"), "which: p": row.mean("which_p")}
    if "test_accuracy" in row.values:
        line |= {"other file": row.mean("test_accuracy"), "other file: p": row.mean("test_p")}
    return line | {"Δ logit_diff": row.values.get("logit_diff")}


def _said(
    members: Sequence[Row], probed: Sequence[Row], q: dict[tuple[str, int], float]
) -> Iterator[str]:
    if constant := [row for row in members if "why_no_accuracy" in row.labels]:
        yield f"No probe, since z is the same on all prompts: {_named(constant)}."
    from emolib.stats.significance import LEVEL
    from emolib.stats.summary import rank_correlation

    effects = [abs(row.mean("logit_diff") or 0.0) for row in probed]
    if (rho := rank_correlation([row.mean("auroc") or 0.0 for row in probed], effects)) is not None:
        yield f"Rank correlation of AUROC with |Δ logit_diff| over {len(probed)} heads {cell(rho)}."
    told = [row for row in probed if q.get((row.item, row.row), 1.0) < LEVEL]
    idle = [row for row in told if _holds_zero(row)]
    if told:
        of = f"Told with q < {LEVEL}: {len(told)} of {len(q)} heads tested"
        yield f"{of}; of these without an effect (its 95 % CI holds 0): {_named(idle) or 'none'}."


def _holds_zero(row: Row) -> bool:
    ends = row.interval("logit_diff")
    return ends is not None and ends[0] <= 0 <= ends[1]


def _named(rows: Sequence[Row]) -> str:
    names = [escape(subject(row)) for row in rows[:_NAMED]]
    return ", ".join(names) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
