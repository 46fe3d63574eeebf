"""Numbers, intervals and summaries of vectors as cells of a table for reading."""

from __future__ import annotations

from typing import Any


def cell(value: Any) -> str:
    """Return a value for reading: a text, a number, an interval, the summary of a vector.

    >>> cell(None), cell([0.5, 1.0]), cell({"mean": 0.75, "ci": [0.5, 1.0]})
    ('–', '[0.500, 1]', '0.750 [0.500, 1]')
    """
    if value is None:
        return "–"
    if isinstance(value, dict):
        mean = number(value["mean"])
        return f"{mean} {cell(value['ci'])}" if value["ci"] else mean
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(cell, value))}]"
    return number(value) if isinstance(value, (int, float)) else str(value)


def number(value: float) -> str:
    """Return a number for reading: three decimals, or three digits where that shows nothing.

    >>> number(-1.23456), number(0.00001234), number(40.0), number(0)
    ('-1.235', '1.23e-05', '40', '0')
    """
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3f}" if 5e-4 <= abs(value) < 1e6 else f"{value:.3g}"
