"""Ctrl-C: what is recorded stays, its tables are written, and a second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

AGAIN = "interrupted again: stopped at once; what is recorded stays, the same command goes on"
TABLES = "interrupted behind the last item; what is recorded stays, the same command writes tables"


class Interrupts:
    """What becomes of a run's interrupts: it ends in pytest's own words, and at once at the second.

    pytest expects no second one while it ends, and would print where that has met it.
    """

    def __init__(self, config: pytest.Config, tidy: Callable[[], None]) -> None:
        """Hold the config.

        Args:
            config: Of the run.
            tidy: Takes away what the run has left outside the results.
        """
        self._config, self._tidy = config, tidy
        self._has_handler, self._said = False, AGAIN

    def ran(self) -> None:
        """Await one behind the last item.

        Any plugin's end of a run may be met there, most of which expect none.
        """
        self._await(TABLES)

    def take(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Take the first.

        Args:
            excinfo: Where it has met the run.
        """
        if not isinstance(excinfo.value, KeyboardInterrupt):
            return
        # Between two lines there is none to name: asked for it, pytest ends in an error of its own.
        lines = list(filter(_has_line, excinfo.traceback))
        if lines and not self._config.option.fulltrace:
            excinfo.traceback = type(excinfo.traceback)(lines[-1:])
        self._await(AGAIN)

    def _await(self, said: str) -> None:
        """Stop at once, and say that, at the next one."""
        self._said = said
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._stop)
            self._has_handler = True

    def _stop(self, number: int, frame: Any) -> None:
        with suppress(Exception):
            writer: Any = self._config.get_terminal_writer()
            with suppress(RuntimeError):
                # Where it was met as it wrote, it is left as it is.
                writer.flush()
            os.write(writer._file.fileno(), f"\n{self._said}\n".encode())
        with suppress(Exception):
            self._tidy()
        os._exit(pytest.ExitCode.INTERRUPTED)

    def restore(self) -> None:
        """Put back what Ctrl-C did before: pytest may have been run by a program that goes on."""
        if self._has_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._has_handler = False


def _has_line(entry: Any) -> bool:
    try:
        return entry.lineno is not None
    except TypeError:
        return False
