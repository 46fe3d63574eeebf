"""pytest in a process that ends when the one that started it does: ``python -m`` this, arguments.

Whoever starts it holds the other end of its standard input. When that end closes, because the
starter was killed, or its node gave up on it, the run here ends too: whoever runs the shard again
must not meet it at work still.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

KILLED = 137
"""Exit code of a run that ended with its starter."""


def main() -> None:
    """Run pytest with this process's arguments."""
    # pytest puts another file in the place of standard input.
    tie = os.dup(0)
    threading.Thread(target=_end_with, args=(tie,), daemon=True).start()
    sys.argv[0] = "pytest"
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


def _end_with(tie: int) -> None:
    while os.read(tie, 1024):
        pass
    # At once: what was recorded is on the disk, and the rest is for the next run of the shard.
    os._exit(KILLED)


if __name__ == "__main__":
    main()
