"""Tables for papers: LaTeX with booktabs, the few columns that one prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from emolib.reporting.inert import latex
from emolib.reporting.spool import Form
from emolib.results.blocks import Block, More
from emolib.results.glossary import entry
from emolib.results.rows import Row

MEANS = 4
"""How many metrics stand behind the first; twice as many where none has a value per prompt."""
# Labels that are sentences or repeat the rest.
_NO_LABELS = ("missed", "ranking", "unit_ranking", "spec", "unit_spec", "random_units", "precision")


def paper_lines(rows: Iterable[Row], more: More) -> Iterator[Block]:
    """Yield a line a row of what a paper prints.

    What it ran on; the first metric with a value per prompt as ``mean [95 % CI]``, its d_z and,
    where it was tested, q; the means of what stands before it and of `MEANS` metrics behind it.
    Headings are those of the glossary.

    Args:
        rows: Rows of one experiment.
        more: Their tests, by (item, number of the row).
    """
    # Of the metrics that are printed, whether an interval is.
    metrics: dict[str, bool] = {}
    for row in rows:
        metrics = metrics or _chosen(row)
        line = _named(row)
        for name, has_ends in metrics.items():
            value, title = row.values.get(name), _title(name, row.experiment)
            if not has_ends:
                line[title] = row.mean(name)
                continue
            line[f"{title} [95 % CI]"] = _interval(row.mean(name), _ends(row, name))
            if isinstance(value, dict):
                line["d_z"] = value["d_z"]
            tests = more.get((row.item, row.row), {})
            if f"{name}_q" in tests:
                line["q"] = _small(tests[f"{name}_q"])
        yield Block(1, line, {})


def _chosen(row: Row) -> dict[str, bool]:
    """Return the metrics that are printed, and of each whether with its interval.

    These are the first metric with a value per prompt, what stands before it and some behind it.
    Intervals have that one, and numbers of all prompts beside which one was recorded.
    """
    names = [name for name in row.values if not name.endswith(("_low", "_high"))]
    first = next((name for name in names if isinstance(row.values[name], dict)), "")
    shown = names[: names.index(first) + 1 + MEANS] if first else names[: 2 * MEANS]
    return {name: name == first or f"{name}_ci_low" in row.values for name in shown}


def _ends(row: Row, name: str) -> tuple[float, float] | None:
    """Return the interval of a metric, its summary's or one that was recorded beside it."""
    low, high = row.interval(name) or (row.mean(f"{name}_ci_{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def _named(row: Row) -> dict[str, Any]:
    if not row.dims:
        return {"item": row.item}
    told = {n: text for n, text in row.labels.items()
            if n not in _NO_LABELS and not n.startswith("why_no_")}  # fmt: skip
    return {_title(name, row.experiment): text for name, text in (row.dims | told).items()}


def _title(name: str, experiment: str) -> str:
    found = entry(name, experiment)
    return found.title if found else name


def _interval(mean: float | None, ends: tuple[float, float] | None) -> str:
    shown = _number(mean)
    return f"{shown} [{', '.join(map(_number, ends))}]" if ends else shown


def _small(value: float | None) -> str | None:
    """Return a p or a q as papers have it."""
    if value is None:
        return None
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float | None) -> str:
    """Return a number for print: two decimals, or two digits where that shows nothing.

    >>> _number(-6.1149), _number(0.00123), _number(12.0)
    ('−6.11', '0.0012', '12.00')
    """
    if value is None:
        return ""
    text = f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return text.replace("-", "−")


def _cell(value: Any) -> str:
    """Return a cell on one line, since LaTeX makes a paragraph of an empty one."""
    if value is None:
        return ""
    return latex(_number(value) if isinstance(value, float) else str(value))


def _longtable(names: Sequence[str]) -> str:
    """Return the opening of a longtable, written here: pandas takes gigabytes for it."""
    head = " & ".join(map(_cell, names)) + r" \\"
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,longtable}",
            rf"\begin{{longtable}}{{{'l' * len(names)}}}",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            "",
        ]
    )


LATEX = Form(_cell, _cell, " & ", " \\\\\n", _longtable, "\\end{longtable}\n")
"""Lines as a longtable, which goes on over pages."""
