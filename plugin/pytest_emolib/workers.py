"""Workers of xdist: what of its options goes with experiments, what they tell, how they die."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emolib.inputs.profiles import Profile

RESTARTS = 4
"""How many workers are replaced for each that there is to be, as xdist has it for ``-n``."""
_OURS = ("load", "worksteal")
_REFUSED = {
    "each": "runs every item on every worker, and an item is recorded once",
    "loadgroup": "puts groups into the names of items, by which their rows are found again",
}
_LOCAL = ("popen", "python", "id", "execmodel", "nice", "dont_write_bytecode", "env:")
_UNITS = "emolib_units"
_PREFIX = "emolib-units-"
# Seconds after which no run has its folder still.
_ABANDONED = 86_400.0


class Workers:
    """The workers of a run, as its controller and as one of them sees them.

    Attributes:
        survived: Of items that had recorded when their worker died, a line each.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Hold the config; that of a run without workers says so."""
        self._config = config
        self._last: dict[Any, str] = {}
        self._folder: TemporaryDirectory[str] | None = None
        self.survived: list[str] = []

    @property
    def _dist(self) -> str:
        return getattr(self._config.option, "dist", "no")

    @property
    def there_are(self) -> bool:
        """Whether this process deals items out to workers."""
        return self._dist != "no"

    @property
    def are_dealt_units(self) -> bool:
        """Whether our scheduler deals them out, which keeps together what is computed together.

        ``--dist loadscope`` and ``--dist loadfile`` keep whole files together: they are let be.
        """
        return self._dist in _OURS

    def check(self) -> None:
        """Check how items are to be dealt out, and to whom.

        Raises:
            InputError: When experiments cannot be run like that.
        """
        if not self.there_are:
            return
        from emolib.errors import InputError

        if why := _REFUSED.get(self._dist):
            raise InputError(
                f"--dist {self._dist} {why}; leave it out: with -n N items that are computed "
                "together stay on one worker"
            )
        for spec in self._specs():
            if not all(part.startswith(_LOCAL) for part in spec.split("//")):
                raise InputError(
                    f"--tx {spec}: experiments are dealt out on one machine, where its files are; "
                    "on several run a shard on each, pytest … --shard 1/N, then python -m emolib "
                    "merge"
                )

    def limit_restarts(self) -> None:
        """Have xdist give up on workers that do not come up, where the user has not said when.

        Of those of ``--tx`` it would start new ones for ever.
        """
        option: Any = self._config.option
        if self.there_are and option.maxworkerrestart is None:
            option.maxworkerrestart = str(RESTARTS * len(list(self._specs())))

    def _specs(self) -> Iterator[str]:
        """Yield what each worker is told to be: ``--tx 2*popen`` is two."""
        for text in self._config.option.tx:
            count, star, spec = text.partition("*")
            if star and count.isdecimal():
                yield from [spec] * int(count)
            else:
                yield text

    # What they run in one go

    @cached_property
    def folder(self) -> Path:
        """Where workers write the units of the items that they have collected."""
        self._sweep()
        self._folder = TemporaryDirectory(prefix=_PREFIX)
        self._config.add_cleanup(self.tidy)
        return Path(self._folder.name)

    def _sweep(self) -> None:
        """Remove the folders of runs that were killed: a day old, nobody's any more."""
        before = time.time() - _ABANDONED
        for path in Path(gettempdir()).glob(f"{_PREFIX}*"):
            # Of others' that may not even be looked at there is nothing to say.
            with suppress(OSError):
                if path.lstat().st_mtime < before:
                    shutil.rmtree(path)

    def tidy(self) -> None:
        """Take that folder away."""
        if self._folder is not None:
            self._folder.cleanup()

    def brief(self, node: Any) -> None:
        """Say to a worker where to tell its units."""
        if self.are_dealt_units:
            node.workerinput[_UNITS] = str(self.folder)

    def tell_units(self, items: Sequence[pytest.Item], profile: Profile) -> dict[str, str]:
        """Return the units of items by their ids, in a worker that is asked to tell them."""
        told = getattr(self._config, "workerinput", {})
        if _UNITS not in told:
            return {}
        from pytest_emolib.scheduling import tell
        from pytest_emolib.scopes import units

        found = units(items, told["workercount"], profile)
        tell(Path(told[_UNITS]), told["workerid"], found)
        return found

    # How they die

    def recorded(self, report: pytest.TestReport) -> None:
        """Note which item a worker has recorded last."""
        self._last[getattr(report, "node", None)] = report.nodeid

    def died(self, nodeid: str, report: pytest.TestReport) -> None:
        """Take back the failure of an item whose worker died when its rows were written."""
        if self._last.get(getattr(report, "node", None)) == nodeid:
            report.outcome, report.when, report.longrepr = "passed", "teardown", None
            self.survived.append(f"a worker died behind {nodeid}, whose rows had been written")
