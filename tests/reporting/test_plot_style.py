"""What all plots share: looks, figures without a display, grids with room, bytes that repeat."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib

import pytest
from made import HOSTILE

from emolib.errors import InputError
from emolib.reporting.plot_style import (
    COLOURS,
    FORMATS,
    STYLES,
    canvas,
    check_style,
    drawing,
    fitting,
    grid,
    legend,
    plain,
    save,
    scale,
    short,
    shrunk,
    styled,
)

BEGIN = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}


@drawing
def bar(out, height=1.0, title="one"):
    """Draw a bar, hatched, and save it."""
    figure, axes = grid(1, 1, (2, 1))
    axes[0, 0].bar([0], [height], color=COLOURS[0], hatch="//")
    axes[0, 0].set_title(title)
    return save(figure, out)


def drawn(height):
    figure, axes = grid(1, 1, (2, 1))
    axes[0, 0].bar([0], [height], color=COLOURS[0])
    return figure


@pytest.mark.parametrize("kind", FORMATS)
def test_a_figure_is_the_same_bytes_each_time_and_others_where_it_differs(tmp_path, kind):
    one, again, other = (
        bar(tmp_path / "new" / f"{name}.{kind}", height).read_bytes()
        for height, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert one.startswith(BEGIN[kind]) and one == again != other
    # A version or a date in it would change the bytes where nothing that is drawn does.
    assert not re.search(rb"matplotlib v|Software|CreationDate|<dc:date>", one)


def test_vectors_are_the_same_in_another_process(tmp_path):
    """Where hashes of texts are others, and another day has come."""
    script = (
        "import sys, time; from emolib.reporting.plot_style import *\n"
        "real = time.time; time.time = lambda: real() + 86400\n"
        "@drawing\n"
        "def bar(out):\n"
        "    figure, axes = grid(1, 1, (2, 1))\n"
        "    axes[0, 0].bar([0], [1.0], color=COLOURS[0], hatch='//')\n"
        "    axes[0, 0].set_title('one')\n"
        "    save(figure, out)\n"
        "bar(Path(sys.argv[1])); bar(Path(sys.argv[2]))"
    )
    files = [tmp_path / f"there.{kind}" for kind in ("pdf", "svg")]
    done = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    for path in files:
        assert path.read_bytes() == bar(tmp_path / f"here{path.suffix}").read_bytes()


def test_fonts_are_in_a_pdf_as_truetype_and_svg_has_outlines(tmp_path):
    pdf = bar(tmp_path / "x.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    svg = bar(tmp_path / "x.svg").read_text("utf-8")
    assert "<text" not in svg and "font-family" not in svg and "DejaVuSans" in svg


def sizes(pdf):
    """Give the width of a page and the sizes of its letters, in points."""
    (width,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    text = b"".join(zlib.decompressobj().decompress(s) for s in streams if s[:1] == b"\x78")
    return float(width), {float(size) for size in re.findall(rb"/F\d+ ([\d.]+) Tf", text)}


def test_on_paper_a_figure_is_as_wide_as_a_column_and_letters_are_small(tmp_path):
    @drawing
    def plot(columns, out):
        figure, axes = grid(1, columns, (2.5, 2.0))
        axes[0, 0].set(title="one", xlabel="x")
        return save(figure, out)

    wide = {}
    for columns in (1, 3, 6):
        with styled("paper"):
            width, letters = sizes(plot(columns, tmp_path / "x.pdf").read_bytes())
        assert letters <= {7.0, 8.0} and letters
        wide[columns] = width / 72
    assert wide == pytest.approx({1: 3.3, 3: 6.9, 6: 6.9}, abs=0.01)
    on_screen, _ = sizes(plot(3, tmp_path / "x.pdf").read_bytes())
    assert on_screen / 72 == pytest.approx(8.0)
    assert shrunk(4.0) == 1.0 and not STYLES["screen"].columns


def test_what_matplotlib_is_set_to_elsewhere_changes_nothing(tmp_path):
    import matplotlib

    first = bar(tmp_path / "x.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.parse_math": True}):
        assert bar(tmp_path / "x.png").read_bytes() == first
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    ("style", "kind", "message"),
    [("print", "png", "--style print: unknown; expected one of screen, paper"),
     ("paper", "eps", "--format eps: unknown; expected one of png, pdf, svg")],
)  # fmt: skip
def test_a_style_or_format_that_is_unknown_is_refused(style, kind, message):
    with pytest.raises(InputError) as error:
        check_style(style, kind)
    assert str(error.value) == message


@pytest.mark.parametrize("text", ["$\\evil$", HOSTILE, "$" * 99, "a_b^c", "\ud800", "\u202eabc"])
def test_text_of_users_is_drawn_as_it_is(tmp_path, text):
    from matplotlib.mathtext import MathTextParser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MathTextParser, "parse", lambda *_: pytest.fail("read as mathematics"))
        assert bar(tmp_path / "x.png", title=plain(text)).stat().st_size


def test_letters_that_no_font_has_are_told_of_once(tmp_path):
    """By Egyptian ones, which none of the fonts that are looked for has."""
    with pytest.warns(UserWarning) as told:
        out = bar(tmp_path / "x.png", title=plain("a\U00013000\U00013001\U00013000"))
    (warning,) = told
    assert str(warning.message).startswith(f"{out}: 2 letters are drawn as boxes")
    assert out.read_bytes().startswith(BEGIN["png"])


def test_labels_are_one_line_and_cut_in_the_middle():
    assert plain("a$b_c\td\u202ee\n") == "a$b_c\\td\\u202ee\\n"
    assert plain("back\\slash") == "back\\\\slash"
    long = plain("meta-llama/" + "x" * 10**6 + "-Instruct", 24)
    assert len(long) == 24 and long.startswith("meta-llama/x…") and long.endswith("xx-Instruct")
    assert plain("x" * 24, 24) == "x" * 24
    assert fitting(2.0) > fitting(1.0) > fitting(0.01) == 8


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    out = tmp_path / "taken/plot.png"
    with pytest.raises(InputError) as error:
        save(drawn(1), out)
    assert str(error.value).startswith(f"{out}: cannot be written (")


def test_a_grid_has_its_panels_and_legend_and_scale_make_it_higher():
    figure, axes = grid(2, 3, (2.0, 1.5))
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == pytest.approx((6.5, 3.4))
    heights = []
    for names in (["one"], ["one", "two"], ["a name of a model"] * 9):
        figure, axes = grid(2, 3, (2.0, 1.5))
        marks = [axes[0, 0].plot([], [])[0] for _ in names]
        legend(figure, marks, names)
        (made,) = figure.legends
        assert [text.get_text() for text in made.get_texts()] == names
        width, height = figure.get_size_inches()
        heights.append(height - 3.4)
        assert width == 6.5
    one, two, nine = heights
    assert 0 < one == two < nine
    image = axes[0, 0].imshow([[0.0]])
    scale(figure, image, axes, "logits")
    assert figure.get_size_inches()[1] > 3.4 + nine
    assert figure.axes[-1].get_xlabel() == "logits" and len(figure.axes) == 7
    # A single narrow panel still has the width of a title.
    assert grid(1, 1, (1.0, 1.0))[0].get_size_inches()[0] == 4.0


def test_drawing_needs_no_display_and_reports_no_matplotlib(tmp_path):
    assert tuple(canvas(3, 2).get_size_inches()) == (3, 2)
    script = (
        "import sys; from emolib.reporting import plot_style\n"
        "print('matplotlib' in sys.modules)\n"
        "plot_style.save(plot_style.canvas(1, 1), plot_style.Path(sys.argv[1]))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "x.png"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "False"], done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(BEGIN["png"])


def test_colours_are_told_apart():
    assert len(set(COLOURS)) == len(COLOURS) >= 6


def test_names_of_large_sets_are_cut_short():
    assert short("L10H11+L2H3") == "L10H11+L2H3"
    assert short("L0H0+L10H1+L2H2") == "L0H0+2 more"
    assert short("L0H0+L1H1+L2") == "L0H0+L1H1+L2"
