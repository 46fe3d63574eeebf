"""Tables of rows: every number to CSV and Markdown, the strongest ones to the terminal."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate, tabulate_formats

from emolib.errors import InputError
from emolib.files import write_text
from emolib.reporting.cells import cell
from emolib.results.blocks import flat
from emolib.results.rows import Row, group

SHOWN = 24
# What begins a line, stands between two cells and ends it: of rows, and of the rule below headers.
_EDGES = {
    "simple": (("", "  ", ""), ("", "  ", "")),
    "github": (("| ", " | ", " |"), ("|-", "-|-", "-|")),
}


def check_format(name: str) -> None:
    """Check the name of a table format.

    Raises:
        InputError: When tabulate has none of that name.
    """
    if name not in tabulate_formats:
        raise InputError(
            f"--table-format {name}: unknown; expected one of {', '.join(tabulate_formats)}"
        )


def write_tables(folder: Path, rows: Iterable[Row]) -> None:
    """Write ``<experiment>.csv`` and ``.md`` for every experiment among the rows."""
    for experiment, members in group(rows, lambda row: row.experiment).items():
        write_text(folder / f"{experiment}.csv", to_csv(members))
        columns = _columns(members)
        cells = _cells(members, columns, columns)
        write_text(folder / f"{experiment}.md", _render(*cells, "github") + "\n")


def _render(lines: Sequence[Sequence[str]], headers: Sequence[str], fmt: str) -> str:
    """Return the table that tabulate makes of such cells, in its two usual formats much sooner.

    tabulate looks at every cell for colours, dates and line breaks, of which these have none.
    """
    if fmt not in _EDGES:
        return tabulate(lines, headers, tablefmt=fmt, disable_numparse=True)
    edges, of_rule = _EDGES[fmt]
    columns = zip(headers, *lines, strict=True)
    # A header gets two more than it takes, as tabulate has it.
    widths = [max(len(column[0]) + 2, *map(len, column)) for column in columns]
    row = _line([f"{{:<{width}}}" for width in widths], edges)
    header, *body = (row.format(*cells).rstrip() for cells in (headers, *lines))
    return "\n".join([header, _line(["-" * width for width in widths], of_rule), *body])


def _line(cells: Sequence[str], edges: tuple[str, str, str]) -> str:
    begin, between, end = edges
    return begin + between.join(cells) + end


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV: a vector metric gives its mean, CI, n and d_z in columns of their own."""
    return to_columns([flat(row) for row in rows])


def to_columns(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines as CSV, a column for every name in any of them."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


class Strongest:
    """Of rows of one experiment, seen one by one, those that `summary_table` can show.

    Attributes:
        count: How many were seen.
    """

    def __init__(self, shown: int = SHOWN) -> None:
        """Begin with none.

        Args:
            shown: What `summary_table` is given.
        """
        self.count, self._shown = 0, shown
        # By combination a heap of its strongest rows; of equal ones those stay that came first.
        self._kept: dict[str, list[tuple[float, int, Row]]] = {}

    def add(self, row: Row) -> None:
        """See a row."""
        kept = self._kept.setdefault(_combination(row), [])
        entry = _strength(row), -self.count, row
        self.count += 1
        if len(kept) < self._shown:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def rows(self) -> list[Row]:
        """Return the rows that may be shown, in the order in which they came."""
        found = [entry for kept in self._kept.values() for entry in kept]
        return [row for *_, row in sorted(found, key=lambda entry: -entry[1])]


def summary_table(
    rows: Sequence[Row],
    *,
    fmt: str = "simple",
    width: int = 100,
    shown: int = SHOWN,
    count: int | None = None,
) -> str:
    """Return the table of one experiment for a terminal, with a line on what it leaves out.

    Of more than `shown` rows, those whose first metric is the largest stand for each combination
    of model, emotion and the like. The first metric with one value per prompt comes with its 95 %
    CI and d_z, the others as means; columns that do not fit are left out.

    Args:
        rows: Rows of one experiment.
        fmt: A format of tabulate.
        width: Characters in a line.
        shown: About how many rows to show.
        count: Of how many rows these are the strongest; all by default.
    """
    count = len(rows) if count is None else count
    chosen = _strongest(rows, shown) if count > shown else list(rows)
    columns = _columns(chosen)
    detailed = [name for name in columns if any(_is_summary(row, name) for row in chosen)][:1]
    while True:
        text = _render(*_cells(chosen, columns, detailed), fmt)
        if len(columns) <= 1 or max(map(len, text.splitlines())) <= width:
            break
        columns = columns[:-1]
    notes = []
    if len(chosen) < count:
        notes.append(f"the strongest {len(chosen)} of {count} rows")
    if hidden := len(_columns(chosen)) - len(columns):
        notes.append(f"{hidden} more columns")
    if any(_is_summary(row, name) for row in chosen for name in columns if name not in detailed):
        notes.append("means, 95 % CI of the first")
    name = rows[0].experiment
    return text + (f"\n({'; '.join(notes)}; all in tables/{name}.csv)" if notes else "")


def _strongest(rows: Sequence[Row], shown: int) -> list[Row]:
    groups = group(rows, _combination)
    each = max(1, shown // len(groups))
    return [
        row
        for members in groups.values()
        for row in sorted(members, key=_strength, reverse=True)[:each]
    ]


def _combination(row: Row) -> str:
    """Return what a row is of beside its heads or units."""
    return repr([value for name, value in row.dims.items() if name not in ("heads", "units")])


def _strength(row: Row) -> float:
    means = map(row.mean, row.values)
    return next((abs(mean) for mean in means if mean is not None), 0.0)


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _is_summary(row: Row, name: str) -> bool:
    return isinstance(row.values.get(name), dict)


def _cells(
    rows: Sequence[Row], columns: Sequence[str], detailed: Sequence[str]
) -> tuple[list[list[str]], list[str]]:
    """Return the cells and the headers of a table.

    Args:
        rows: Its rows.
        columns: Its metrics.
        detailed: Those of them that come with CI and d_z.
    """
    dims = list(dict.fromkeys(name for row in rows for name in row.dims | row.labels))
    if not any(row.dims or row.labels for row in rows):
        dims = ["item"]
    counted = any(_is_summary(row, name) for row in rows for name in columns)
    # Once for the table: asked of every cell, 10,000 rows would be gone through 50,000 times.
    wide = {name for name in detailed if any(_is_summary(row, name) for row in rows)}
    headers = [*dims, *(["n"] if counted else [])]
    for name in columns:
        headers += [name, "d_z"] if name in wide else [name]
    lines = []
    for row in rows:
        named = {"item": row.item} | row.dims | row.labels
        line = [_escaped(named.get(dim, "")) for dim in dims]
        if counted:
            sizes = {value["n"] for value in row.values.values() if isinstance(value, dict)}
            line.append("/".join(map(str, sorted(sizes))))
        for name in columns:
            value = row.values.get(name)
            if name not in wide:
                line.append(cell(row.mean(name)))
            else:
                line += [cell(value), cell(value["d_z"] if isinstance(value, dict) else None)]
        lines.append(line)
    return lines, headers


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").splitlines()).strip()
