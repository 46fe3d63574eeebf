"""What all plots share: looks for screen and paper, room for panels, bytes that repeat."""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from emolib.errors import InputError
from emolib.files import write_bytes

# Okabe and Ito's palette, less black and yellow.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
DIVERGING = "PuOr_r"
"""Colours of maps, white at 0."""
FORMATS = ("png", "pdf", "svg")
"""What plots can be written as; the first by default."""
_LONGEST = 12
# Above this share of the largest one a cell is too dark for black letters.
_DARK = 0.6
# An average letter is so much narrower than it is high.
_NARROW = 0.6
# Of a colour bar, in inches: its own length and height, and what its label takes.
_BAR = (3.0, 0.09, 0.55)
# What matplotlib says of each letter without a picture.
_NO_GLYPH = "missing from font"
# Nothing that changes with the day or the version.
_NO_METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
_Of = ParamSpec("_Of")
_Made = TypeVar("_Made")


class Look(NamedTuple):
    """What plots look like somewhere.

    Attributes:
        columns: Widths that figures have to have, in inches, narrow first; none where they are as
            wide as their panels ask for.
        tallest: How high maps become at most, in inches.
        settings: Of matplotlib, beside those that all looks share.
    """

    columns: tuple[float, ...]
    tallest: float
    settings: dict[str, Any]


STYLES = {
    "screen": Look(
        (),
        math.inf,
        {
            "font.size": 8,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 8,
            "figure.labelsize": 9,
            "savefig.dpi": 150,
        },
    ),
    "paper": Look(
        (3.3, 6.9),
        8.5,
        {
            "font.size": 7,
            "axes.titlesize": 8,
            "axes.labelsize": 7,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "figure.labelsize": 7,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "savefig.dpi": 300,
        },
    ),
}
"""Looks by name; the first by default."""
_SETTINGS = {
    # Names of models and tokens are text, dollars and all.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.8,
    # Fonts as TrueType in the file, which journals ask for; Type 3 they refuse.
    "pdf.fonttype": 42,
    # Letters as outlines: they look alike where the font is not installed.
    "svg.fonttype": "path",
    # Names of clips are drawn at random without.
    "svg.hashsalt": "emolib",
}
# What DejaVu Sans, which comes with matplotlib, has no letters for: Japanese, Chinese, Korean.
_OTHERS = (
    "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "TakaoGothic", "Hiragino Sans", "Yu Gothic",
    "MS Gothic", "WenQuanYi Micro Hei", "Droid Sans Fallback",
)  # fmt: skip
_LOOK: ContextVar[Look] = ContextVar("look", default=STYLES["screen"])


def check_style(style: str, kind: str) -> None:
    """Check the names of a style and of a format.

    Raises:
        InputError: When there is none of that name.
    """
    for option, value, known in (("style", style, STYLES), ("format", kind, FORMATS)):
        if value not in known:
            raise InputError(f"--{option} {value}: unknown; expected one of {', '.join(known)}")


@contextmanager
def styled(style: str) -> Iterator[None]:
    """Have what is drawn meanwhile look as one of `STYLES`."""
    before = _LOOK.set(STYLES[style])
    try:
        yield
    finally:
        _LOOK.reset(before)


def drawing(plot: Callable[_Of, _Made]) -> Callable[_Of, _Made]:
    """Make a function draw in the look of the moment, whatever matplotlib is set to elsewhere."""

    @functools.wraps(plot)
    def drawn(*args: _Of.args, **options: _Of.kwargs) -> _Made:
        # Imported here: as in `canvas`.
        from matplotlib import style

        settings = _SETTINGS | _LOOK.get().settings | {"font.family": _families()}
        with style.context(["default", settings]):
            return plot(*args, **options)

    return drawn


@functools.cache
def _families() -> list[str]:
    """Return the fonts there are, each for the letters that those before it have not."""
    # Imported here: as in `canvas`.
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _OTHERS if name in installed)]


