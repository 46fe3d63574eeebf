"""Layers of a model by name: one by its number, or by how deep it is in models of any depth."""

from __future__ import annotations

import re
from collections.abc import Iterable

from emolib.errors import InputError

_FORM = re.compile(r"all|[0-9]{1,9}|([0-9]{1,9}(?:\.[0-9]+)?)\s*%")


def check_layer_spec(spec: str) -> None:
    """Check the form of a layer spec.

    Raises:
        InputError: When it is none.
    """
    match = _FORM.fullmatch(spec.strip())
    if match is None or float(match[1] or 0) > 100:
        raise InputError(
            f"layer spec {spec!r}: expected the number of a layer, from 0, a depth as 50% (0% the "
            "first layer, 100% the last), or all"
        )


def chosen_layers(specs: Iterable[str], n_layers: int, *, model: str) -> list[int]:
    """Return the layers that specs stand for, each once, in order.

    >>> chosen_layers(["50%", "0"], 12, model="a"), chosen_layers(["100%"], 4, model="a")
    ([0, 6], [3])

    Args:
        specs: ``3`` is layer 3, ``50%`` the one in the middle (of two that are as near the upper
            one), ``all`` every one.
        n_layers: Layers of the model.
        model: Its name, for the message.

    Raises:
        InputError: When a spec is malformed, or the model has no such layer.
    """
    found: set[int] = set()
    for spec in specs:
        check_layer_spec(spec)
        name = spec.strip()
        if name == "all":
            found |= set(range(n_layers))
        elif name.endswith("%"):
            found.add(int(float(name[:-1]) / 100 * (n_layers - 1) + 0.5))
        elif int(name) < n_layers:
            found.add(int(name))
        else:
            raise InputError(
                f"layer spec {spec!r}: {model} has {n_layers} layers, counted from 0; name one of "
                "them, or a depth as 50%"
            )
    return sorted(found)
