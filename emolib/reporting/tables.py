"""Tables of rows: every number to CSV and Markdown, the strongest ones to the terminal."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from tabulate import tabulate, tabulate_formats

from emolib.errors import InputError
from emolib.files import safe, written
from emolib.reporting.cells import cell
from emolib.reporting.export import CSV
from emolib.reporting.inert import spreadsheet, terminal
from emolib.reporting.markdown import inline
from emolib.reporting.spool import write_table
from emolib.results.blocks import More, by_record, flat
from emolib.results.rows import Row, group
from emolib.results.selection import study_of

SHOWN = 24
# What names of labels begin with that say why a number is null.
_WHY = "why_no_"
# Labels that are sentences on a study: told once below the table, not in every line.
_BELOW = ("missed",)
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


def write_tables(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``<experiment>.csv`` and ``.md`` for every experiment among the rows."""
    for experiment, members in group(rows, lambda row: row.experiment).items():
        write_table_of(folder, experiment, members.__iter__, members)


def write_table_of(
    folder: Path, experiment: str, rows: Callable[[], Iterator[Row]], whole: Iterable[Row] = ()
) -> None:
    """Write ``<experiment>.csv`` and ``.md`` of rows that are read twice and never all held.

    Args:
        folder: Where to.
        experiment: The experiment.
        rows: Gives its rows, the same each time.
        whole: The same with their vectors, for what is tested; see `emolib.results.chances`.
    """
    more = _tested(whole)
    layout = _Layout(inline)

    def seen() -> Iterator[Row]:
        for row in rows():
            layout.see(row)
            yield row

    if write_table(by_record(seen(), more), folder / f"{safe(experiment)}.csv", CSV):
        lines = ("\n".join(layout.cells(row)) for row in rows())
        headers = layout.headers()
        # A line is one text until it is written: a list of its cells takes ten times as much.
        widths, kept = [len(header) + 2 for header in headers], []
        for line in lines:
            kept.append(line)
            widths = list(map(max, widths, map(len, line.split("\n"))))
        with written(folder / f"{safe(experiment)}.md") as file:
            for text in _rendered(headers, (line.split("\n") for line in kept), widths, "github"):
                file.write(f"{text}\n".encode())
            for text in layout.below:
                file.write(f"\n{text}\n".encode())


def _tested(whole: Iterable[Row]) -> More:
    """Return what `emolib.results.chances.columns` says, of rows with vectors."""
    rows = iter(whole)
    first = next((row for row in rows if row.vectors), None)
    if first is None:
        return {}
    # Imported here: it loads numpy, which runs that record no vector do without.
    from emolib.results.chances import columns

    return columns(chain([first], rows))


def render(lines: Sequence[Sequence[str]], headers: Sequence[str], fmt: str) -> str:
    """Return the table that tabulate makes of such cells, in its two usual formats much sooner.

    tabulate looks at every cell for colours, dates and line breaks, of which these have none.
    """
    if fmt not in _EDGES:
        return tabulate(lines, headers, tablefmt=fmt, disable_numparse=True)
    columns = zip(headers, *lines, strict=True)
    # A header gets two more than it takes, as tabulate has it.
    widths = [max(len(column[0]) + 2, *map(len, column)) for column in columns]
    return "\n".join(_rendered(headers, lines, widths, fmt))


