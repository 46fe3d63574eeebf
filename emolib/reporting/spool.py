"""Tables written as their lines come, whose columns are all known with the last line only."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, pairwise, repeat
from pathlib import Path
from typing import IO, Any, NamedTuple

from emolib.files import written
from emolib.results.blocks import Block

# How much is copied at once, in bytes.
_PART = 1 << 20


class Form(NamedTuple):
    """How a table is written as text.

    Attributes:
        cell: From a value to its text, which is empty for None.
        number: The same for columns of numbers throughout.
        between: What stands between two cells.
        end: What ends a line.
        opening: From the names of the columns to what stands before the lines.
        closing: What stands after them.
    """

    cell: Callable[[Any], str]
    number: Callable[[Any], str]
    between: str
    end: str
    opening: Callable[[Sequence[str]], str]
    closing: str = ""


def write_table(blocks: Iterable[Block], path: Path, form: Form) -> bool:
    """Write lines as a table with a column for every name in any of them.

    One block is held in memory: lines wait in a file beside the table until its last column is
    known, and are filled up then where they lack columns.

    Args:
        blocks: The lines.
        path: The file, written whole or not at all.
        form: How.

    Returns:
        Whether there were any lines; without any nothing is written.

    Raises:
        InputError: When the file cannot be written.
    """
    blocks = iter(blocks)
    first = next(blocks, None)
    if first is None:
        return False
    with written(path) as out, tempfile.TemporaryFile(dir=path.parent) as file:
        body = _Body(file, form)
        for block in chain([first], blocks):
            body.add(block)
        out.write(form.opening(list(body.names)).encode())
        for part in body.parts():
            out.write(part)
        out.write(form.closing.encode())
    return True


class _Body:
    """Lines of a table on the disk.

    Attributes:
        names: The columns so far, in the order in which they came.
    """

    def __init__(self, file: IO[bytes], form: Form) -> None:
        self.names: dict[str, None] = {}
        self._file, self._form = file, form
        # Where lines of another number of columns begin: their first block, and that number.
        self._changes: list[tuple[int, int]] = []
        # Of each block its bytes and how many lines it has, of each line its characters.
        self._sizes, self._counts, self._lengths = array("Q"), array("L"), array("L")
        # Of each column the last values and their cells.
        self._last: dict[str, tuple[Sequence[Any], list[str]]] = {}

    def add(self, block: Block) -> None:
        """Write the lines of a block."""
        for name in block.names:
            self.names[name] = None
        if not self._changes or self._changes[-1][1] != len(self.names):
            self._changes.append((len(self._sizes), len(self.names)))
        lines = self._lines(block)
        data = "".join(lines).encode()
        self._file.write(data)
        self._sizes.append(len(data))
        self._counts.append(len(lines))
        self._lengths.extend(map(len, lines))

    def _lines(self, block: Block) -> list[str]:
        """Return a block as lines; cells that all of them share are put together once."""
        form = self._form
        pieces: list[Iterable[str]] = []
        same: list[str] = []
        for name in self.names:
            if name not in block.columns:
                same.append(form.cell(block.constants.get(name)))
                continue
            if same:
                pieces.append(repeat(form.between.join(same), block.length))
                same = []
            pieces.append(self._column(name, block))
        if same:
            pieces.append(repeat(form.between.join(same), block.length))
        return [form.between.join(cells) + form.end for cells in zip(*pieces, strict=True)]

    def _column(self, name: str, block: Block) -> list[str]:
        column = block.columns[name]
        last = self._last.get(name)
        # What many rows have alike is one object.
        if last is not None and last[0] is column:
            return last[1]
        cells = list(map(self._form.number if name in block.numbers else self._form.cell, column))
        self._last[name] = column, cells
        return cells

    def parts(self) -> Iterator[bytes]:
        """Yield all lines, each filled up to all columns."""
        self._file.seek(0)
        lengths = iter(self._lengths)
        ends = [*self._changes, (len(self._sizes), 0)]
        for (start, width), (end, _) in pairwise(ends):
            if width == len(self.names):
                yield from iter(lambda: self._file.read(_PART), b"")
                return
            gap = self._form.between * (len(self.names) - width) + self._form.end
            for size, count in zip(self._sizes[start:end], self._counts[start:end], strict=True):
                text = self._file.read(size).decode()
                yield _filled(text, islice(lengths, count), self._form.end, gap).encode()


def _filled(text: str, lengths: Iterable[int], end: str, gap: str) -> str:
    """Return lines, which may have breaks in their cells, with a gap before the end of each."""
    places = pairwise(accumulate(lengths, initial=0))
    return "".join(text[start : stop - len(end)] + gap for start, stop in places)
