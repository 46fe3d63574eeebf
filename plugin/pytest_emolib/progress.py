"""The progress line of a long run: items done, items per second, time left, current model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_EVERY = 0.1
# Seconds between lines where nothing can be rewritten: in a log of CI, in a file.
_IN_A_LOG = 60.0


class Progress:
    """One line that is rewritten in place in a terminal, and printed now and then in a log.

    Neither with -v, which has a line an item, nor with -q.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Hold the config."""
        self._config = config
        self.session: pytest.Session | None = None
        self._done = 0
        self._started = time.monotonic()
        self._shown_at = self._logged_at = 0.0
        self._open = False

    @property
    def _reporter(self) -> TerminalReporter | None:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @property
    def shown(self) -> bool:
        """Whether the line stands in for pytest's letters."""
        reporter = self._reporter
        return (
            self.session is not None
            and reporter is not None
            and bool(reporter.isatty)
            and self._config.get_verbosity() == 0
        )

    def advance(self, report: pytest.TestReport) -> None:
        """Count an item and show the line, ten times a second at most."""
        if self.session is None or self._config.get_verbosity() != 0:
            return
        if self._done == 0:
            # The first item's time holds a model's loading: it would spoil the estimate.
            self._started = self._logged_at = time.monotonic()
        self._done += 1
        now = time.monotonic()
        if not self.shown:
            self._log(report.nodeid, now)
            return
        if report.failed:
            # pytest is about to print this one's letter: leave it a line of its own.
            self.close()
        elif now - self._shown_at >= _EVERY:
            self._shown_at = now
            self._write(self.line(report.nodeid, now - self._started))

    def _log(self, nodeid: str, now: float) -> None:
        """Print the line once a minute, between pytest's letters and without control characters."""
        reporter = self._reporter
        if reporter is None or now - self._logged_at < _IN_A_LOG:
            return
        self._logged_at = now
        reporter.ensure_newline()
        # Under xdist pytest does not know of the letters that stand in the line.
        if reporter._tw.width_of_current_line:
            reporter.line("")
        reporter.write_line(self.line(nodeid, now - self._started))

    def line(self, nodeid: str, elapsed: float) -> str:
        """Return the text of the line.

        Args:
            nodeid: The item just done.
            elapsed: Seconds since the first item was done.
        """
        total = self.session.testscollected if self.session is not None else 0
        rate = (self._done - 1) / elapsed if elapsed > 0 else 0.0
        parts = [f"{self._done}/{total} items"]
        if rate > 0:
            left = max(0, total - self._done) / rate
            parts += [f"{rate:.1f} items/s", f"{_clock(left)} left"]
        parts.append(nodeid.partition("[")[2].rstrip("]") or nodeid.rpartition("::")[2])
        return " · ".join(parts)

    def close(self) -> None:
        """End the line, so that what follows starts on one of its own."""
        reporter = self._reporter
        if self._open and reporter is not None:
            reporter.line("")
            self._open = False

    def _write(self, text: str) -> None:
        reporter = self._reporter
        if reporter is None:
            return
        if not self._open:
            reporter.ensure_newline()
            self._open = True
        width = reporter._tw.fullwidth - 1
        reporter._tw.write("\r" + text[:width].ljust(width))
        reporter._tw.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
