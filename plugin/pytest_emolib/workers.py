"""Workers of xdist: what of its options goes with experiments, and how often one is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from emolib.errors import InputError

RESTARTS = 4
"""How many workers are replaced for each that there is to be, as xdist has it for ``-n``."""
_OURS = ("load", "worksteal")
_REFUSED = {
    "each": "runs every item on every worker, and an item is recorded once",
    "loadgroup": "puts groups into the names of items, by which their rows are found again",
}
_LOCAL = ("popen", "python", "id", "execmodel", "nice", "dont_write_bytecode", "env:")


def deals(config: pytest.Config) -> bool:
    """Tell whether items are dealt out by our scheduler, which keeps together what is computed so.

    ``--dist loadscope`` and ``--dist loadfile`` keep whole files together, and so are left alone.
    """
    return getattr(config.option, "dist", "no") in _OURS


def check(config: pytest.Config) -> None:
    """Check how items are to be dealt out, and to whom.

    Raises:
        InputError: When experiments cannot be run like that.
    """
    dist = getattr(config.option, "dist", "no")
    if dist == "no":
        return
    if why := _REFUSED.get(dist):
        raise InputError(
            f"--dist {dist} {why}; leave it out: with -n N items that are computed together stay "
            "on one worker"
        )
    for spec in _specs(config):
        if not all(part.startswith(_LOCAL) for part in spec.split("//")):
            raise InputError(
                f"--tx {spec}: experiments are dealt out on one machine, where its files are; on "
                "several run a shard on each, pytest … --shard 1/N, then python -m emolib merge"
            )


def limit_restarts(config: pytest.Config) -> None:
    """Have xdist give up on workers that do not come up, where the user has not said when.

    Of those of ``--tx`` it would start new ones for ever.
    """
    option: Any = config.option
    if getattr(option, "dist", "no") != "no" and option.maxworkerrestart is None:
        option.maxworkerrestart = str(RESTARTS * len(list(_specs(config))))


def _specs(config: pytest.Config) -> Iterator[str]:
    """Yield what each worker is told to be: ``--tx 2*popen`` is two."""
    for text in config.option.tx:
        count, star, spec = text.partition("*")
        if star and count.isdecimal():
            yield from [spec] * int(count)
        else:
            yield text
