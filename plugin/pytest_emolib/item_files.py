"""Whether items get results files of their own: asked for, or by how many items a run has."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pytest

from emolib.errors import InputError
from emolib.files import command
from emolib.results.item_files import MOST, OWN, is_of
from emolib.results.rows import Row
from pytest_emolib.options import get

_WHEN = ("auto", "always", "never")


def check_item_files(when: str | None) -> None:
    """Check the value of ``--item-files``.

    Raises:
        InputError: When it is none.
    """
    if when not in (None, *_WHEN):
        raise InputError(
            f"--item-files {when}: expected one of {', '.join(_WHEN)}; write --item-files=always "
            "where a path follows"
        )


class ItemFiles:
    """Which items of a run get a results file of their own.

    One that is there is kept up to date: an older one would contradict tables and plots.

    Attributes:
        left_out: How many items went without.
    """

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        """Hold where results go."""
        self._config, self._folder = config, folder
        self.left_out = 0

    def wants(self, row: Row) -> bool:
        """Tell whether to write the file of an item that has just been recorded."""
        return is_own(row) and self._counted(self._is_wanted(row))

    def lacks(self, row: Row) -> bool:
        """Tell whether to write the file of an item that the store held."""
        is_there = is_own(row) and is_of(self._folder / row.output["path"], row.key)
        return not is_there and self.wants(row)

    def _is_wanted(self, row: Row) -> bool:
        return self._every or (self._folder / row.output["path"]).exists()

    def _counted(self, wanted: bool) -> bool:
        self.left_out += not wanted
        return wanted

    @cached_property
    def _every(self) -> bool:
        when = get(self._config, "--item-files") or "auto"
        return when == "always" or (when == "auto" and self._items <= MOST)

    @property
    def _items(self) -> int:
        # A controller knows it when the first worker has collected, so before any report.
        session = self._config.pluginmanager.get_plugin("session")
        return session.testscollected if session is not None else 0

    def note(self, where: str) -> str | None:
        """Return the line on the files that were left out, None where there are none.

        Args:
            where: The results folder of the profile.
        """
        if not self.left_out:
            return None
        typed = command("export --format files", Path(where))
        return (
            f"{self.left_out} items without a results file (--item-files); to write them: {typed}"
        )


def is_own(row: Row) -> bool:
    """Tell whether an item has a results file that is its own."""
    return row.output.get("shape") in OWN