def canvas(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, which needs no display.

    Where the look has columns it is as wide as one of them, and lower as far as that is narrower.
    """
    # Imported here: --help and reports do without matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    share = shrunk(width)
    figure = Figure((width * share, height * min(1.0, max(share, 0.75))), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tallest() -> float:
    """Return how high the look lets maps become, in inches."""
    return _LOOK.get().tallest


def shrunk(width: float) -> float:
    """Return by how much the look widens or narrows a figure of this width, in inches."""
    columns = _LOOK.get().columns
    if not columns:
        return 1.0
    # A little too wide for the narrow column still goes into it.
    return next((c for c in columns if width <= 1.25 * c), columns[-1]) / width


def grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return a figure and its panels, ``[rows, columns]``.

    Args:
        rows: Rows of panels.
        columns: Columns of panels.
        size: Width and height of a panel, in inches.
    """
    figure = canvas(max(4.0, columns * size[0] + 0.5), rows * size[1] + 0.4)
    return figure, figure.subplots(rows, columns, squeeze=False)


def legend(figure: Any, handles: Iterable[Any], labels: Sequence[str]) -> None:
    """Put a legend below a figure, which becomes so much higher.

    Args:
        figure: The figure.
        handles: What is explained.
        labels: The texts, as many.
    """
    letter = _letter("legend.fontsize")
    # Beside the text stand the mark and a gap.
    entry = letter * (max(map(len, labels), default=0) + 6)
    columns = int(figure.get_size_inches()[0] // entry) or 1
    lines = -(-len(labels) // columns)
    # As many in every line as there can be.
    columns = -(-len(labels) // max(1, lines)) or 1
    _grow(figure, 0.08 + 2.4 * letter * lines)
    figure.legend(list(handles), labels, loc="outside lower center", ncols=columns)


def scale(figure: Any, image: Any, axes: Any, label: str) -> None:
    """Put the one scale of colours of a figure below its panels, which becomes so much higher.

    Args:
        figure: The figure.
        image: One of its maps; the others have the same limits.
        axes: All panels, ``[rows, columns]``.
        label: What the colours are of.
    """
    length, thick, room = _BAR
    _grow(figure, room)
    width, height = figure.get_size_inches()
    length = min(length, 0.7 * width)
    bar = figure.colorbar(
        image, ax=list(axes.flat), location="bottom", label=label, shrink=length / width,
        fraction=thick / height, aspect=length / thick, pad=0.1 / height,
        panchor=False,
    )  # fmt: skip
    bar.outline.set_visible(False)


def _grow(figure: Any, more: float) -> None:
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + more)


def ink(value: float, limit: float) -> str:
    """Return the colour of letters on a cell of `DIVERGING` colours.

    >>> ink(-0.9, 1.0), ink(0.1, 1.0)
    ('white', 'black')
    """
    return "white" if abs(value) > _DARK * limit else "black"


def blank(panel: Any) -> None:
    """Empty a panel of a study that was not run; the titles beside it stay."""
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)


def save(figure: Any, out: Path) -> Path:
    """Write a figure, the same bytes for the same figure, and return the file.

    Args:
        figure: The figure.
        out: Where to; its ending is one of `FORMATS`.

    Raises:
        InputError: When it cannot be written.
    """
    kind, image = out.suffix[1:], io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        figure.savefig(image, format=kind, metadata=_NO_METADATA[kind])
    write_bytes(out, image.getvalue())
    lacking = [str(w.message) for w in told if _NO_GLYPH in str(w.message)]
    for warning in told:
        if _NO_GLYPH not in str(warning.message):
            warnings.warn(warning.message, stacklevel=2)
    if lacking:
        # One for all letters, of which a prompt may have hundreds.
        warnings.warn(
            f"{out}: {len(set(lacking))} letters are drawn as boxes, for no installed font that is "
            "looked for has them; install Noto Sans CJK, and draw again",
            stacklevel=2,
        )
    return out


def tenths(value: float) -> str:
    """Return a number with one digit, without a sign where nothing is left of it.

    >>> tenths(-1.26), tenths(-0.04)
    ('−1.3', '0.0')
    """
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "−")


def plain(text: str, longest: int = 32) -> str:
    r"""Return a text of users or models as a label: on one line, as it is, cut where it is long.

    Dollars stay, for no text of these plots is read as mathematics (`drawing`).

    Args:
        text: A name, a token.
        longest: How many letters are left; what is cut comes from the middle.

    >>> plain("a\nb"), plain("$x_1$"), plain("some-organisation/a-model-7b-instruct", 20)
    ('a\\nb', '$x_1$', 'some-organ…-instruct')
    """
    shown = "".join(
        c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode("ascii")
        for c in text[: 4 * longest] + text[4 * longest :][-longest:]
    )
    if len(shown) <= longest:
        return shown
    return f"{shown[: longest // 2]}…{shown[len(shown) - (longest - longest // 2 - 1) :]}"


def fitting(inches: float, setting: str = "axes.titlesize", least: int = 8) -> int:
    """Return how many letters fit a length.

    Args:
        inches: The length.
        setting: Which of matplotlib's settings has the size of the letters.
        least: What is returned of a shorter length: fewer are no name.
    """
    return max(least, int(inches / _letter(setting)))


def _letter(setting: str) -> float:
    """Return how wide a letter is, about, in inches."""
    # Imported here: as in `canvas`.
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    settings: Any = rcParams
    # A size may be a name: "large".
    return float(_NARROW * FontProperties(size=settings[setting]).get_size_in_points() / 72)


def short(heads: str) -> str:
    """Return the name of heads, a large joint set cut short.

    >>> short("L0H1"), short("L0H0+L0H1+L0H2")
    ('L0H1', 'L0H0+2 more')
    """
    first, *others = heads.split("+")
    if len(heads) <= _LONGEST:
        return plain(heads)
    return f"{plain(first)}+{len(others)} more" if others else plain(heads, _LONGEST)
