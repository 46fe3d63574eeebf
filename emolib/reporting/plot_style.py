"""What all plots share: colours that colour-blind readers tell apart, grids, bytes that repeat."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from emolib.files import write_bytes

# Okabe and Ito's palette, less black and yellow.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_LONGEST = 12


def canvas(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, which needs no display."""
    # Imported here: --help and reports do without matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def grid(rows: int, columns: int, size: tuple[float, float], *, legend: int = 0) -> tuple[Any, Any]:
    """Return a figure and its panels, ``[rows, columns]``.

    Args:
        rows: Rows of panels.
        columns: Columns of panels.
        size: Width and height of a panel, in inches.
        legend: Entries of a legend below, three a line, for which room is left.
    """
    height = rows * size[1] + 0.4 + 0.2 * -(-legend // 3)
    figure = canvas(max(4.5, columns * size[0] + 0.5), height)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, out: Path) -> Path:
    """Write a figure as PNG, the same bytes for the same figure, and return the file.

    Raises:
        InputError: When it cannot be written.
    """
    # Imported here: as in `canvas`.
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # Names of models and tokens are text, dollars and all.
        text.set_parse_math(False)
    image = io.BytesIO()
    # Constrained layout cuts into the label of a colour bar below many rows.
    kept = {"bbox_inches": "tight", "pad_inches": 0.08}
    figure.savefig(image, format="png", dpi=150, metadata={"Software": None}, **kept)
    write_bytes(out, image.getvalue())
    return out


def tenths(value: float) -> str:
    """Return a number with one digit, without a sign where nothing is left of it.

    >>> tenths(-1.26), tenths(-0.04)
    ('-1.3', '0.0')
    """
    return f"{round(value, 1) + 0.0:.1f}"


def short(heads: str) -> str:
    """Return the name of heads, a large joint set cut short.

    >>> short("L0H1"), short("L0H0+L0H1+L0H2")
    ('L0H1', 'L0H0+2 more')
    """
    first, *others = heads.split("+")
    return heads if len(heads) <= _LONGEST else f"{first}+{len(others)} more"
