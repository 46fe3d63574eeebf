"""Names that a package hands on from its modules, each module loaded when it is first needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def hand_on(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that hands on names of modules.

    The package imports the same names under ``TYPE_CHECKING``, which is where type checkers and
    editors read them; so that these still tell a wrong name, the two stand in its ``else``.

    >>> __getattr__, __dir__ = hand_on("emolib.stats", {"emolib.stats.regression": ["tolerance"]})
    >>> __getattr__("tolerance")(1.0, None)
    0.2

    Args:
        package: Name of the package, ``__name__``.
        homes: By the name of a module the names that it has.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name]), name)
        # Kept, so that it is looked up here once.
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return __getattr__, __dir__
