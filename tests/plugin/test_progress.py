"""The progress line: shown in a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from types import SimpleNamespace

import pytest
from pytest_emolib.progress import Progress, _clock


def in_terminal(folder, *args):
    """Run in a pseudo-terminal and return what it printed."""
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        folder.command(*args), cwd=folder.path, env=folder.env | {"TERM": "xterm"},
        stdout=theirs, stderr=theirs, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    printed = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        printed += chunk
    os.close(ours)
    run.wait()
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())


@pytest.fixture(autouse=True)
def _light(folder):
    """An experiment that needs no torch, which takes seconds to load."""
    folder.write(
        "exp_effect.py",
        "import time\n\ndef exp_it(emotion, heads, record):\n    time.sleep(0.15)\n"
        "    record(n=len(heads))\n",
    )


def test_a_terminal_shows_items_rate_time_left_and_model(folder):
    printed = in_terminal(folder)
    assert re.search(
        r"\r3/3 items · [\d.]+ items/s · 0s left · tiny-neo-gratitude-L0H0\+L0H1", printed
    ), printed
    assert "rrr" not in printed and "3 recorded" in printed


def test_workers_share_a_line(folder):
    printed = in_terminal(folder, "-n", "2")
    assert re.search(r"\r3/3 items · [\d.]+ items/s · 0s left · tiny-neo-", printed), printed
    assert "3 recorded" in printed


@pytest.mark.parametrize("option", ["-v", "-q"])
def test_not_with_other_verbosities(folder, option):
    assert "items/s" not in in_terminal(folder, option)


def test_not_in_a_pipe(folder):
    out = folder.process().stdout
    assert "\x1b" not in out and "\r" not in out
    assert "items/s" not in out and "exp_effect.py rrr" in out


def test_items_that_record_nothing_count_too(folder):
    folder.write(
        "exp_effect.py",
        "import pytest, time\n\ndef exp_it(heads, record):\n    time.sleep(0.15)\n"
        "    if str(heads) == 'L2H0': pytest.skip('no')\n"
        "    if str(heads) == 'L3H1': record(n=1)\n",
    )
    printed = in_terminal(folder)
    assert re.search(r"\r3/3 items · ", printed), printed
    assert "1 passed, 1 skipped, 1 recorded" in printed or "1 recorded" in printed
    assert not re.search(r"tiny-neo-\S+ *[.s]", printed)


def test_a_failure_keeps_its_letter_on_a_line_of_its_own(folder):
    folder.write(
        "exp_effect.py",
        "import time\n\ndef exp_it(heads, record):\n    time.sleep(0.15)\n"
        "    if str(heads) == 'L3H1': raise KeyError('no')\n    record(n=1)\n",
    )
    printed = in_terminal(folder)
    assert "2 recorded" in printed and "1 error" in printed and "KeyError: 'no'" in printed


def test_the_line_before_a_rate_is_known():
    progress = Progress(SimpleNamespace())
    progress.session = SimpleNamespace(testscollected=4)
    progress._done = 1
    assert progress.line("a.py::exp_a[tiny-L0H0]", 0.0) == "1/4 items · tiny-L0H0"
    progress._done = 3
    assert progress.line("a.py::exp_a", 4.0) == "3/4 items · 0.5 items/s · 2s left · exp_a"


def test_clock():
    assert (_clock(5.4), _clock(65), _clock(3600)) == ("5s", "1m05s", "60m00s")


def logged(monkeypatch, *seconds, letters=0):
    """Give what is printed to a log where items are done at these times."""
    lines = []
    reporter = SimpleNamespace(
        isatty=False,
        ensure_newline=lambda: None,
        line=lines.append,
        write_line=lines.append,
        _tw=SimpleNamespace(width_of_current_line=letters),
    )
    config = SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugin=lambda name: reporter),
        get_verbosity=lambda: 0,
    )
    progress = Progress(config)
    progress.session = SimpleNamespace(testscollected=10)
    for now in seconds:
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        report = SimpleNamespace(nodeid="e.py::exp_it[m-L0H0]", failed=False)
        progress.advance(report)
    return lines


def test_a_log_has_a_plain_line_a_minute(monkeypatch):
    lines = logged(monkeypatch, 100.0, 130.0, 165.0, 170.0)
    assert lines == [told := "3/10 items · 0.0 items/s · 3m48s left · m-L0H0"]
    assert logged(monkeypatch, 100.0, 130.0, 165.0, letters=9) == ["", told]
    assert logged(monkeypatch, 100.0, 130.0) == []
