"""Ctrl-C: one line, whatever it met; `tests/faults/test_kills.py` interrupts whole runs."""

from __future__ import annotations

import signal
import sys
import types

import pytest
from pytest_emolib.interrupts import Interrupts


@pytest.fixture
def interrupts():
    made = Interrupts(types.SimpleNamespace(option=types.SimpleNamespace(fulltrace=False)), print)
    yield made
    made.restore()


def info(line=1, of=KeyboardInterrupt):
    """Return what pytest tells of an interrupt at a line of this function."""
    # Of an instruction that is of no line, as of one behind the last, Python says None.
    at = types.TracebackType(None, sys._getframe(), 1 << 20 if line is None else 0, line or -1)
    first = types.TracebackType(at, sys._getframe(1), 0, 7)
    return pytest.ExceptionInfo.from_exception(of().with_traceback(first))


def test_where_it_met_no_line_pytest_is_told_of_the_last_one_that_has_one(interrupts):
    nowhere = info(line=None)
    with pytest.raises(TypeError):
        nowhere.getrepr(funcargs=True)
    interrupts.take(nowhere)
    assert len(nowhere.traceback) == 1 and nowhere.traceback[0].lineno == 6
    assert "KeyboardInterrupt" in str(nowhere.getrepr(funcargs=True).reprcrash)


def test_fulltrace_keeps_all(interrupts):
    interrupts._config.option.fulltrace = True
    whole = info()
    interrupts.take(whole)
    assert len(whole.traceback) == 2


def test_ctrl_c_does_afterwards_what_it_did_before(interrupts):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts.take(info())
        assert signal.getsignal(signal.SIGINT) == interrupts._stop
        interrupts.restore()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_somebody_else_s_stays(interrupts):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupts.take(info())
        interrupts.restore()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_no_interrupt_is_left_alone(interrupts):
    other = info(of=ValueError)
    interrupts.take(other)
    assert len(other.traceback) == 2


def test_one_is_awaited_from_the_last_item_on(interrupts):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts.ran()
        assert signal.getsignal(signal.SIGINT) == interrupts._stop
        assert "writes tables" in interrupts._said
        interrupts.take(info())
        assert interrupts._said.startswith("interrupted again")
    finally:
        interrupts.restore()
        signal.signal(signal.SIGINT, before)
