"""Which columns of a frame are written, of names and patterns that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache

from emolib.errors import InputError
from emolib.results.blocks import Block
from emolib.results.glossary import entry


class Chosen:
    """Columns by name or pattern (``logit_diff*``), in the order in which they were asked for."""

    def __init__(self, asked: Sequence[str]) -> None:
        """Hold what was asked for.

        Args:
            asked: Names and patterns; each may be several, with commas between them.
        """
        self.asked = [name.strip() for text in asked for name in text.split(",") if name.strip()]
        self._place = cache(self._found)

    def _found(self, name: str) -> int | None:
        """Return by which of what was asked for a column is meant, None where by none."""
        # Patterns of a name that stands there itself come after it.
        exact = [place for place, one in enumerate(self.asked) if one == name]
        alike = (place for place, one in enumerate(self.asked) if fnmatchcase(name, one))
        return exact[0] if exact else next(alike, None)

    def of(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the chosen columns of blocks, in order; blocks without any are left out."""
        for block in blocks:
            places = {name: place for name in block.names
                      if (place := self._place(name)) is not None}  # fmt: skip
            names = sorted(places, key=places.__getitem__)
            if not names:
                continue
            # One in `columns` is written behind those that all lines share.
            constants = {name: block.constants.get(name) for name in names}
            columns = {name: block.columns[name] for name in names if name in block.columns}
            yield Block(block.length, constants, columns, block.numbers & columns.keys())

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return what was asked for that stands for none of some names."""
        known = list(names)
        return [one for one in self.asked if not any(fnmatchcase(name, one) for name in known)]

    def is_told(self, names: Iterable[str]) -> bool:
        """Tell whether any of some names is chosen that says more than which row it is."""
        return any(self._place(name) is not None for name in names if not names_a_row(name))

    def check(self, frames: Iterable[Callable[[], Iterator[Block]]]) -> None:
        """Check that all that was asked for is in some frame; read no further than that takes.

        Args:
            frames: Gives the lines of each.

        Raises:
            InputError: When something is in none.
        """
        if not self.asked:
            raise InputError("--columns: expected names of columns, got none")
        missing, known = self.asked, dict[str, None]()
        for blocks in frames:
            for block in blocks():
                if block.names and not known.keys() >= set(block.names):
                    known |= dict.fromkeys(block.names)
                    missing = self.missing(known)
                if not missing:
                    return
        close = [near for one in missing for near in get_close_matches(one, known, 3, 0.5)]
        said = f"; did you mean {', '.join(dict.fromkeys(close))}?" if close else ""
        what = "no such column" if len(missing) == 1 else "no such columns"
        raise InputError(
            f"--columns {','.join(missing)}: {what} in what is exported{said} The first line of "
            "an export without --columns has them all"
        )


def names_a_row(name: str) -> bool:
    """Tell whether a column says which row it is: what it ran on, or what is told beside it."""
    found = entry(name)
    return found is not None and found.kind in ("dimension", "label")