def _rendered(
    headers: Sequence[str], lines: Iterable[Sequence[str]], widths: Sequence[int], fmt: str
) -> Iterator[str]:
    edges, of_rule = _EDGES[fmt]
    row = _line([f"{{:<{width}}}" for width in widths], edges)
    yield row.format(*headers).rstrip()
    yield _line(["-" * width for width in widths], of_rule)
    yield from (row.format(*cells).rstrip() for cells in lines)


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
    writer.writerows(
        {name: spreadsheet(v) if isinstance(v, str) else v for name, v in line.items()}
        for line in lines
    )
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
        """Return the rows that may be shown, in the order in which they came.

        Where not all of them will be, those of a combination stand together, the combination that
        came first before the others.
        """
        found = [sorted(kept, key=lambda entry: -entry[1]) for kept in self._kept.values()]
        if self.count <= self._shown:
            found = [sorted((entry for kept in found for entry in kept), key=lambda e: -e[1])]
        return [row for kept in found for *_, row in kept]


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
    CI and d_z, the others as means; columns that do not fit are left out, and so is why numbers are
    null.

    Args:
        rows: Rows of one experiment.
        fmt: A format of tabulate.
        width: Characters in a line.
        shown: About how many rows to show.
        count: Of how many rows these are the strongest; all by default.
    """
    count = len(rows) if count is None else count
    chosen = _strongest(rows, shown) if count > shown else list(rows)
    layout = _Layout(_in_terminal, whys=False)
    for row in chosen:
        layout.see(row)
    every, detailed = layout.metrics, layout.summaries[:1]
    while True:
        layout.narrow(layout.metrics, detailed)
        text = render([layout.cells(row) for row in chosen], layout.headers(), fmt)
        if len(layout.metrics) <= 1 or max(map(len, text.splitlines())) <= width:
            break
        layout.narrow(layout.metrics[:-1], detailed)
    notes = []
    if len(chosen) < count:
        notes.append(f"the strongest {len(chosen)} of {count} rows")
    if hidden := len(every) - len(layout.metrics):
        notes.append(f"{hidden} more columns")
    if set(layout.summaries) - set(detailed):
        notes.append("means, 95 % CI of the first")
    name = rows[0].experiment
    text = "\n".join([text, *layout.below])
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


def _is_summary(row: Row, name: str) -> bool:
    return isinstance(row.values.get(name), dict)


class _Layout:
    """Which columns a table of rows has, and the cells of a row in it."""

    def __init__(self, shown: Callable[[str], str], *, whys: bool = True) -> None:
        """Begin with no rows.

        Args:
            shown: Makes of a text one that the table's medium shows and does not obey.
            whys: Whether why a number is null has a column too.
        """
        self._dims: dict[str, None] = {}
        # The same few names stand in every line.
        self._shown, self._whys = lru_cache(1024)(shown), whys
        # Metrics, and whether any row has a value per prompt of it.
        self._metrics: dict[str, bool] = {}
        self._detailed: set[str] | None = None
        self._told: dict[str, None] = {}

    def see(self, row: Row) -> None:
        """Make room for a row."""
        told = (name for name in row.labels if self._whys or not name.startswith(_WHY))
        self._dims |= dict.fromkeys(name for name in (*row.dims, *told) if name not in _BELOW)
        for name in _BELOW:
            if said := row.labels.get(name):
                of = ", ".join(filter(None, study_of(row)))
                self._told[self._shown(f"{of}: {said}" if of else said)] = None
        for name in row.values:
            self._metrics[name] = self._metrics.get(name, False) or _is_summary(row, name)

    @property
    def below(self) -> list[str]:
        """What is told below the table, a line a study."""
        return list(self._told)

    @property
    def metrics(self) -> list[str]:
        """The metrics in order, those that were narrowed to."""
        return list(self._metrics)

    @property
    def summaries(self) -> list[str]:
        """Those of them that have values per prompt."""
        return [name for name, is_summary in self._metrics.items() if is_summary]

    def narrow(self, metrics: Sequence[str], detailed: Sequence[str]) -> None:
        """Leave metrics out.

        Args:
            metrics: Those that stay.
            detailed: Those of them that come with CI and d_z, all by default.
        """
        self._metrics = {name: self._metrics[name] for name in metrics}
        self._detailed = set(detailed)

    def _is_wide(self, name: str) -> bool:
        return self._metrics[name] and (self._detailed is None or name in self._detailed)

    def headers(self) -> list[str]:
        """Return the names of the columns."""
        headers = [*(self._dims or ["item"]), *(["n"] if any(self._metrics.values()) else [])]
        for name in self._metrics:
            headers += [name, "d_z"] if self._is_wide(name) else [name]
        return list(map(self._shown, headers))

    def cells(self, row: Row) -> list[str]:
        """Return the cells of a row."""
        named = {"item": row.item} | row.dims | row.labels
        line = [self._shown(named.get(dim, "")) for dim in self._dims or ["item"]]
        if any(self._metrics.values()):
            sizes = {value["n"] for value in row.values.values() if isinstance(value, dict)}
            line.append("/".join(map(str, sorted(sizes))))
        for name in self._metrics:
            value = row.values.get(name)
            if self._is_wide(name):
                line += [cell(value), cell(value["d_z"] if isinstance(value, dict) else None)]
            else:
                line.append(cell(row.mean(name)))
        return line


def _in_terminal(text: str) -> str:
    # Some formats of tabulate are read by others, who take a bar for the end of a cell.
    return terminal(text).replace("|", "\\|")
